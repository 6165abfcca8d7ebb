"""Tokens counted before any is spent, and a budget that ends a job with what it paid for."""

from pathlib import Path
from typing import Any

import pytest
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.folder import FolderArtifact
from dragoman.llm import Endpoint
from dragoman.llm.price import Price
from scorer.core.planned import prompts_of
from scorer.core.prompts_simulation import UNKNOWN, token_line, token_question
from scorer.core.requests import Choice, Contrast, Nearness, Simulation
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support.local_run import reversed_order, run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS, EXAMPLES = 5, 4


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    made = p.planted(LATENTS, outcomes={2: "unparsable"})
    return p.lay_out(made, tmp_path_factory.mktemp("artifacts"))


def spec_of(**changes: object) -> ScoresSpec:
    fields = {"scorer": "detection", "active_count": EXAMPLES, "inactive_count": EXAMPLES, "null_count": 1, **changes}
    fields = {"window_length": p.LENGTH, "bootstrap_count": 100, "latents_per_task": 2, **fields}
    return ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, **fields)


def scored(
    laid: p.Laid, folder: Path, counts: bool = True, order: Any = None, **changes: object
) -> tuple[FolderArtifact, p.RuleJudge]:
    judge = p.RuleJudge(p.oracle, counts=counts)
    kind = ScoresKind(judge, laid.artifacts)
    return run_local(kind, spec_of(**changes), laid.inputs, folder, order=order), judge


def test_a_dry_run_counts_every_prompt_and_asks_nothing(laid: p.Laid, tmp_path: Path) -> None:
    price = {"currency": "EUR", "prompt": 2.0, "completion": 30.0}
    dry, judge = scored(laid, tmp_path / "dry", dry_run=True, price=price)
    assert judge.prompts == []
    assert table(dry, "examples.parquet") == []
    real, judge = scored(laid, tmp_path / "real")
    words, questions = sum(len(prompt.split()) for prompt in judge.prompts), len(judge.prompts)
    found = statistics(dry)
    assert (found["planned_prompt_tokens"], found["planned_completion_tokens"]) == (words, questions)
    assert found["planned_cost"] == {"currency": "EUR", "at_most": pytest.approx((2 * words + 30 * questions) / 1e6)}
    assert (found["planned"], found["over_budget"], found["token_counter"]) == (LATENTS - 1, 0, "engine")
    stopped = {row["latent"]: row["stopped"] for row in table(dry, "latents.parquet")}
    assert stopped == {j: None if j == 2 else "planned" for j in range(LATENTS)}
    assert dry.manifest.failed_count == 0
    assert found["auroc"]["mean"] is None
    assert statistics(real)["planned_prompt_tokens"] is statistics(real)["token_budget"] is None


def test_an_engine_that_cannot_count_is_taken_for_a_quarter_more(laid: p.Laid, tmp_path: Path) -> None:
    dry, _ = scored(laid, tmp_path, counts=False, dry_run=True)
    found = statistics(dry)
    assert found["token_counter"] == "subject model"
    assert found["planned_cost"] is None
    assert found["planned_prompt_tokens"] > found["planned_completion_tokens"] > 0


def test_a_budget_stops_at_what_fits_and_says_so(laid: p.Laid, tmp_path: Path) -> None:
    whole, _ = scored(laid, tmp_path / "whole")
    rows = table(whole, "latents.parquet")
    costs = [row["prompt_tokens"] + row["completion_tokens"] for row in rows]
    allowed = sum(costs[:3]) + costs[3] - 1
    made, judge = scored(laid, tmp_path / "job", token_budget=allowed)
    again, _ = scored(laid, tmp_path / "again", token_budget=allowed, order=reversed_order)
    assert [part.sha256 for part in made.manifest.parts] == [part.sha256 for part in again.manifest.parts]
    found = table(made, "latents.parquet")
    assert [row["stopped"] for row in found] == [None, None, None, "over_budget", "over_budget"]
    assert [row["auroc"] for row in found[:3]] == [row["auroc"] for row in rows[:3]]
    assert all(row["auroc"] is None for row in found[3:])
    told = statistics(made)
    assert (told["token_budget"], told["over_budget"], told["planned"]) == (allowed, 2, 0)
    spent = told["prompt_tokens"] + told["completion_tokens"]
    assert spent == sum(costs[:3]) == told["planned_prompt_tokens"] + told["planned_completion_tokens"] <= allowed
    assert len(judge.prompts) == told["question_count"]
    nothing, judge = scored(laid, tmp_path / "none", token_budget=1)
    assert judge.prompts == []
    assert statistics(nothing)["over_budget"] == LATENTS - 1


