"""Takes one coder out of those that were trained together."""

from collections.abc import Iterator

from dragoman.kinds import Context, Part

from sae_trainer.spec import TakenCoder


def prefix_of(number: int) -> str:
    """Returns what stands before the names of a coder's parts.

    >>> prefix_of(3)
    'coder-00003/'
    """
    return f"coder-{number:05d}/"


def take(spec: TakenCoder, context: Context) -> Iterator[Part]:
    """Yields the parts of the coder as they would be of one that was trained alone."""
    coders, prefix = context.inputs["coders"], prefix_of(spec.number)
    for part in coders.manifest.parts:
        if part.name.startswith(prefix):
            name, path = part.name.removeprefix(prefix), coders.download(part.name)
            yield Part(name, path, row_count=part.row_count, metadata=part.metadata)
