"""Triage: what explains planted latents, what the filters confirm, and what is not paid for."""

import asyncio
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec, UserTaskError
from dragoman.explanation.v1 import explanation_pb2
from dragoman.folder import FolderArtifact, FolderArtifacts
from dragoman.ids import derived_seed
from dragoman.pipeline import load
from dragoman.rpc.convert import field_names, spec_dict, spec_message
from dragoman.scoring.v1 import scoring_pb2
from explainer.explanations_kind import ExplanationsKind
from explainer.spec import ExplanationsSpec
from scorer.core.triage import Evidence, Threshold, judged, threshold_of
from scorer.core.triage_output import coherence, mixed_sets
from scorer.scores_kind import ScoresKind
from scorer.servicer import ScoringServicer
from scorer.spec import ScoresSpec
from scorer.triage_kind import TriageKind
from scorer.triage_spec import TriageSpec

from tests.support.local_run import reversed_order, run_local
from tests.support.memory_desk import MemoryDesk
from tests.support.scripted_writer import ScriptedWriter
from tests.support.synthetic_effects import EFFECTS_ID, effects_parts
from tests.support.synthetic_latents import Corpus, Parts, in_folder, latents_parts, tokens_parts
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_intruder import likely, odd_family
from tests.unit.scorer.test_scores_kind import statistics, table

CLASSES = ("input", "output", "cross", "obscure")
OF_EACH = 10
LATENTS = OF_EACH * len(CLASSES)
SCORES_ID = "scores-" + "4" * 32
PLANTED = [CLASSES[latent % len(CLASSES)] for latent in range(LATENTS)]


# ------------------------------------------------------------------- planted classes


def seeded(*parts: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derived_seed(*parts)))


def mixed_world() -> tuple[Corpus, np.ndarray]:
    """Latents of class input and cross fire on their words, the others anywhere."""
    corpus = p.planted_corpus(3, LATENTS, share=0.015)
    dense = p.planted_activations(corpus, LATENTS)
    for latent, name in enumerate(PLANTED):
        if name in ("output", "obscure"):
            chance = seeded("anywhere", latent).random(corpus.tokens.shape)
            dense[..., latent] = np.where(chance < 0.015, 1.0 + chance * 200, 0.0)
    dense[:, 0] = 0
    return corpus, dense


def promoted() -> dict[int, list[str]]:
    """Latents of class output and cross promote words of a kind, the others any."""
    some = [p.latent_words(latent) for latent in range(LATENTS)]
    any_ = {latent: seeded("said", latent).permutation(LATENTS)[:5] for latent in range(LATENTS)}
    return {
        latent: some[latent] if name in ("output", "cross") else [some[j][j % 5] for j in any_[latent]]
        for latent, name in enumerate(PLANTED)
    }


def by_kind(text: str) -> np.ndarray:
    """Words of a kind begin alike and lie together."""
    own = seeded("kind", text[:3]).standard_normal(16)
    return own / np.linalg.norm(own) + 0.2 * seeded("word", text).standard_normal(16)


def distracted(asked: p.Asked) -> Sequence[float]:
    """Sees words of a kind in two cases of three."""
    return odd_family(asked) if asked.chance(1) < 2 / 3 else likely(int(asked.chance(2) * 5))


def lay_out(folder: Path) -> Path:
    """The artifacts behind a triage of planted latents, with intruder scores by a judge that is often wrong."""
    corpus, dense = mixed_world()
    for parts in (
        tokens_parts(corpus), latents_parts(corpus, dense), effects_parts(range(LATENTS), promoted(), raise_all=True)
    ):  # fmt: skip
        in_folder(parts, folder)
    artifacts = FolderArtifacts(folder)
    spec = ScoresSpec(
        latents_id=p.LATENTS_ID, scorer="intruder", window_length=p.LENGTH, bootstrap_count=100, active_count=10
    )
    kind = ScoresKind(p.RuleJudge(distracted), artifacts)
    run_local(kind, spec, {"latents": artifacts.artifact(p.LATENTS_ID)}, folder / SCORES_ID)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("artifacts"))


