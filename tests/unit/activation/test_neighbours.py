"""Co-firing neighbours against a dense computation of every pair."""

import numpy as np
import pytest
from activation.core.neighbours import Firings, nearest
from activation.neighbours_run import sample
from dragoman.artifacts import PartInfo

D_SAE, PLACES = 23, 97


def _fires(seed: int) -> np.ndarray:
    """Which latent fires on which place [places, d_sae]: some dead, one everywhere, two the same."""
    generator = np.random.default_rng(seed)
    fires = generator.random((PLACES, D_SAE)) < generator.random(D_SAE) * 0.4
    fires[:, 3] = False
    fires[:, 5] = True
    fires[:, 7] = fires[:, 6]
    fires[40:44] = False  # places where nothing fires
    return fires


def _part(fires: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    latents, places = np.nonzero(fires.T)
    return np.concatenate([[0], np.cumsum(np.bincount(latents, minlength=D_SAE))]), places.astype(np.int32)


@pytest.mark.parametrize("cuts", [[], [50], [13, 41, 42, 90]])
@pytest.mark.parametrize("count", [1, 4, 100])
def test_neighbours_are_those_of_every_pair(cuts: list[int], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activation.core.neighbours._PLACES_AT_ONCE", 7)
    fires = _fires(1)
    firings = Firings.of([_part(piece) for piece in np.split(fires, cuts)])
    found = list(nearest(firings, 2, D_SAE, count))
    assert len(found) == D_SAE - 2
    both = fires.T.astype(int) @ fires
    either = fires.sum(0)[:, None] + fires.sum(0) - both
    for latent, mine in zip(range(2, D_SAE), found, strict=True):
        expected = sorted(
            (-both[latent, j] / either[latent, j], j) for j in range(D_SAE) if j != latent and both[latent, j]
        )[:count]
        assert mine.latents.tolist() == [j for _, j in expected]
        assert mine.jaccard.tolist() == [np.float32(-jaccard) for jaccard, _ in expected]
        assert mine.both_count.tolist() == [both[latent, j] for _, j in expected]
    assert found[3 - 2].latents.tolist() == [], "a dead latent has no neighbours"
    assert (found[6 - 2].latents[0], found[6 - 2].jaccard[0]) == (7, 1.0)


def _encoded(index: int, tokens: int) -> PartInfo:
    metadata = {"train_token_count": tokens, "test_token_count": 0}
    return PartInfo(f"encoded-{index}", "", 0, "", 0, metadata, 0, index, keep=False)


def test_whole_tasks_are_drawn_by_seed_and_never_more_tokens_than_asked_for() -> None:
    parts = [_encoded(i, 100) for i in range(50)]
    chosen = [p.task_index for p in sample(parts, 1250, 3)]
    assert len(chosen) == 12
    assert chosen == sorted(chosen)
    assert chosen == [p.task_index for p in sample(parts[::-1], 1250, 3)]
    assert chosen != [p.task_index for p in sample(parts, 1250, 4)]
    assert len(sample(parts, 5, 0)) == 1, "at least one task"
    assert len(sample(parts, 10**9, 0)) == 50
