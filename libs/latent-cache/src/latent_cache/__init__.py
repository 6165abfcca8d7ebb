"""The latent cache: one latent's activations, or its windows with their text, by one ranged read."""

from latent_cache.cache import LatentCache
from latent_cache.entry_codec import Entries
from latent_cache.example_record import ExampleRecord
from latent_cache.index import LatentIndex
from latent_cache.kept import KeptWindows
from latent_cache.silent_pool import SilentPool
from latent_cache.source import WindowSource
from latent_cache.token_rows import Split, TokenRows
from latent_cache.windows import Window

__all__ = [
    "Entries",
    "ExampleRecord",
    "KeptWindows",
    "LatentCache",
    "LatentIndex",
    "SilentPool",
    "Split",
    "TokenRows",
    "Window",
    "WindowSource",
]
