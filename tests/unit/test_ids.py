"""Identity: the same meaning has the same name, another meaning another."""

import pytest
from dragoman.errors import InvalidSpec
from dragoman.ids import artifact_id, canonical_json, derived_seed, kind_of
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_id_that_must_never_change() -> None:
    assert canonical_json({"b": [1, 0.5, None], "a": "ü"}) == '{"a":"ü","b":[1,0.5,null]}'.encode()
    assert artifact_id("coder", 1, {"k": 32}) == "coder-d9ef7ae67365e5c72182efbe184b45a1"


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_order_of_fields_means_nothing(spec: dict[str, object]) -> None:
    backwards = dict(reversed(spec.items()))
    assert artifact_id("coder", 1, spec) == artifact_id("coder", 1, backwards)


def test_kind_version_and_spec_all_count() -> None:
    ids = {
        artifact_id("coder", 1, {"k": 32}),
        artifact_id("latents", 1, {"k": 32}),
        artifact_id("coder", 2, {"k": 32}),
        artifact_id("coder", 1, {"k": 33}),
        artifact_id("coder", 1, {"k": "32"}),
    }
    assert len(ids) == 5


def test_nan_has_no_identity() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})


def test_the_kind_of_an_id() -> None:
    assert kind_of("latents-" + "0" * 32) == "latents"


@pytest.mark.parametrize(
    "wrong",
    ["", "latents", "latents-0", "latents-" + "G" * 32, "../x-" + "0" * 32, "a-" + "0" * 33, "a-" + "0" * 32 + "\n"],
)
def test_ids_that_are_not_ours(wrong: str) -> None:
    with pytest.raises(InvalidSpec, match="is not an artifact id; expected") as caught:
        kind_of(wrong, field="spec.tokens")
    assert caught.value.reason == "MALFORMED_ID"
    assert caught.value.violations[0].field == "spec.tokens"


def test_seeds_depend_on_what_they_are_for() -> None:
    assert derived_seed("run", 1) == derived_seed("run", 1)
    assert derived_seed("run", 1) != derived_seed("run", 2)
    assert derived_seed("a", "bc") != derived_seed("ab", "c")
    assert 0 <= derived_seed("x") < 2**63
