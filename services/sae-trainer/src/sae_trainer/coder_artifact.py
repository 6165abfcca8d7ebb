"""The coder in an artifact. Imports torch."""

from pathlib import Path

import sparse_coders
from dragoman.artifacts import Artifact
from sparse_coders import SparseCoder


def coder_folder(artifact: Artifact, folder: Path) -> Path:
    """Puts the files of a coder artifact into a new folder and returns it."""
    folder.mkdir()
    for name in (sparse_coders.CONFIG_FILE, sparse_coders.WEIGHTS_FILE):
        (folder / name).symlink_to(artifact.download(name).absolute())
    return folder


def load_coder(artifact: Artifact, scratch: Path) -> SparseCoder:
    """Returns a coder artifact's coder. Raises MalformedCoder."""
    return sparse_coders.load(coder_folder(artifact, scratch / "coder"))
