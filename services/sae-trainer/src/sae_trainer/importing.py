"""Does the task of an imported coder: files from elsewhere to a coder in our layout. Imports torch."""

from collections.abc import Iterator
from pathlib import Path

import sparse_coders
from dragoman.errors import UserTaskError
from dragoman.kinds import Context, Part, Progress
from dragoman.store import Store

from sae_trainer.coder_figures import coder_figures
from sae_trainer.coder_source import combined, file_sum, open_folder
from sae_trainer.imported import files_of
from sae_trainer.spec import ImportedCoder


def import_coder(spec: ImportedCoder, context: Context, store: Store | None) -> Iterator[Progress | Part]:
    """Fetches the files of a resolved spec, checks them and yields the coder's files.

    Raises:
        UserTaskError: the files are not those of the spec's fingerprint any more.
        MalformedCoder: they hold no coder that can be run.
    """
    yield Progress(0, 2, "steps", "reading")
    folder = _fetched(spec, context.scratch, store)
    coder = sparse_coders.load(folder)
    yield Progress(1, 2, "steps", "writing")
    written = context.scratch / "coder"
    sparse_coders.save(coder, written)
    yield Part(sparse_coders.CONFIG_FILE, written / sparse_coders.CONFIG_FILE)
    yield Part(
        sparse_coders.WEIGHTS_FILE,
        written / sparse_coders.WEIGHTS_FILE,
        row_count=coder.d_sae,
        metadata=coder_figures(coder, spec.hookpoint, spec.output_hookpoint),
    )


def _fetched(spec: ImportedCoder, scratch: Path, store: Store | None) -> Path:
    source, folder = open_folder(spec.source, spec.revision, store), scratch / "source"
    folder.mkdir()
    names = files_of(spec.layout, source.names())
    for name in names:
        source.copy(name, folder / name)
    now = combined({name: file_sum(folder / name) for name in names})
    if now != spec.fingerprint:
        raise UserTaskError(
            f"the coder {spec.source} changed since the job was submitted: its sha256 is {now[:12]}..., "
            f"the spec says {spec.fingerprint[:12]}...; submit the job again",
            reason="SOURCE_CHANGED",
        )
    return folder
