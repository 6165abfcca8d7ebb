"""Float32 products on a CPU, by the faster of the two libraries that PyTorch brings."""

from dense_products.products import linear, prefers_onednn

__all__ = ["linear", "prefers_onednn"]