def triage(
    root: Path, folder: Path, embedder: p.RuleEmbedder | None = None, resume_after: int | None = None, **fields: Any
) -> FolderArtifact:
    given: dict[str, Any] = {"latents_id": p.LATENTS_ID, "scores_ids": [SCORES_ID], **fields}
    spec, artifacts = TriageSpec(**given), FolderArtifacts(root)
    kind = TriageKind(artifacts, embedder or p.RuleEmbedder(by_kind))
    inputs = {role: _input(root, id_) for role, id_ in kind.inputs(spec).items()}
    return run_local(kind, spec, inputs, folder, resume_after=resume_after)


def _input(root: Path, id_: str) -> FolderArtifact:
    return FolderArtifact(root / id_)


@pytest.fixture(scope="module")
def triaged(root: Path) -> FolderArtifact:
    return triage(root, root / ("triage-" + "5" * 32), effects_id=EFFECTS_ID)


def confusion(triaged: FolderArtifact) -> np.ndarray:
    """How many latents of each planted class (rows) were put into each class (columns)."""
    found = {row["latent"]: row["class"] for row in table(triaged, "triage.parquet")}
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for latent, name in enumerate(PLANTED):
        counts[CLASSES.index(name), CLASSES.index(found[latent])] += 1
    return counts


def test_nine_of_ten_planted_latents_are_on_the_diagonal(triaged: FolderArtifact) -> None:
    counts = confusion(triaged)
    assert counts.sum() == LATENTS
    assert (counts.diagonal() >= 0.9 * OF_EACH).all(), counts


def test_denominators_thresholds_and_reasons_are_told(triaged: FolderArtifact) -> None:
    said, rows = statistics(triaged), table(triaged, "triage.parquet")
    assert (said["total"], said["dead"], said["rare"], said["attempted"]) == (LATENTS, 0, 0, LATENTS)
    assert sum(said["by_class"].values()) == LATENTS
    for name, share in said["class_shares"].items():
        assert share["n"] == LATENTS
        assert share["low"] <= share["mean"] == said["by_class"][name] / LATENTS <= share["high"]
    assert said["thresholds"]["intruder"]["null_count"] == LATENTS
    assert said["thresholds"]["output"]["null_count"] == 20 * LATENTS
    assert (said["quantile"], said["seed"]) == (0.95, 0)
    for row in rows:
        limit = said["thresholds"]["intruder"]["value"]
        assert row["above"] == [row["scores"][0] > limit]
        assert f"intruder {row['scores'][0]:.3f} {'above' if row['above'][0] else 'not above'}" in row["reason"]
        assert row["tier"] == {"input": 1, "output": 2, "cross": 2}.get(row["class"])
    assert any("scrambled" in note for note in said["notes"])
    text = triaged.read("triage.txt").decode()
    assert f"{LATENTS} of {LATENTS} latents triaged (0 dead, 0 rare)" in text
    assert max(map(len, text.splitlines())) <= 100


def test_without_effects_nothing_is_said_of_the_output(root: Path, tmp_path: Path) -> None:
    made = triage(root, tmp_path / "made")
    assert {row["class"] for row in table(made, "triage.parquet")} == {"input", "obscure"}
    assert any(note.startswith("no effects were given") for note in statistics(made)["notes"])


def test_bytes_are_the_same_again(root: Path, triaged: FolderArtifact, tmp_path: Path) -> None:
    again = triage(root, tmp_path / "again", resume_after=3, effects_id=EFFECTS_ID)
    assert [part.sha256 for part in again.manifest.parts] == [part.sha256 for part in triaged.manifest.parts]


# --------------------------------------------------------------------- label by tier


