"""Which documents are used, in which order, and on which side of the split."""

from dataclasses import dataclass

import numpy as np
from dragoman.ids import derived_seed
from jaxtyping import Int64


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Documents in the order in which they are packed: train, then test. No document is in both."""

    train: Int64[np.ndarray, " n_train"]
    test: Int64[np.ndarray, " n_test"]


def draw_documents(document_count: int, max_documents: int, test_fraction: float, seed: int) -> Draw:
    """Draws documents in seeded random order; `max_documents` 0 means all.

    The test split holds the rounded share, and at least one document of each split where the fraction is above 0.
    """
    generator = np.random.Generator(np.random.PCG64(derived_seed("documents", seed)))
    order = generator.permutation(document_count)[: max_documents or document_count]
    test_count = round(len(order) * test_fraction)
    if test_fraction > 0:
        test_count = max(1, min(test_count, len(order) - 1))
    return Draw(order[test_count:].astype(np.int64), order[:test_count].astype(np.int64))
