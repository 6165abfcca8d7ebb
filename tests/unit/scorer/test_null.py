"""The derangement behind the shuffled-label null."""

from hypothesis import given
from hypothesis import strategies as st
from scorer.core.null import collision_count, deranged


@given(st.sets(st.integers(0, 5000), min_size=2, max_size=60), st.integers(0, 9))
def test_every_latent_gets_another_ones_explanation_and_each_is_used_once(latents: set[int], seed: int) -> None:
    partner = deranged({latent: f"about {latent}" for latent in latents}, seed)
    assert set(partner) == latents
    assert set(partner.values()) == latents
    assert all(own != other for own, other in partner.items())


def test_one_latent_has_no_null() -> None:
    assert deranged({3: "dogs"}, 0) == {}
    assert deranged({}, 0) == {}


def test_equal_explanations_are_kept_apart_where_they_can_be() -> None:
    explanations = {latent: "Days." if latent < 3 else f"thing {latent}" for latent in range(10)}
    explanations[1] = "days"
    for seed in range(20):
        assert collision_count(explanations, deranged(explanations, seed)) == 0


def test_the_seed_decides() -> None:
    explanations = {latent: str(latent) for latent in range(20)}
    assert deranged(explanations, 1) == deranged(dict(reversed(explanations.items())), 1)
    assert deranged(explanations, 1) != deranged(explanations, 2)
