"""The latent cache: one latent's activations by one ranged read, and windows of text made from them."""

from latent_cache.cache import LatentCache
from latent_cache.layout import Entries, LatentIndex
from latent_cache.source import WindowSource
from latent_cache.token_rows import Split, TokenRows
from latent_cache.windows import Activating, Window, WindowGrid

__all__ = [
    "Activating",
    "Entries",
    "LatentCache",
    "LatentIndex",
    "Split",
    "TokenRows",
    "Window",
    "WindowGrid",
    "WindowSource",
]
