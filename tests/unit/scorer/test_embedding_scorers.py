"""Scorers that embed, over planted latents, with embedders that follow rules."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dragoman.errors import FailedPrecondition
from dragoman.folder import FolderArtifact
from dragoman.ids import derived_seed
from dragoman.llm import Endpoint
from scorer.embedder import EndpointEmbedder
from scorer.scores_kind import ScoresKind
from scorer.spec import EmbedderRef, ScoresSpec

from tests.support.local_run import run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 6
EMBEDDERS = ("embedding", "example_embedding")


def null_told_by_nearness(examples: Sequence[Mapping[str, Any]], latent: int) -> float:
    """AUROC of a latent's null of example embedding, from the words of its windows, in whole numbers.

    Vectors of `by_family` are of 1 and -1, and near and far windows are as many, so that their products decide.
    """
    mine = [e for e in examples if e["arm"] == "shuffled" and e["latent"] == latent]
    vectors = {(e["row"], e["start"]): np.asarray(p.by_family(" ".join(e["tokens"])), np.int64) for e in mine}

    def value(e: Mapping[str, Any]) -> int:
        products = [
            vectors[place] @ vectors[e["row"], e["start"]]
            for place in zip(e["shown_rows"], e["shown_starts"], strict=True)
        ]
        return int(sum(products[: len(products) // 2]) - sum(products[len(products) // 2 :]))

    yes, no = ([value(e) for e in mine if e["label"] is label] for label in (True, False))
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in yes for b in no]))


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def scored(laid: p.Laid, rule: Any, folder: Path, scorer: str, **changes: object) -> FolderArtifact:
    fields = {"explanations_id": p.EXPLANATIONS_ID, "latents_id": p.LATENTS_ID, "bootstrap_count": 100, **changes}
    spec = ScoresSpec(scorer=scorer, window_length=p.LENGTH, **fields)
    kind = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts, p.RuleEmbedder(rule))
    return run_local(kind, spec, laid.inputs, folder / "scores")


@pytest.mark.parametrize("scorer", EMBEDDERS)
def test_oracle_gets_nearly_all_and_the_null_is_what_the_text_tells(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    made = scored(laid, p.by_family, tmp_path, scorer)
    found = statistics(made)
    assert found["auroc"]["mean"] >= 0.95
    assert found["auprc"]["mean"] >= 0.95
    assert found["floors"]["auroc"] == found["floors"]["auprc"] == 0.5
    examples = table(made, "examples.parquet")
    told = p.null_told_by_text if scorer == "embedding" else null_told_by_nearness
    for row in table(made, "latents.parquet"):
        assert row["null_auroc"] == pytest.approx(told(examples, row["latent"]))
    if scorer == "embedding":
        floor, error = p.null_auroc(20 * LATENTS, 20 * LATENTS)
        assert abs(found["null_auroc"]["mean"] - floor) < 3.0 * error
    assert found["model"] == "rule"
    assert made.manifest.spec["llm"]["model"] == "", "no language model is asked"
    assert ("balanced_accuracy" in found) == (scorer == "example_embedding"), "a cosine has no threshold"


@pytest.mark.parametrize("scorer", EMBEDDERS)
def test_an_embedder_that_says_always_the_same_gets_exactly_the_floor(
    laid: p.Laid, tmp_path: Path, scorer: str
) -> None:
    for row in table(scored(laid, lambda _: [0.6, 0.8], tmp_path, scorer), "latents.parquet"):
        assert row["auroc"] == row["null_auroc"] == row["auprc"] == row["auroc_floor"] == 0.5


def test_an_embedder_of_marks_alone_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path) -> None:
    def places(text: str) -> list[float]:
        found = [len(before.replace(">>", "").split()) for before in text.split("<<")[:-1]]
        return [1.0, *(float(place in found) for place in range(p.LENGTH))]

    for row in table(scored(laid, places, tmp_path, "example_embedding"), "latents.parquet"):
        assert row["auroc"] == row["balanced_accuracy"] == row["null_auroc"] == 0.5


@pytest.mark.parametrize("scorer", EMBEDDERS)
def test_random_vectors_are_at_the_floor_within_the_interval(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    values: list[float] = []
    for seed in range(3):

        @functools.cache
        def random(text: str, seed: int = seed) -> np.ndarray:
            return np.random.Generator(np.random.PCG64(derived_seed(seed, text))).standard_normal(64)

        made = scored(laid, random, tmp_path / str(seed), scorer)
        values += [row["auroc"] for row in table(made, "latents.parquet")]
    assert abs(np.mean(values) - 0.5) < 3.0 * np.std(values) / np.sqrt(len(values))


def test_examples_are_compared_with_others_of_either_kind(laid: p.Laid, tmp_path: Path) -> None:
    examples = table(scored(laid, p.by_family, tmp_path, "example_embedding"), "examples.parquet")
    for e in examples:
        shown = list(zip(e["shown_rows"], e["shown_starts"], strict=True))
        assert (e["row"], e["start"]) not in shown
        assert len(set(shown)) == len(shown) == 20
        assert e["answer"] is (e["value"] > 0.0)
        near = e["shown_quantiles"][:10]
        assert e["arm"] == "shuffled" or min(near) >= 0 > max(e["shown_quantiles"][10:])


def test_a_text_that_cannot_be_embedded_is_counted_and_in_no_score(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(laid, lambda t: None if derived_seed(t) % 5 == 0 else p.by_family(t), tmp_path, "embedding")
    found = statistics(made)
    assert found["failed_by_outcome"]["refused"] == found["question_count"] - found["answered_count"] > 0
    assert found["auroc"]["mean"] >= 0.95


def test_without_an_endpoint_it_is_refused_at_submit() -> None:
    with pytest.raises(FailedPrecondition, match="set DRAGOMAN_EMBED_URL"):
        EndpointEmbedder(Endpoint("", variable="DRAGOMAN_EMBED")).resolve(EmbedderRef())