def test_a_budget_of_money_reaches_as_far_as_its_price(laid: p.Laid, tmp_path: Path) -> None:
    price = {"currency": "EUR", "prompt": 3.0, "cached": 0.5, "completion": 60.0}
    rows = table(scored(laid, tmp_path / "whole")[0], "latents.parquet")
    costs = [(3.0 * row["prompt_tokens"] + 60.0 * row["completion_tokens"]) / 1e6 for row in rows]
    allowed = sum(costs[:3]) + 0.9 * costs[3]
    made, judge = scored(laid, tmp_path / "job", cost_budget=allowed, price=price)
    assert [row["stopped"] for row in table(made, "latents.parquet")] == [None] * 3 + ["over_budget"] * 2
    told = statistics(made)
    assert (told["cost_budget"], told["token_budget"], told["over_budget"]) == (allowed, None, 2)
    assert told["planned_cost"] == {"currency": "EUR", "at_most": pytest.approx(sum(costs[:3]))}
    assert len(judge.prompts) == told["question_count"]
    saved = 2.5 * told["cached_tokens"] / 1e6
    assert made.manifest.cost == {"spend_EUR": pytest.approx(sum(costs[:3]) - saved)}
    assert saved > 0.0


def test_a_budget_may_be_saved_by_stopping(laid: p.Laid, tmp_path: Path) -> None:
    stop = {"threshold": 0.6, "batch_count": 2}
    made, _ = scored(laid, tmp_path, token_budget=10**9, stop=stop, active_count=12, inactive_count=12)
    told = statistics(made)
    assert told["prompt_tokens"] < told["planned_prompt_tokens"]
    assert told["stopping"]["latents_by_reason"]["above"] == LATENTS - 1


def embedding(laid: p.Laid, folder: Path, **changes: object) -> tuple[FolderArtifact, p.RuleJudge, p.RuleEmbedder]:
    """Scores with negatives that embed alike, at two prices."""
    judge, embedder = p.RuleJudge(p.oracle), p.RuleEmbedder(p.by_family)
    price, of_texts = Price(prompt=2.0, completion=30.0), Price(prompt=0.5, completion=0.0)
    kind = ScoresKind(judge, laid.artifacts, embedder, price, of_texts)
    return run_local(kind, spec_of(near_count=3, **changes), laid.inputs, folder), judge, embedder


def test_what_is_embedded_to_find_negatives_is_told_and_paid_for(laid: p.Laid, tmp_path: Path) -> None:
    made, _, embedder = embedding(laid, tmp_path / "made")
    told = statistics(made)
    windows = {(e["latent"], " ".join(e["tokens"])) for e in table(made, "examples.parquet") if e["type"] == "active"}
    candidates = set(embedder.texts) - {text for _, text in windows}
    assert told["embedded_texts"] >= len(candidates) + len(windows) > 100
    assert told["embedded_tokens"] == p.LENGTH * told["embedded_texts"]
    judged = (2.0 * told["prompt_tokens"] + 30.0 * told["completion_tokens"]) / 1e6
    assert made.manifest.cost == {"spend_USD": pytest.approx(judged + 0.5 * told["embedded_tokens"] / 1e6)}
    alone, _, _ = embedding(laid, tmp_path / "alone", latents_per_task=1)
    assert alone.manifest.statistics == made.manifest.statistics, "candidates count once, however many tasks there are"
    assert statistics(scored(laid, tmp_path / "none")[0])["embedded_tokens"] == 0


def test_a_dry_run_embeds_nothing_and_counts_what_would_be(laid: p.Laid, tmp_path: Path) -> None:
    real = statistics(embedding(laid, tmp_path / "real")[0])
    dry, judge, embedder = embedding(laid, tmp_path / "dry", dry_run=True)
    assert embedder.texts == judge.prompts == []
    told = statistics(dry)
    assert told["planned_embedded_tokens"] == real["embedded_tokens"] > 0
    assert told["embedded_tokens"] == 0
    assert told["planned_prompt_tokens"] == real["prompt_tokens"], "words; windows are as long as each other"
    cost = (2.0 * real["prompt_tokens"] + 30.0 * real["completion_tokens"] + 0.5 * real["embedded_tokens"]) / 1e6
    assert told["planned_cost"] == {"currency": "USD", "at_most": pytest.approx(cost)}


