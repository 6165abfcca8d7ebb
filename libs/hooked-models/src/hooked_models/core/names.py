"""Names of hookpoints. Imports no torch, so that a server can use it.

A hookpoint is the path of a module, which means the module's output, or that path with ".input" at its end, which
means its input. A module that is itself called "input" wins over the suffix.
"""

from collections.abc import Collection

INPUT = ".input"


def full_name(name: str, names: Collection[str], base_prefix: str) -> str | None:
    """Returns the full path of a hookpoint named in full or, as in sparsify, from the base model; None if unknown.

    >>> full_name("layers.9.mlp.input", ["model.layers.9.mlp", "model.layers.9.mlp.input"], "model")
    'model.layers.9.mlp.input'
    """
    for candidate in (name, f"{base_prefix}.{name}"):
        if candidate in names:
            return candidate
    return None


def module_of(name: str, modules: Collection[str]) -> tuple[str, bool] | None:
    """Returns a hookpoint's module and whether its input is meant; None when there is no such module.

    >>> module_of("layers.9.mlp.input", ["layers.9.mlp"])
    ('layers.9.mlp', True)
    """
    if name in modules:
        return name, False
    path = name.removesuffix(INPUT)
    return (path, True) if path != name and path in modules else None
