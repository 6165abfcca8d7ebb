"""Spec of the kind `export`, field by field as ExportSpec in protos/dragoman/training/v1/training.proto."""

from typing import Literal

from dragoman.kinds import Spec
from pydantic import Field


class ExportSpec(Spec):
    """A coder as another library's files."""

    coder_id: str = Field(min_length=1)
    layout: Literal["sparsify", "saelens"]