@pytest.mark.parametrize("of", ["token_budget", "cost_budget"])
def test_a_budget_stops_before_what_is_embedded_goes_beyond_it(laid: p.Laid, tmp_path: Path, of: str) -> None:
    whole = statistics(embedding(laid, tmp_path / "dry", dry_run=True)[0])
    tokens = sum(whole[f"planned_{name}_tokens"] for name in ("prompt", "completion", "embedded"))
    enough = {"token_budget": tokens, "cost_budget": whole["planned_cost"]["at_most"]}[of]
    made, _, _ = embedding(laid, tmp_path / "enough", **{of: enough * (1 + 1e-9) if of == "cost_budget" else enough})
    assert statistics(made)["over_budget"] == 0
    made, _, _ = embedding(laid, tmp_path / "less", **{of: enough * 0.999 if of == "cost_budget" else enough - 1})
    told = statistics(made)
    assert told["over_budget"] == 1
    assert told["prompt_tokens"] + told["completion_tokens"] + told["embedded_tokens"] < tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": "embedding", "dry_run": True}, "embedding asks no language model; leave dry_run out"),
        ({"scorer": "embedding", "token_budget": 9}, "embedding asks no language model; leave token_budget out"),
        ({"scorer": "embedding", "cost_budget": 9}, "embedding asks no language model; leave cost_budget out"),
        ({"price": {"prompt": 1, "completion": 1}}, "only dry_run and cost_budget have use for a price"),
    ],
)
def test_what_cannot_be_counted_is_refused(laid: p.Laid, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).resolve(spec_of(**changes))


def test_the_price_is_the_operators_unless_given_and_never_guessed(laid: p.Laid) -> None:
    price = Price(prompt=1.0, completion=4.0)
    kind = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts, price=price)
    assert kind.resolve(spec_of(dry_run=True)).price == kind.resolve(spec_of(cost_budget=0.5)).price == price
    assert kind.resolve(spec_of()).price is kind.resolve(spec_of(token_budget=5)).price is None
    with pytest.raises(FailedPrecondition, match="knows none; its operator sets DRAGOMAN_LLM_PRICE_PROMPT") as error:
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).resolve(spec_of(cost_budget=0.5))
    assert error.value.reason == "NO_PRICE"


def test_prices_are_read_from_the_environment() -> None:
    assert Price.from_env({}) is None
    names = {"DRAGOMAN_LLM_PRICE_PROMPT": "0.5", "DRAGOMAN_LLM_PRICE_COMPLETION": "2", "DRAGOMAN_LLM_CURRENCY": "EUR"}
    assert Price.from_env(names) == Price(currency="EUR", prompt=0.5, completion=2.0)
    assert Price.from_env({**names, "DRAGOMAN_LLM_PRICE_CACHED": "0"}) == Price(
        currency="EUR", prompt=0.5, completion=2.0, cached=0.0
    )
    with pytest.raises(InvalidSpec, match="'cheap' is no price of a million tokens"):
        Price.from_env({**names, "DRAGOMAN_LLM_PRICE_CACHED": "cheap"})
    with pytest.raises(InvalidSpec, match="no price is guessed; set it, to 0 where nothing is paid") as error:
        Price.from_env({"DRAGOMAN_LLM_PRICE_PROMPT": "0.5"})
    assert error.value.violations[0].field == "DRAGOMAN_LLM_PRICE_COMPLETION"
    embedder = Endpoint.from_env({**names, "DRAGOMAN_EMBED_PRICE_PROMPT": "0.02"}, "SCORER", 4, 60.0, role="EMBED")
    assert embedder.price == Price(currency="EUR", prompt=0.02, completion=0.0)


def test_the_most_that_tokens_cost_is_without_a_cache_or_with_it_whichever_is_dearer() -> None:
    price = Price(prompt=3.0, cached=0.5, completion=10.0)
    assert price.of(1_000, 400, 50) == pytest.approx((3 * 600 + 0.5 * 400 + 10 * 50) / 1e6)
    assert Price(prompt=3.0, completion=10.0).of(1_000, 400, 50) == price.at_most(1_000, 50) == 0.0035
    assert Price(prompt=3.0, cached=4.0, completion=0.0).at_most(1_000, 50) == 0.004


def test_prompts_of_each_request_are_those_that_the_judge_sends() -> None:
    assert prompts_of(Choice("a", ("Yes", "No")), echoes=False) == ["a"]
    assert prompts_of(Contrast("a", "b", "c"), echoes=True) == ["ac", "bc"]
    assert prompts_of(Nearness("a", ["b"]), echoes=True) == []
    lines = [token_line(text, UNKNOWN) for text in (" x", " y")]
    at_once = Simulation("p ", (" x", " y"), fed_back=False)
    assert prompts_of(at_once, echoes=True) == ["p " + "".join(lines)]
    steps = ["p " + token_question(" x"), "p " + lines[0] + token_question(" y")]
    assert prompts_of(at_once, echoes=False) == steps == prompts_of(Simulation("p ", (" x", " y"), True), echoes=True)
