"""Which options belong to which explainer: what is written out, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest
from dragoman.artifacts import InputInfo, Manifest
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.explanation.v1 import explanation_pb2
from dragoman.folder import FolderArtifacts
from dragoman.llm.price import Price
from dragoman.rpc.convert import spec_dict, spec_message
from explainer.core.explainers import EXPLAINERS
from explainer.explanations_kind import ExplanationsKind
from explainer.options import FORMS
from explainer.spec import Explainer, ExplanationsSpec

from tests.support.scripted_writer import ScriptedWriter

LATENTS, EFFECTS, OTHERS = (f"{kind}-" + "1" * 32 for kind in ("latents", "effects", "explanations"))
NEEDED: Mapping[str, dict[str, Any]] = {
    "output": {"effects_id": EFFECTS},
    "ensemble": {"effects_id": EFFECTS},
    "other_latent": {"explanations_id": OTHERS},
    "oracle": {"texts": [{"latent": 3, "explanation": "animals"}]},
}
KEPT = {"split": "all", "window_length": 32, "top_windows": 10, "quantile_windows": 5, "neighbours": 0}


def spec_of(explainer: str, **fields: Any) -> ExplanationsSpec:
    given: dict[str, Any] = {"latents_id": LATENTS, "explainer": explainer, **NEEDED.get(explainer, {}), **fields}
    return ExplanationsSpec(**given)


class NoEngine(ScriptedWriter):
    """Of a server without a language model."""

    def resolve(self, llm: Any) -> Any:
        raise AssertionError("no engine is there")


def kind(writer: ScriptedWriter | None = None, price: Price | None = None) -> ExplanationsKind:
    return ExplanationsKind(writer or ScriptedWriter(), FolderArtifacts.__new__(FolderArtifacts), price=price)


def violations(spec: ExplanationsSpec) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        kind().resolve(spec)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_every_explainer_of_the_contract_is_in_every_table() -> None:
    names = [value.name.removeprefix("EXPLAINER_").lower() for value in explanation_pb2.Explainer.DESCRIPTOR.values][1:]
    assert set(names) == set(get_args(Explainer)) == set(EXPLAINERS) == set(FORMS)
    for name, explainer in EXPLAINERS.items():
        assert (explainer.prompt is None) != (explainer.text is None)
        assert (explainer.prompt is None) == (FORMS[name].llm is None)
    assert len({explainer.version for explainer in EXPLAINERS.values()}) == len(EXPLAINERS)


def test_leaving_a_default_out_and_giving_it_are_one_job() -> None:
    assert spec_of("default") == ExplanationsSpec(latents_id=LATENTS)
    assert spec_of("contrastive") == spec_of("contrastive", example_count=15, counter_count=5, show_strengths=True)
    assert spec_of("max_act") == spec_of("max_act", sampling="top", llm={"max_tokens": 64})
    assert spec_of("chain_of_thought").llm == spec_of("chain_of_thought", llm={"max_tokens": 512}).llm
    published = spec_of("eleuther_acts_top5")
    assert published.llm is not None
    assert (published.example_count, published.sampling, published.llm.temperature) == (5, "top", 0.7)
    assert spec_of("default", show_strengths=False) == spec_of("no_activations")
    written = spec_of("ensemble").model_dump(mode="json")
    assert ExplanationsSpec(**written) == spec_of("ensemble")
    assert spec_of("oracle").selection.latents == (3,)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_spec_that_is_written_out_comes_back_over_the_wire(name: str) -> None:
    fields: dict[str, Any] = {}
    if FORMS[name].llm is not None:
        fields = {"token_budget": 9, "cost_budget": 0.5, "price": {"prompt": 0.0, "completion": 2.5, "cached": 1.0}}
        fields["dry_run"] = True
    if "show_strengths" in FORMS[name].defaults and name != "default":
        fields["show_strengths"] = False
    spec = spec_of(name, **fields)
    sent = spec_message(spec.model_dump(mode="json"), explanation_pb2.ExplanationsSpec)
    received = explanation_pb2.ExplanationsSpec.FromString(sent.SerializeToString())
    assert ExplanationsSpec(**spec_dict(received)) == spec  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["acts_top5", "other_latent", "generic", "random", "oracle"])
def test_what_needs_no_language_model_asks_for_none(name: str) -> None:
    resolved = kind(NoEngine()).resolve(spec_of(name))
    assert resolved.llm is None
    assert resolved.prompt_version == EXPLAINERS[name].version
    for field, value in {"llm": {"max_tokens": 99}, "token_budget": 100, "cost_budget": 1.5, "dry_run": True}.items():
        told = violations(spec_of(name, **{field: value}))
        assert told == {field: f"explainer {name} has no {field}; it asks no language model: leave {field} out"}


@pytest.mark.parametrize(
    ("explainer", "given", "field", "words"),
    [
        ("default", {"counter_count": 3}, "counter_count", "leave it out, or take contrastive"),
        ("default", {"effects_id": EFFECTS}, "effects_id", "leave it out, or take output or ensemble"),
        ("output", {"effects_id": ""}, "effects_id", "explainer output needs effects_id"),
        ("output", {"example_count": 5}, "example_count", "explainer output has no example_count"),
        ("other_latent", {"explanations_id": ""}, "explanations_id", "needs explanations_id"),
        ("oracle", {"texts": []}, "texts", "explainer oracle needs texts"),
        ("hypotheses", {"example_count": 1}, "example_count", "can do nothing with 1; expected 2 or more"),
        ("generic", {"sampling": "top"}, "sampling", "explainer generic has no sampling"),
        ("max_act", {"show_strengths": False}, "show_strengths", "max_act has no show_strengths"),
        ("acts_top5", {"example_count": 6}, "example_count", "has example_count 5 by definition, not 6"),
        ("contrastive", {"kl_target": 1.0}, "kl_target", "leave it out, or take output or ensemble"),
        ("default", {"nla": {"source": "x"}}, "nla", "leave it out, or take nla"),
        ("default", {"price": {"prompt": 1, "completion": 2}}, "price", "only dry_run and cost_budget"),
        ("output", {"effects_id": LATENTS}, "effects_id", "expected an id that begins with effects-"),
    ],
)
def test_an_option_of_another_explainer_is_refused(
    explainer: str, given: dict[str, Any], field: str, words: str
) -> None:
    told = violations(spec_of(explainer, **given))
    assert list(told) == [field]
    assert words in told[field]


def test_an_unknown_explainer_names_the_nearest() -> None:
    with pytest.raises(InvalidSpec, match="did you mean 'contrastive'"):
        spec_message({"latents_id": LATENTS, "explainer": "contrastiv"}, explanation_pb2.ExplanationsSpec)


def test_nla_needs_a_verbaliser_that_the_operator_configured() -> None:
    with pytest.raises(FailedPrecondition, match="EXPLAINER_NLA_URL"):
        kind().resolve(spec_of("nla"))


def test_the_price_of_a_dry_run_is_the_operators_unless_given() -> None:
    price = Price(prompt=1.0, completion=4.0)
    assert kind(price=price).resolve(spec_of("default", dry_run=True)).price == price
    own = {"currency": "EUR", "prompt": 2.0, "completion": 2.0}
    assert kind(price=price).resolve(spec_of("default", dry_run=True, price=own)).price == Price(**own)
    assert kind(price=price).resolve(spec_of("default")).price is None
    assert kind(price=price).resolve(spec_of("default", cost_budget=0.1)).price == price
    with pytest.raises(FailedPrecondition, match="this server knows none"):
        kind().resolve(spec_of("default", cost_budget=0.1))


def info(id_: str, spec: dict[str, Any], **statistics: Any) -> InputInfo:
    name = id_.split("-")[0]
    manifest = Manifest(id_, name, 2, spec, {}, [], statistics) if statistics else None
    return InputInfo(id_, name, spec, manifest)


def check(spec: ExplanationsSpec, **others: InputInfo) -> dict[str, str]:
    inputs = {"latents": info(LATENTS, KEPT), **others}
    try:
        kind().check(spec, inputs)
    except InvalidSpec as error:
        return {violation.field: violation.description for violation in error.violations}
    return {}


def test_effects_must_be_of_these_latents_and_of_train_texts() -> None:
    measured = info(EFFECTS, {"latents_id": LATENTS, "split": "train", "kl_targets": [0.1, 1.0]})
    assert check(spec_of("output", kl_target=0.1), effects=measured) == {}
    told = check(spec_of("output", kl_target=0.5), effects=measured)
    assert told == {"kl_target": f"0.5 is no target of {EFFECTS}; it has 0.1, 1"}
    of_test = replace(measured, spec={**measured.spec, "split": "test"})
    assert "give effects of split train" in check(spec_of("ensemble"), effects=of_test)["effects_id"]
    assert check(spec_of("ensemble", output_evidence="vocab_proj"), effects=of_test) == {}
    useless = check(spec_of("output", output_evidence="vocab_proj", kl_target=1.0), effects=measured)
    assert "leave kl_target out" in useless["kl_target"]
    foreign = replace(measured, spec={**measured.spec, "latents_id": "latents-" + "2" * 32})
    assert "give effects of the latents that are explained" in check(spec_of("output"), effects=foreign)["effects_id"]


def test_named_latents_must_be_among_those_that_were_measured() -> None:
    of_some = {"latents_id": LATENTS, "split": "train", "kl_targets": [1.0], "selection": {"latents": [0, 2]}}
    told = check(spec_of("output", selection={"latents": [0, 1, 2, 3]}), effects=info(EFFECTS, of_some))
    assert list(told) == ["selection.latents"]
    assert f"{EFFECTS} did not measure latent 1, 3;" in told["selection.latents"]
    assert check(spec_of("output", selection={"latents": [2]}), effects=info(EFFECTS, of_some)) == {}
    assert check(spec_of("output", selection={"ranks": [7]}), effects=info(EFFECTS, of_some)) == {}


def test_neighbours_and_other_explanations_must_be_there() -> None:
    assert "made without neighbours" in check(spec_of("contrastive", counter_source="neighbours"))["counter_source"]
    others = info(OTHERS, {"latents_id": LATENTS}, parsed=5)
    assert check(spec_of("other_latent"), explanations=others) == {}
    alone = info(OTHERS, {"latents_id": LATENTS}, parsed=1)
    assert "two or more" in check(spec_of("other_latent"), explanations=alone)["explanations_id"]
    none = info(OTHERS, {"latents_id": LATENTS}, parsed=0)
    assert "has 0 explanations" in check(spec_of("other_latent"), explanations=none)["explanations_id"]
    dry = info(OTHERS, {"latents_id": LATENTS, "dry_run": True}, parsed=0)
    assert "is a dry run" in check(spec_of("other_latent"), explanations=dry)["explanations_id"]
    foreign = info(OTHERS, {"latents_id": "latents-" + "2" * 32}, parsed=5)
    assert "of the same latents" in check(spec_of("other_latent"), explanations=foreign)["explanations_id"]


def test_texts_of_other_latents_than_those_selected_are_refused() -> None:
    assert check(spec_of("oracle", selection={"latents": [3, 4]})) == {}
    assert "none of the selected latents" in check(spec_of("oracle", selection={"latents": [4]}))["texts"]


@pytest.mark.parametrize(("how", "count", "fits"), [("mixed", 50, True), ("mixed", 51, False), ("mixed", 60, False)])
def test_a_mixed_sample_asks_for_a_fifth_of_the_strongest(how: str, count: int, fits: bool) -> None:
    told = check(spec_of("default", sampling=how, example_count=count))
    assert (told == {}) is fits
