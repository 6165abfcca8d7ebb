"""Rows of the acceptance matrix that no other file shows; docs/methods.md says which test shows which row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from activation.core.packing import RowShape, pack_rows
from activation.core.splitting import draw_documents
from dragoman.folder import FolderArtifact
from dragoman.ids import derived_seed
from latent_cache.windows import find_runs
from scorer.core.judgement import Verdict
from scorer.core.measures import FORMS
from scorer.core.requests import Choice, Request, Simulation
from scorer.core.scorers import METHODS
from scorer.core.scorers.method import EMBEDDINGS, LOGPROBS, PROMPT_LOGPROBS
from scorer.llm_judge import likeliest
from scorer.scores_kind import ScoresKind
from scorer.spec import LlmRef, ScoresSpec

from tests.support import metric_blindness
from tests.support.local_run import run_local
from tests.support.window_grid import WindowGrid
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_discrimination import fitting
from tests.unit.scorer.test_intruder import fragments, likely, marked
from tests.unit.scorer.test_scores_kind import statistics, table
from tests.unit.scorer.test_simulation import true_strengths, words_of


def shared_documents(pools: int) -> int:
    """Draws pools of documents, packs them and cuts windows; returns how many documents have windows in both splits."""
    shape, shared = RowShape(17, 0, 0), 0
    for pool in range(pools):
        rng = np.random.Generator(np.random.PCG64(pool))
        drawn = draw_documents(int(rng.integers(2, 9)), 0, float(rng.uniform(0.1, 0.9)), pool)
        splits = [
            list(pack_rows([(d, np.ones(int(rng.integers(1, 40)), np.int32)) for d in split.tolist()], shape))
            for split in (drawn.train, drawn.test)
        ]
        documents = np.concatenate([rows.documents for split in splits for rows in split])
        train_rows = sum(len(rows) for rows in splits[0])
        grid = WindowGrid.of([find_runs(documents, 0, 4)], 4, 17, train_rows)
        train, test = (_owners(grid, documents, split) for split in ("train", "test"))
        assert train <= set(drawn.train.tolist())
        assert test <= set(drawn.test.tolist())
        shared += len(train & test)
    return shared


def test_windows_of_train_and_test_share_no_document_in_a_thousand_pools() -> None:
    assert shared_documents(1_000) == 0


def _owners(grid: WindowGrid, documents: np.ndarray, split: Any) -> set[int]:
    """The documents of a split's windows, by their tokens."""
    rows, starts, owners = grid.places(np.arange(*grid.bounds(split)))
    inside = documents[rows[:, None], starts[:, None] + np.arange(4)]
    assert (inside == owners[:, None]).all(), "a window is of one document"
    return set(owners.tolist())


def test_metrics_that_a_narrow_or_a_wide_label_escapes_are_flagged() -> None:
    found = {(line.design, line.metric): line for line in metric_blindness.lines(draws=60)}
    for metric in metric_blindness.METRICS:
        corpus, random, near = (found[design.name, metric] for design in metric_blindness.DESIGNS)
        assert not any(line.blind("narrow") for line in (corpus, random, near))
        assert corpus.blind("wide") == (metric in ("auroc", "balanced_accuracy")), metric
        assert random.blind("wide"), "what is not among the negatives no metric can see"
        assert not near.blind("wide"), metric
    text = metric_blindness.text(list(found.values()))
    assert "auroc" in text
    assert text.splitlines()[1].endswith("wide")


LATENTS = 4


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def sees_strong_words(asked: p.Asked) -> list[float]:
    """Knows a latent's two strongest words only, and says the first place where it sees too few of them."""
    seen = [any(word[-1] in "ae" and word[0] == "q" for word in marked(text)) for text in fragments(asked)]
    return likely(seen.index(False) if sum(seen) == 4 else 0)


def accuracy_by_strength(laid: p.Laid, folder: Path) -> tuple[float, float]:
    """The judge's intruder accuracy among weak and among strong windows."""
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer="intruder", window_length=p.LENGTH,
        bootstrap_count=100, active_count=50, null_count=0,
    )  # fmt: skip
    made = run_local(ScoresKind(p.RuleJudge(sees_strong_words), laid.artifacts), spec, laid.inputs, folder / "made")
    right: dict[bool, list[bool]] = {True: [], False: []}
    for e in table(made, "examples.parquet"):
        right[max(e["shown_quantiles"]) >= 5].append(e["answer"])
    return float(np.mean(right[False])), float(np.mean(right[True]))


def test_the_intruder_is_found_the_more_the_stronger_the_windows(laid: p.Laid, tmp_path: Path) -> None:
    weak, strong = accuracy_by_strength(laid, tmp_path)
    assert strong > weak + 0.3
    assert weak == pytest.approx(0.2, abs=0.1)


def chance(*parts: object) -> float:
    return derived_seed(*parts) / 2**63


Pick = Callable[[object, int], Sequence[float]]
"""The probability of each answer, of what is asked and how many answers there are."""


def always(place: int) -> Pick:
    """The first answer is yes, or the first of several places."""
    return lambda asked, count: [0.9 if i == place % count else 0.1 / max(1, count - 1) for i in range(count)]


def anything(asked: object, count: int) -> list[float]:
    return [chance("anything", asked, i) for i in range(count)]