def explain(root: Path, folder: Path, **fields: Any) -> FolderArtifact:
    spec = ExplanationsSpec(latents_id=p.LATENTS_ID, window_length=p.LENGTH, latents_per_task=4, **fields)
    artifacts = FolderArtifacts(root)
    kind = ExplanationsKind(ScriptedWriter(), artifacts)
    inputs = {role: _input(root, id_) for role, id_ in kind.inputs(spec).items()}
    return run_local(kind, spec, inputs, folder, order=reversed_order)


def test_obscure_latents_are_never_paid_for_and_the_saving_is_told(
    root: Path, triaged: FolderArtifact, tmp_path: Path
) -> None:
    dry = explain(root, root / ("explanations-" + "6" * 32), dry_run=True)
    asked = explain(root, tmp_path / "labels", triage_id=triaged.path.name)
    classes = {row["latent"]: row["class"] for row in table(triaged, "triage.parquet")}
    labelled = table(asked, "explanations.parquet")
    assert [row["latent"] for row in labelled] == [latent for latent, name in classes.items() if name != "obscure"]
    with_costs = triage(root, tmp_path / "again", effects_id=EFFECTS_ID, explanations_id=dry.path.name)
    saving = statistics(with_costs)["saving"]
    planned = {row["latent"]: row["planned_tokens"] for row in table(dry, "explanations.parquet")}
    whole = sum(planned.values()) + statistics(dry)["planned_completion_tokens"]
    assert (saving["priced"], saving["label_all_tokens"]) == (LATENTS, whole)
    spent = sum(planned[row["latent"]] + 64 for row in labelled)
    assert saving["label_by_tier_tokens"] == spent
    assert saving["saved_tokens"] == whole - spent
    assert 0.15 < saving["saved_fraction"] < 0.35, "one class of four"
    assert f"saved: {whole - spent:,}" in with_costs.read("triage.txt").decode()


def test_classes_and_tiers_select(root: Path, triaged: FolderArtifact, tmp_path: Path) -> None:
    classes = {row["latent"]: row["class"] for row in table(triaged, "triage.parquet")}
    fields = {"triage_id": triaged.path.name, "explainer": "acts_top5"}
    for number, (choice, wanted) in enumerate(
        [({"triage_classes": ["output"]}, {"output"}), ({"triage_tiers": [2]}, {"output", "cross"})]
    ):
        made = explain(root, tmp_path / str(number), **fields, **choice)
        found = {row["latent"] for row in table(made, "explanations.parquet")}
        assert found == {latent for latent, name in classes.items() if name in wanted}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"selection": {"latents": [1]}}, "selection", "leave selection out"),
        ({"triage_tiers": [0]}, "triage_id", r"has no latent to label of these classes and tiers; it has \d+ input"),
        ({"triage_id": "", "triage_classes": ["input"]}, "triage_classes", "give triage_id"),
        ({"latents_id": "latents-" + "9" * 32}, "triage_id", f"is of {p.LATENTS_ID}, not of latents-9"),
    ],
)
def test_a_triage_that_does_not_fit_is_refused(
    root: Path, triaged: FolderArtifact, changes: dict[str, Any], field: str, words: str
) -> None:
    given = {"latents_id": p.LATENTS_ID, "window_length": p.LENGTH, "triage_id": triaged.path.name, **changes}
    spec = ExplanationsSpec(**given)
    latents = info(_input(root, p.LATENTS_ID))
    inputs = {"latents": latents, **({"triage": info(triaged)} if spec.triage_id else {})}
    with pytest.raises(InvalidSpec, match=words) as error:
        ExplanationsKind(ScriptedWriter(), FolderArtifacts(root)).check(spec, inputs)
    assert [violation.field for violation in error.value.violations] == [field]


def info(artifact: FolderArtifact, **changes: Any) -> InputInfo:
    manifest = artifact.manifest
    return InputInfo(manifest.id, manifest.kind, {**manifest.spec, **changes}, manifest, manifest.inputs)


# --------------------------------------------------------------------------- filters


