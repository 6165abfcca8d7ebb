"""Wrong marks without a tell (methods.md, T4)."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scorer.core.marks import exchanged_marks, true_marks
from scorer.core.metrics import auroc


def sparse_activations(seed: int, windows: int, length: int = 32) -> np.ndarray:
    """Windows with bursts of activity, likelier and longer towards the end, as no uniform draw would have them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    dense = np.zeros((windows, length), np.float32)
    for window in dense:
        for _ in range(int(rng.integers(1, 4))):
            start = int(length * rng.beta(2, 1) * 0.95)
            window[start : start + int(rng.integers(1, 4))] = rng.uniform(0.2, 1.0)
    return dense


def test_marks_are_the_tokens_near_the_peak() -> None:
    activations = np.asarray([[0.0, 0.29, 0.3, 1.0], [0.0, 0.0, 2.0, 0.1]])
    assert true_marks(activations).tolist() == [[False, False, True, True], [False, False, True, False]]


bursts = arrays(np.float32, st.tuples(st.integers(0, 14), st.just(8)), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0]))


@settings(deadline=None)
@given(bursts.filter(lambda a: bool((a.max(axis=1, initial=0) > 0).all())), st.integers(0, 3))
def test_exchange_is_a_permutation_that_marks_no_active_token(activations: np.ndarray, seed: int) -> None:
    marks = true_marks(activations) if len(activations) else activations > 0
    source = exchanged_marks(activations, marks, seed)
    assert sorted(source.tolist()) == list(range(len(activations)))
    for window, other in enumerate(source):
        if other != window:
            assert not (marks[other] & (activations[window] > 0)).any()


@settings(deadline=None)
@given(st.integers(0, 200))
def test_usable_windows_have_the_same_marks_right_and_wrong(seed: int) -> None:
    activations = sparse_activations(seed, 20)
    marks = true_marks(activations)
    source = exchanged_marks(activations, marks, seed)
    usable = np.flatnonzero(source != np.arange(20))
    right = Counter(marks[i].tobytes() for i in usable)
    wrong = Counter(marks[source[i]].tobytes() for i in usable)
    assert right == wrong
    assert len(usable) >= 16


def test_as_many_windows_as_can_be_are_used() -> None:
    """Two windows exchange; the third is active everywhere and must not cost them their place."""
    activations = np.asarray([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1]], np.float32)
    assert exchanged_marks(activations, true_marks(activations), 0).tolist() == [1, 0, 2]


def test_windows_always_active_at_one_place_have_no_wrong_marks() -> None:
    activations = np.zeros((10, 8), np.float32)
    activations[:, 3] = 1.0
    assert exchanged_marks(activations, true_marks(activations), 0).tolist() == list(range(10))


def test_exchange_is_seeded() -> None:
    activations = sparse_activations(1, 30)
    marks = true_marks(activations)
    assert exchanged_marks(activations, marks, 5).tolist() == exchanged_marks(activations, marks, 5).tolist()
    assert exchanged_marks(activations, marks, 5).tolist() != exchanged_marks(activations, marks, 6).tolist()


def _mark_features(marks: np.ndarray) -> np.ndarray:
    """Each position, the number of marks and the number of runs of them."""
    runs = (np.diff(marks.astype(int), prepend=0, axis=1) == 1).sum(axis=1, keepdims=True)
    return np.concatenate([marks, marks.sum(axis=1, keepdims=True), runs, np.ones_like(runs)], axis=1).astype(float)


def _classifier_auroc(right: list[np.ndarray], wrong: list[np.ndarray]) -> float:
    """A logistic regression on marks alone, fitted to half of the latents and tested on the other half."""
    half = len(right) // 2
    x = _mark_features(np.concatenate([*right[:half], *wrong[:half]]))
    y = np.concatenate([np.ones(sum(map(len, right[:half]))), np.zeros(sum(map(len, wrong[:half])))])
    weights = np.zeros(x.shape[1])
    for _ in range(30):  # Newton's method with a little ridge
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(x.shape[1])
        weights += np.linalg.solve(hessian, x.T @ (y - p) - 0.1 * weights)
    held_out = [_mark_features(np.concatenate(part[half:])) @ weights for part in (right, wrong)]
    value = auroc(*held_out)
    assert value is not None
    return value


def _latents(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    activations = [sparse_activations(1000 + latent, 20) for latent in range(count)]
    return [(a, true_marks(a)) for a in activations]


def test_a_classifier_that_sees_only_marks_is_at_chance() -> None:
    right, wrong = [], []
    for latent, (activations, marks) in enumerate(_latents(100)):
        source = exchanged_marks(activations, marks, latent)
        usable = np.flatnonzero(source != np.arange(len(source)))
        right.append(marks[usable])
        wrong.append(marks[source[usable]])
    # The same sets of marks in both classes of each latent: exactly chance, not only within an interval.
    assert _classifier_auroc(right, wrong) == 0.5


def test_the_classifier_finds_the_tell_of_uniform_marks() -> None:
    """The same test fails on negatives whose marks are drawn as one would first think of: uniformly."""
    right, wrong = [], []
    for latent, (activations, marks) in enumerate(_latents(100)):
        rng = np.random.Generator(np.random.PCG64(latent))
        naive = np.zeros_like(marks)
        for window, count in enumerate(marks.sum(axis=1)):
            free = np.flatnonzero(activations[window] == 0)
            naive[window, rng.choice(free, count, replace=False)] = True
        right.append(marks)
        wrong.append(naive)
    assert _classifier_auroc(right, wrong) > 0.65