@dataclass
class Picking(p.RuleJudge):
    """Answers requests of every form by a rule that knows nothing of their text."""

    rule: p.Rule = p.oracle
    pick: Pick = anything

    def verdicts(self, requests: Sequence[Request], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        for index, request in enumerate(requests):
            if isinstance(request, Choice):
                shares = self.pick(request.prompt, len(request.answers))
                yield index, Verdict("answered", likeliest(shares), shares)
            elif isinstance(request, Simulation):
                said = [9 * self.pick((request.prompt, i, token), 2)[0] for i, token in enumerate(request.tokens)]
                yield index, Verdict("answered", predicted=said)
            else:
                yield index, Verdict("answered", value=self.pick(request, 2)[0] - 0.5)


def ignorant(laid: p.Laid, folder: Path, scorer: str, pick: Pick) -> list[dict[str, Any]]:
    """Rows of the latents by a judge, and an embedder, that look at nothing."""
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH,
        bootstrap_count=100, null_count=0,
    )  # fmt: skip
    embedder = p.RuleEmbedder(lambda text: [x - 0.5 for x in pick(text, 8)])
    kind = ScoresKind(Picking(pick=pick), laid.artifacts, embedder)
    return table(run_local(kind, spec, laid.inputs, folder), "latents.parquet")


OF_WINDOWS = [name for name, method in METHODS.items() if method.needs <= {LOGPROBS, PROMPT_LOGPROBS, EMBEDDINGS}]
"""Those that read nothing but windows of the corpus; the others have tests of their own."""


@pytest.mark.parametrize("scorer", OF_WINDOWS)
@pytest.mark.parametrize("place", [0, -1], ids=["always-yes", "always-no"])
def test_who_always_answers_alike_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path, scorer: str, place: int) -> None:
    for row in ignorant(laid, tmp_path / "made", scorer, always(place)):
        for metric in FORMS[METHODS[scorer].form]:
            floor = row[f"{metric}_floor"]
            if metric == "f1":  # whose floor is that of yes to everything, which not every scorer can be told
                assert row[metric] <= floor + 1e-12
            else:  # None: who never says no has no windows said to be none
                assert row[metric] in (None, pytest.approx(floor, abs=1e-12))


@pytest.mark.parametrize("scorer", OF_WINDOWS)
def test_who_answers_anything_is_at_the_floor(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    rows = ignorant(laid, tmp_path / "made", scorer, anything)
    headline = next(iter(FORMS[METHODS[scorer].form]))
    values = [row[headline] for row in rows]
    assert np.mean(values) == pytest.approx(rows[0][f"{headline}_floor"], abs=0.14)
    assert np.std(values) > 0, "it does answer differently"


@dataclass
class SometimesAway(p.RuleJudge):
    """Gives no answer to a share of the questions, whatever they are."""

    share: float = 0.0

    def verdicts(self, requests: Sequence[Request], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        for index, verdict in super().verdicts(requests, llm):
            kinds = ("unparsable", "refused", "timeout")
            away = chance("away", requests[index]) < self.share
            yield index, Verdict(kinds[int(chance("how", requests[index]) * 3)]) if away else verdict


def noisy(rule: p.Rule) -> p.Rule:
    """Says what the rule says of the first answer, a little, and mostly anything."""

    def said(asked: p.Asked) -> float:
        answer = rule(asked)
        first = answer if isinstance(answer, float) else float(answer[0])
        return 0.5 + 0.2 * (first - 0.5) + 0.6 * (asked.chance(1) - 0.5)

    return said


def noisy_strengths(description: str, tokens: Sequence[str]) -> list[float]:
    true = true_strengths(description, list(tokens))
    return [max(0.0, value + 4 * chance(description, tokens, i) - 2) for i, value in enumerate(true)]


def noisy_gain(description: str, text: str) -> float:
    fits = bool(set(words_of(description)) & set(text.split()))
    return 0.5 * fits + 2 * chance(description, text) - 1


RULES: Mapping[str, p.Rule] = {"discrimination": noisy(fitting)}


@pytest.mark.parametrize("scorer", ["detection", "surprisal", "discrimination", "simulation"])
def test_a_fifth_of_failures_is_told_as_a_fifth_and_the_mean_stays(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    whole = statistics(judged(laid, tmp_path / "whole", scorer, 0.0))
    found = statistics(judged(laid, tmp_path / "failing", scorer, 0.2))
    failed = sum(found["failed_by_outcome"].values())
    assert failed == found["question_count"] - found["answered_count"]
    assert failed / found["question_count"] == pytest.approx(0.2, abs=0.06)
    metric = found["metrics"][0]
    assert found[metric]["mean"] == pytest.approx(whole[metric]["mean"], abs=0.06)
    assert whole["floors"][metric] + 0.1 < whole[metric]["mean"] < 0.97, "the judge must be able to move"


def judged(laid: p.Laid, folder: Path, scorer: str, share: float) -> FolderArtifact:
    judge = SometimesAway(RULES.get(scorer, noisy(p.oracle)), strengths=noisy_strengths, gain=noisy_gain, share=share)
    spec = ScoresSpec(
        explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH,
        bootstrap_count=100, active_count=40, inactive_count=40, null_count=0,
    )  # fmt: skip
    return run_local(ScoresKind(judge, laid.artifacts), spec, laid.inputs, folder)
