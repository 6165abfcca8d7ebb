"""Simulation and surprisal: arithmetic over planted latents, and what is read of an engine's replies."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from dragoman.ids import derived_seed
from dragoman.llm import Endpoint
from scorer.core.correlation import Simulated, pearson, pearson_interval
from scorer.core.prompts_simulation import token_line
from scorer.core.requests import Contrast, Simulation
from scorer.llm_judge import LlmJudge
from scorer.scores_kind import ScoresKind
from scorer.spec import LlmRef, ScoresSpec

from tests.support.local_run import run_local
from tests.support.scripted_http import Reply, error_reply, scripted
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 6
LLM = LlmRef(model="judge")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def scored(laid: p.Laid, judge: p.RuleJudge, folder: Path, scorer: str = "simulation") -> FolderArtifact:
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH,
        bootstrap_count=100,
    )  # fmt: skip
    return run_local(ScoresKind(judge, laid.artifacts), spec, laid.inputs, folder / "scores")


def words_of(description: str) -> list[str]:
    return description.removeprefix("the words ").split(", ")


def true_strengths(description: str, tokens: list[str]) -> list[float]:
    words = words_of(description)
    return [float(p.WORDS - words.index(t.strip())) if t.strip() in words else 0.0 for t in tokens]


def test_oracle_simulates_and_with_anothers_label_does_not(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, p.RuleJudge(p.oracle, strengths=true_strengths), tmp_path)
    found = statistics(made)
    assert found["metrics"] == ["pearson"]
    assert found["floors"] == {"pearson": 0.0}
    assert found["pearson"]["mean"] == pytest.approx(1.0)
    examples = table(made, "examples.parquet")
    assert examples[0]["predicted"] == pytest.approx(examples[0]["activations"])
    for row in table(made, "latents.parquet"):
        shown = [e for e in examples if e["arm"] == "shuffled" and e["latent"] == row["latent"]]
        told = [true_strengths(p.label_of(e["explanation_latent"]), e["tokens"]) for e in shown]
        true = np.concatenate([e["activations"] for e in shown])
        assert row["null_pearson"] == pytest.approx(np.corrcoef(np.concatenate(told), true)[0, 1])
    floor, error = null_pearson(20 * LATENTS)
    assert abs(found["null_pearson"]["mean"] - floor) < 3.0 * error


def null_pearson(windows: int) -> tuple[float, float]:
    """Correlation of two latents' activations over so many windows of either kind, and about its standard error: a
    token is of one latent at most, so that it is a little below 0.
    """
    own = p.SHARE / (1.0 - (1.0 - p.SHARE) ** p.LENGTH) / 2.0  # half of the windows have a token of its own
    other = (1.0 - own) * p.SHARE / (1.0 - p.SHARE)
    mean, square = 3.0, 11.0  # of 1, 2, 3, 4, 5, which are as frequent
    deviations = [np.sqrt(square * share - (mean * share) ** 2) for share in (own, other)]
    return -(mean**2) * own * other / float(np.prod(deviations)), float(1.0 / np.sqrt(2 * windows * p.LENGTH))


@pytest.mark.parametrize("value", [0.0, 4.5, 9.0])
def test_the_same_number_everywhere_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path, value: float) -> None:
    judge = p.RuleJudge(p.oracle, strengths=lambda _, tokens: [value] * len(tokens))
    for row in table(scored(laid, judge, tmp_path), "latents.parquet"):
        assert row["pearson"] == row["null_pearson"] == row["pearson_floor"] == 0.0


def test_numbers_of_places_are_at_the_floor(laid: p.Laid, tmp_path: Path) -> None:
    judge = p.RuleJudge(p.oracle, strengths=lambda _, tokens: [float(i % 10) for i in range(len(tokens))])
    error = 1.0 / np.sqrt(2 * 20 * LATENTS * p.LENGTH)
    assert abs(statistics(scored(laid, judge, tmp_path))["pearson"]["mean"]) < 3.0 * error


def test_correlation_is_numpys_and_its_interval_covers_it() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    windows = [Simulated(x := rng.random(16), x + rng.random(16)) for _ in range(20)]
    together = [np.concatenate([getattr(w, name) for w in windows]) for name in ("predicted", "true")]
    assert pearson(windows) == pytest.approx(np.corrcoef(*together)[0, 1])
    interval = pearson_interval(windows, 0, 500)
    assert interval is not None
    assert interval.low < pearson(windows) < interval.high
    assert pearson([Simulated(np.ones(3), np.zeros(3))]) is None


def test_surprisal_ranks_by_the_gain_and_says_yes_above_0(laid: p.Laid, tmp_path: Path) -> None:
    def gain(description: str, text: str) -> float:
        return 1.5 if set(words_of(description)) & set(text.split()) else -0.5

    made = scored(laid, p.RuleJudge(p.oracle, gain=gain), tmp_path, "surprisal")
    found, examples = statistics(made), table(made, "examples.parquet")
    assert found["auroc"]["mean"] >= 0.95
    assert found["balanced_accuracy"]["mean"] >= 0.95
    for row in table(made, "latents.parquet"):
        assert row["null_auroc"] == pytest.approx(p.null_told_by_text(examples, row["latent"]))
    floor, error = p.null_auroc(20 * LATENTS, 20 * LATENTS)
    assert abs(found["null_auroc"]["mean"] - floor) < 3.0 * error


def test_surprisal_without_a_difference_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path) -> None:
    for row in table(scored(laid, p.RuleJudge(p.oracle), tmp_path, "surprisal"), "latents.parquet"):
        assert row["auroc"] == row["balanced_accuracy"] == row["auprc"] == 0.5


# ---------------------------------------------------------------- what engines say


def digits(prompt: str) -> dict[str, float]:
    """An engine's candidates after a prompt: two digits, and a word that counts for nothing."""
    low = derived_seed(prompt) % 9
    share = 0.2 + derived_seed("share", prompt) % 100 / 200
    return {str(low): math.log(0.9 * share), str(low + 1): math.log(0.9 * (1 - share)), " and": math.log(0.1)}