def scores_parts(firing: Sequence[int], id_: str = SCORES_ID) -> Parts:
    """Scores at the floor, of every latent."""
    rows = [
        {"latent": latent, "rank": latent, "firing_count": count, "accuracy": 0.2, "null_accuracy": 0.2}
        for latent, count in enumerate(firing)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    data = sink.getvalue()
    part = PartInfo("latents.parquet", "memory/latents", len(data), hashlib.sha256(data).hexdigest(), len(rows))
    said = {"scorer": "intruder", "metrics": ["accuracy"], "prompt_tokens": 0, "completion_tokens": 0}
    spec = {"latents_id": p.LATENTS_ID, "scorer": "intruder", "null_count": 5}
    return Parts(Manifest(id_, "scores", 4, spec, {}, [part], said), {"latents.parquet": data})


UNIGRAM, BIGRAM, POSITIONAL, BROAD = range(4)
KINDS = [latent % 4 for latent in range(24)]


def filtered_activations(corpus: Corpus) -> np.ndarray:
    """Unigram latents fire on their words; bigram ones only after the word before them in `ordered`; positional ones at
    three places; broad ones on a third of all words."""
    tokens = corpus.tokens
    before = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    dense = np.zeros((*tokens.shape, len(KINDS)), np.float32)
    ids = [corpus.tokenizer.encode(word).ids[0] for word in p.latent_words(0) + p.latent_words(1) + p.latent_words(2)]
    for latent, kind in enumerate(KINDS):
        own = ids[(latent // 4) * 2 : (latent // 4) * 2 + 2]
        if kind == UNIGRAM:
            dense[..., latent] = np.isin(tokens, own)
        elif kind == BIGRAM:
            dense[..., latent] = np.isin(tokens, own) & (before % 3 == latent % 3)
        elif kind == POSITIONAL:
            dense[:, 3 + latent : 6 + latent, latent] = 1
        else:
            dense[..., latent] = tokens % 3 == latent // 4 % 3
    dense[:, 0] = 0
    return dense


def scrambled(corpus: Corpus) -> Corpus:
    tokens = corpus.tokens.copy()
    counted = corpus.documents >= 0
    tokens[counted] = seeded("scrambled").permutation(tokens[counted])
    return replace(corpus, tokens=tokens)


def filtered(folder: Path) -> list[dict[str, Any]]:
    """The triaged rows of the latents of KINDS, in their order."""
    corpus = p.planted_corpus(1, 3, share=0.2)
    dense = filtered_activations(corpus)
    again, others = scrambled(corpus), ("tokens-" + "7" * 32, "latents-" + "7" * 32)
    mixed = tokens_parts(again, id_=others[0])
    mixed = replace(mixed, manifest=replace(mixed.manifest, spec={**mixed.manifest.spec, "scrambled": True}))
    for parts in (
        tokens_parts(corpus), latents_parts(corpus, dense), mixed,
        latents_parts(again, filtered_activations(again), tokens_id=others[0], id_=others[1]),
        scores_parts((dense > 0).sum((0, 1)).tolist()),
    ):  # fmt: skip
        in_folder(parts, folder)
    rows = table(triage(folder, folder / "made", scrambled_latents_id=others[1]), "triage.parquet")
    return sorted(rows, key=lambda row: row["latent"])


def test_filters_find_the_planted_latents_and_no_other(tmp_path: Path) -> None:
    rows = filtered(tmp_path)
    assert [row["is_positional"] for row in rows] == [kind == POSITIONAL for kind in KINDS]
    assert [bool(row["is_unigram"]) for row in rows] == [kind == UNIGRAM for kind in KINDS]
    candidates = [row["is_unigram_candidate"] for row in rows]
    assert all(candidates[latent] for latent, kind in enumerate(KINDS) if kind in (UNIGRAM, BIGRAM)), (
        "or nothing is shown"
    )
    for row, kind in zip(rows, KINDS, strict=True):
        wanted = ("input", 0) if kind in (UNIGRAM, POSITIONAL) else ("obscure", None)
        assert (row["class"], row["tier"]) == wanted


# ------------------------------------------------------------------- core and refusals


def test_the_threshold_is_exceeded_as_rarely_as_it_says() -> None:
    exceeded = []
    for trial in range(400):
        values = seeded("null", trial).random(40)
        exceeded.append(values[-1] > threshold_of(values[:-1].tolist(), 0.9).value)
    assert np.mean(exceeded) == pytest.approx(0.1, abs=0.045)
    assert threshold_of([0.3, 0.1], 0.95) == Threshold(0.3, 2, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("evidence", "output", "expected"),
    [
        (Evidence({"a": 0.9, "b": None}, 0.9), 0.5, ("cross", 2)),
        (Evidence({"a": 0.1, "b": 0.6}, 0.1), 0.5, ("input", 1)),
        (Evidence({"a": 0.1, "b": 0.1}, 0.9), 0.5, ("output", 2)),
        (Evidence({"a": 0.5, "b": 0.5}, 0.5), 0.5, ("obscure", None)),
        (Evidence({"a": 0.1, "b": 0.1}, None), 0.5, ("unmeasured", None)),
        (Evidence({"a": 0.1, "b": 0.1}, None, is_inert=True), 0.5, ("obscure", None)),
        (Evidence({"a": None, "b": None}, 0.1), 0.5, ("unmeasured", None)),
        (Evidence({"a": None, "b": None}), None, ("unmeasured", None)),
        (Evidence({"a": 0.1, "b": 0.1}), None, ("obscure", None)),
        (Evidence({"a": 0.1, "b": 0.1}, 0.1, is_positional=True), 0.5, ("input", 0)),
        (Evidence({"a": 0.1, "b": 0.1}, 0.9, is_unigram=True), 0.5, ("cross", 2)),
    ],
)
def test_classes(evidence: Evidence, output: float | None, expected: tuple[str, int | None]) -> None:
    limits = {name: Threshold(0.5, 9, 0.1) for name in evidence.scores}
    found = judged(evidence, limits, None if output is None else Threshold(output, 9, 0.1))
    assert (found.name, found.tier) == expected


def test_coherence_is_the_mean_cosine_of_pairs() -> None:
    vectors = {name: np.asarray(v, np.float64) for name, v in {"a": [1, 0], "b": [0, 1], "c": [-1, 0]}.items()}
    assert coherence(["a", "b", "c"], vectors) == pytest.approx((0 + 0 - 1) / 3, abs=1e-6)
    assert coherence(["a", "b", "absent"], vectors) is None
    sets = mixed_sets({1: ["x"] * 3, 2: ["y"], 3: ["z"] * 2}, 0)
    assert len(sets) == 60
    assert all(sorted(tokens) == ["y", "z"] for tokens in sets[:20])


def test_every_field_of_the_contract_is_a_field_of_the_spec() -> None:
    assert list(TriageSpec.model_fields) == field_names(scoring_pb2.TriageSpec)


def test_a_triage_is_submitted_and_can_be_the_selection_over_the_wire() -> None:
    desk = MemoryDesk()
    spec = scoring_pb2.TriageSpec(latents_id=p.LATENTS_ID, scores_ids=[SCORES_ID], quantile=0.9)
    request = scoring_pb2.SubmitTriageRequest(spec=spec)
    sent = asyncio.run(ScoringServicer(desk).SubmitTriage(request, None))
    job = desk.jobs[sent.job.id]
    assert sent.created
    assert job.kind == "triage"
    assert TriageSpec.model_validate(dict(job.spec)).quantile == 0.9
    given = {"latents_id": p.LATENTS_ID, "triage_id": sent.job.id, "triage_classes": ["cross"], "triage_tiers": [0, 2]}
    message = spec_message(given, explanation_pb2.ExplanationsSpec)
    assert ExplanationsSpec.model_validate(spec_dict(message)) == ExplanationsSpec.model_validate(given)


def test_the_pipeline_beside_the_service_is_one() -> None:
    given = dict.fromkeys(("corpus", "model", "tokens", "coder"), "x")
    pipeline = load(Path(__file__).parents[3] / "services" / "scorer" / "triage.yaml", given)
    assert list(pipeline.jobs)[-1] == "of_both"
    assert pipeline.jobs["by_rule"].needs == ("latents", "triage")


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"scores": {"scorer": "detection"}},
            "scores_ids[0]",
            "of detection, which scores labels; expected one of intr",
        ),
        ({"scores": {"null_count": 0}}, "scores_ids[0]", "has no null"),
        ({"scores": {"latents_id": "latents-9"}}, "scores_ids[0]", f"is of latents-9, not of {p.LATENTS_ID}"),
        ({"effects": {"latents_id": "latents-9"}}, "effects_id", "give one of these latents"),
        ({"effects": {"kl_targets": [3.0]}}, "kl_target", "0.1 is no target of effects-.*; it has 3"),
        ({"scrambled": {"coder_id": "coder-9"}}, "scrambled_latents_id", "of another coder"),
        ({"scrambled": {}}, "scrambled_latents_id", "make tokens with scrambled: true"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    root: Path, changes: Mapping[str, dict[str, Any]], field: str, words: str
) -> None:
    ids = {"latents": p.LATENTS_ID, "scores": SCORES_ID, "effects": EFFECTS_ID, "scrambled": p.LATENTS_ID}
    infos = {role: info(_input(root, id_), **changes.get(role, {})) for role, id_ in ids.items()}
    if "scrambled" not in changes:
        del infos["scrambled"]
    spec = TriageSpec(latents_id=p.LATENTS_ID, scores_ids=(SCORES_ID,), effects_id=EFFECTS_ID, kl_target=0.1)
    with pytest.raises(InvalidSpec, match=words) as error:
        TriageKind(FolderArtifacts(root), p.RuleEmbedder(by_kind)).check(
            spec, {("scores.0" if role == "scores" else role): found for role, found in infos.items()}
        )
    assert {violation.field for violation in error.value.violations} == {field}


def test_a_control_is_the_null_and_needs_the_same_scorers(root: Path, tmp_path: Path) -> None:
    made = triage(root, tmp_path / "made", control_scores_ids=[SCORES_ID])
    said = statistics(made)
    assert said["thresholds"]["intruder"]["null"] == "scores of a control"
    assert said["by_class"]["input"] == 0, "no latent is above its own distribution"
    spec = TriageSpec(latents_id=p.LATENTS_ID, scores_ids=(SCORES_ID,), control_scores_ids=("scores-" + "8" * 32,))
    own = info(_input(root, SCORES_ID))
    other = info(_input(root, SCORES_ID), scorer="decile_intruder")
    with pytest.raises(InvalidSpec, match="the control is scored by decile_intruder, these latents by intruder"):
        TriageKind(FolderArtifacts(root)).check(
            spec, {"latents": info(_input(root, p.LATENTS_ID)), "scores.0": own, "control.scores.0": other}
        )


def test_what_cannot_be_judged_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="the server has no embedder"):
        TriageKind(FolderArtifacts(root)).resolve(
            TriageSpec(latents_id=p.LATENTS_ID, scores_ids=(SCORES_ID,), effects_id=EFFECTS_ID)
        )
    with pytest.raises(UserTaskError, match="no latent has a score of the null"):
        triage(root, tmp_path / "made", p.RuleEmbedder(lambda _: None), effects_id=EFFECTS_ID)
    with pytest.raises(ValueError, match="give effects_id, or neither"):
        TriageSpec(latents_id=p.LATENTS_ID, scores_ids=(SCORES_ID,), kl_target=1.0)
    with pytest.raises(ValueError, match="more than once"):
        TriageSpec(latents_id=p.LATENTS_ID, scores_ids=(SCORES_ID, SCORES_ID))
