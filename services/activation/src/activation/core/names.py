"""Names of modules. Imports no torch, so that a server can use it."""

from collections.abc import Collection


def full_name(name: str, names: Collection[str], base_prefix: str) -> str | None:
    """Returns the full path of a module named in full or, as in sparsify, from the base model; None if unknown.

    >>> full_name("layers.9", ["model.layers.9"], "model")
    'model.layers.9'
    """
    for candidate in (name, f"{base_prefix}.{name}"):
        if candidate in names:
            return candidate
    return None