def engine(echoes: bool):
    """One with a token a character, which tells the log-probabilities of prompts or only of what it adds."""

    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return Reply(body=json.dumps({"data": [{"id": "judge"}]}).encode())
        asked = json.loads(body)
        if "prompt" not in asked:
            return error_reply(400, "completions only")
        prompt = asked["prompt"]
        found = {
            "top_logprobs": [digits(prompt)],
            "tokens": ["5"],
            "token_logprobs": [-1.0],
            "text_offset": [len(prompt)],
        }
        horse = "horse" in prompt
        if echoes and asked.get("echo"):
            found = {
                "tokens": [*prompt, "5"], "text_offset": list(range(len(prompt) + 1)),
                "token_logprobs": [None, *(-0.001 * (ord(c) % 50) - 0.1 * horse for c in prompt[1:]), -1.0],
                "top_logprobs": [None, *(digits(prompt[:i]) for i in range(1, len(prompt) + 1))],
            }  # fmt: skip
        choice = {"text": "5", "finish_reason": "length", "logprobs": found}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 1}
        return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())

    return scripted(script)


REQUESTS = [
    Simulation("Description: one\n", (" the", " old\n", "", " dog"), fed_back=False),
    Simulation("Description: two\n", (" cat",), fed_back=False),
]


def test_one_pass_and_one_by_one_give_the_same_numbers() -> None:
    found = []
    for echoes in (True, False):
        with engine(echoes) as server:
            verdicts = dict(LlmJudge(Endpoint(server.url)).verdicts(REQUESTS, LLM))
            found.append([verdicts[i].predicted for i in range(2)])
            completions = sum("completions" in path and b"Description" in body for path, body in server.seen)
            assert completions == (2 if echoes else 5)
    assert [list(v) for v in found[0]] == [pytest.approx(v) for v in found[1]]
    assert len(found[0][0]) == 4


def test_token_by_token_tells_what_was_said_of_the_tokens_before() -> None:
    with engine(True) as server:
        request = Simulation("Description: one\n", (" the", " dog"), fed_back=True)
        [(_, verdict)] = LlmJudge(Endpoint(server.url)).verdicts([request], LLM)
        prompts = [json.loads(body)["prompt"] for _, body in server.seen if b"Description" in body]
    assert prompts[1] == request.prompt + token_line(" the", str(round(verdict.predicted[0]))) + " dog\t"
    assert verdict.completion_tokens == 2


def test_a_contrast_is_the_difference_over_the_text_alone() -> None:
    with engine(True) as server:
        request = Contrast("about a horse:", "about nothing in particular:", " it ran")
        [(_, verdict)] = LlmJudge(Endpoint(server.url)).verdicts([request], LLM)
    assert verdict.value == pytest.approx(-0.1 * len(" it ran"))
    assert verdict.prompt_tokens == len(request.prompt) + len(request.baseline) + 2 * len(request.text)


def test_an_engine_that_lacks_what_a_scorer_needs_is_refused_at_submit_and_probed_once() -> None:
    with engine(False) as server:
        judge = LlmJudge(Endpoint(server.url))
        with pytest.raises(InvalidSpec, match=r"tells no prompt log-probabilities for 'judge'.*vLLM") as error:
            judge.resolve(LlmRef(), frozenset({"prompt log-probabilities"}))
        assert error.value.reason == "ENGINE_LACKS"
        asked = len(server.seen)
        with pytest.raises(InvalidSpec):
            judge.resolve(LlmRef(), frozenset({"prompt log-probabilities"}))
        assert [path for path, _ in server.seen[asked:]] == ["/v1/models"]
    with engine(True) as server:
        assert (
            LlmJudge(Endpoint(server.url)).resolve(LlmRef(), frozenset({"prompt log-probabilities"})).model == "judge"
        )
