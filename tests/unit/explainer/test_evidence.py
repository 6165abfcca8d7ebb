"""Every explainer as a whole job over local folders, with a model that answers by rule."""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import PartInfo
from dragoman.errors import UserTaskError
from dragoman.folder import FolderArtifact, FolderArtifacts
from dragoman.llm import Failure, FailureKind
from dragoman.llm.price import Price
from explainer.core.counters import same_token_order, silent_in
from explainer.effects_source import read_evidence
from explainer.explanations_kind import ExplanationsKind
from explainer.spec import ExplanationsSpec, NlaRef
from explainer.verbaliser import Place
from explainer.writer import Written
from hypothesis import given
from hypothesis import strategies as st
from latent_cache import Entries
from latent_cache.effects import nearest_target
from latent_cache.tables import NEIGHBOURS_NAME, NEIGHBOURS_SCHEMA

from tests.support.latents_writer import Kept
from tests.support.local_run import reversed_order, run_local
from tests.support.memory_artifact import MemoryArtifact
from tests.support.scripted_writer import Rule, ScriptedWriter
from tests.support.synthetic_effects import EFFECTS_ID, effects_parts
from tests.support.synthetic_latents import (
    DEAD,
    PLANTED,
    RARE,
    Parts,
    activations_of,
    corpus,
    in_folder,
    latents_parts,
    tokens_parts,
)

LATENTS = "latents-" + "1" * 32
CHOSEN = [0, 1, 2, 3]
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    text = corpus(seed=5)
    dense = activations_of(text)
    # Silent where it might fire: every second time that "dog" is said, latent 0 says nothing.
    dog = text.tokenizer.encode(" dog", add_special_tokens=False).ids[0]
    places = np.argwhere(text.tokens == dog)[::2]
    dense[places[:, 0], places[:, 1], 0] = 0.0
    in_folder(tokens_parts(text), folder)
    in_folder(latents_parts(text, dense, Kept(top_windows=30)), folder)
    in_folder(effects_parts(CHOSEN, dict(enumerate(PLANTED))), folder)
    return folder


def echo(prompt: Any) -> Written:
    return Written(f"[EXPLANATION]: {prompt.question.splitlines()[-1]}", "stop", 100, 60, 7)


class Echo:
    """A verbaliser that repeats the last word, and has nothing to say of horses."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def resolve(self, nla: NlaRef) -> NlaRef:
        return nla.model_copy(update={"model": "subject", "source": "scripted"})

    def describe(self, places: Sequence[Place], nla: NlaRef) -> Iterator[tuple[int, str | Failure]]:
        self.places += places
        for index in reversed(range(len(places))):
            word = places[index].text.split()[-1]
            said = f"of many things\n\nabout {word}"
            yield index, Failure(FailureKind.REFUSED, "no") if word == "horse" else said


def run(
    root: Path, folder: Path, explainer: str, rule: Rule = echo, counts: bool = True, order: Any = None, **fields: Any
) -> tuple[FolderArtifact, ScriptedWriter]:
    given: dict[str, Any] = {
        "latents_id": LATENTS, "explainer": explainer, "window_length": 16, "min_windows": 5, "latents_per_task": 2,
        "selection": {"latents": CHOSEN},
    }  # fmt: skip
    spec = ExplanationsSpec(**{**given, **fields})
    writer, artifacts = ScriptedWriter(rule, counts), FolderArtifacts(root)
    kind = ExplanationsKind(writer, artifacts, Echo())
    inputs = {role: artifacts.artifact(id_) for role, id_ in kind.inputs(spec).items()}
    return run_local(kind, spec, inputs, folder, order=order), writer


def rows(artifact: FolderArtifact, part: str = "explanations.parquet") -> Rows:
    return pq.read_table(artifact.download(part)).to_pylist()


def shown(artifact: FolderArtifact, latent: int) -> Rows:
    return [w for w in rows(artifact, "windows.parquet") if w["shown"] and w["latent"] == latent]


# ------------------------------------------------------------- windows and counter-examples


@pytest.mark.parametrize("explainer", ["no_activations", "chain_of_thought", "max_act", "eleuther_acts_top5"])
def test_explainers_over_windows_say_what_the_model_says(root: Path, tmp_path: Path, explainer: str) -> None:
    artifact, writer = run(root, tmp_path / "job", explainer)
    assert [row["outcome"] for row in rows(artifact)] == ["explained"] * 4
    assert len(writer.prompts) == 4
    statistics = artifact.manifest.statistics
    assert (statistics["explainer"], statistics["prompt_version"]) == (explainer, f"{explainer}-1")
    assert (statistics["token_budget"], statistics["planned_prompt_tokens"]) == (None, None)
    count = {"max_act": 10, "eleuther_acts_top5": 5}.get(explainer, 20)
    assert [row["example_count"] for row in rows(artifact)] == [count] * 4


@pytest.mark.parametrize("source", ["same_tokens", "silent"])
def test_counter_examples_are_silent_windows_of_train_documents(root: Path, tmp_path: Path, source: str) -> None:
    artifact, writer = run(root, tmp_path / "job", "contrastive", counter_source=source, example_count=6)
    for row in rows(artifact):
        windows = shown(artifact, row["latent"])
        active, silent = windows[:6], windows[6:]
        assert len(silent) == 5
        assert all(w["max_activation"] > 0 for w in active)
        assert all(w["max_activation"] == 0 and w["quantile"] == -1 for w in silent)
        assert {w["split"] for w in windows} == {"train"}
        assert {w["document"] for w in windows} == set(row["example_documents"])
        words = set(PLANTED[row["latent"]]) - {"dog"}
        assert not words & {word for w in silent for word in "".join(w["tokens"]).split()}
    lines = writer.prompts[-1].question.splitlines()
    assert len([line for line in lines if line.startswith("- ")]) == 11


def test_same_tokens_finds_where_the_latents_own_token_leaves_it_silent(root: Path, tmp_path: Path) -> None:
    hard, _ = run(root, tmp_path / "hard", "contrastive", selection={"latents": [0]}, counter_count=3)
    easy, _ = run(root, tmp_path / "easy", "contrastive", selection={"latents": [0]}, counter_source="silent")
    silent = [w for w in shown(hard, 0) if w["max_activation"] == 0]
    assert all(" dog" in w["tokens"] or "dog" in w["tokens"] for w in silent)
    assert not all(" dog" in w["tokens"] for w in shown(easy, 0) if w["max_activation"] == 0)


def test_windows_of_neighbours_in_which_the_latent_is_silent(tmp_path: Path) -> None:
    text = corpus(seed=5)
    parts = latents_parts(text, activations_of(text), Kept(top_windows=30))
    table = [{"latent": 0, "rank": r, "neighbour": n, "jaccard": 0.1, "both_count": 5} for r, n in enumerate((1, 2))]
    in_folder(tokens_parts(text), tmp_path)
    in_folder(_with_neighbours(parts, table), tmp_path)
    artifact, _ = run(
        tmp_path, tmp_path / "job", "contrastive", counter_source="neighbours", selection={"latents": [0]}
    )
    silent = [w for w in shown(artifact, 0) if w["max_activation"] == 0]
    assert len(silent) == 5
    said = [set("".join(w["tokens"]).split()) for w in silent]
    assert not any(words & set(PLANTED[0]) for words in said)
    assert all(words & {*PLANTED[1], *PLANTED[2]} for words in said)


def _with_neighbours(parts: Parts, table: Rows) -> Parts:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table, schema=NEIGHBOURS_SCHEMA), sink)
    data = sink.getvalue()
    info = PartInfo(NEIGHBOURS_NAME, NEIGHBOURS_NAME, len(data), hashlib.sha256(data).hexdigest(), len(table))
    manifest = parts.manifest
    manifest = replace(manifest, parts=[*manifest.parts, info], spec={**manifest.spec, "neighbours": 2})
    return Parts(manifest, {**parts.data, NEIGHBOURS_NAME: data})


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 31)), unique=True, max_size=30))
def test_silent_windows_are_those_without_an_entry(places: list[tuple[int, int]]) -> None:
    fired = sorted(places)
    rows_, positions = (np.asarray([p[i] for p in fired], np.int32) for i in (0, 1))
    entries = Entries(rows_, positions, np.ones(len(fired), np.float32))
    windows = [(row, start) for row in range(6) for start in (0, 8, 24)]
    found = silent_in(entries, np.asarray([w[0] for w in windows]), np.asarray([w[1] for w in windows], np.int32), 8)
    expected = [not any(r == row and start <= p < start + 8 for r, p in fired) for row, start in windows]
    assert found.tolist() == expected


def test_equal_counter_examples_are_ordered_by_seed() -> None:
    tokens = np.asarray([[1, 2], [3, 3], [1, 1], [4, 2]], np.int32)
    orders = {tuple(same_token_order(tokens, {1: 2.0, 2: 1.0}, seed).tolist()) for seed in range(20)}
    assert orders == {(0, 2, 3, 1)}
    assert len({tuple(same_token_order(tokens, {}, seed).tolist()) for seed in range(20)}) > 5


def test_a_dialogue_is_kept_whole_and_all_its_tokens_counted(root: Path, tmp_path: Path) -> None:
    def talk(prompt: Any) -> Written:
        if "Description:" not in prompt.question:
            own = prompt.question.rsplit("Marked tokens: ", 1)[1]
            return Written(f"[HYPOTHESIS]: {own}\n[HYPOTHESIS]: nothing", "stop", 100, 60, 7)
        if prompt.instructions.startswith("A description says"):
            return Written("[EXPLANATION]: anything", "stop", 50, 0, 3)
        lines = prompt.question.splitlines()
        words = {word.strip() for word in lines[0].removeprefix("Description:").split(",")}
        found = [line.split(".")[0] for line in lines[1:] if words & set(line.split())]
        return Written(f"[FITS]: {', '.join(found) or 'none'}", "stop", 30, 20, 2)

    chosen = {"example_count": 10, "counter_count": 5, "counter_source": "silent"}
    artifact, writer = run(root, tmp_path / "job", "hypotheses", talk, **chosen)
    again, _ = run(root, tmp_path / "again", "hypotheses", talk, order=reversed_order, **chosen)
    assert [p.sha256 for p in artifact.manifest.parts] == [p.sha256 for p in again.manifest.parts]
    assert len(writer.prompts) == 4 * 5
    for row in rows(artifact):
        assert set(row["explanation"].split(", ")) <= set(PLANTED[row["latent"]])
        assert re.fullmatch(r"balanced accuracy (1\.00|0\.90) in its own test on 10 train windows", row["reason"])
        assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (240, 120, 16)
        assert row["prompt"].count("\n----\n") == row["reply"].count("\n----\n") == 4
    dry, _ = run(root, tmp_path / "dry", "hypotheses", dry_run=True, **chosen)
    statistics: Any = dry.manifest.statistics
    assert statistics["planned_completion_tokens"] == 4 * 6 * 128
    assert statistics["planned_prompt_tokens"] > sum(len(row["prompt"].split()) for row in rows(artifact))


# ------------------------------------------------------------------------------- effects


def test_output_evidence_is_that_of_the_latent_at_the_target(root: Path, tmp_path: Path) -> None:
    artifact, writer = run(root, tmp_path / "job", "output", effects_id=EFFECTS_ID)
    found = rows(artifact)
    assert [row["outcome"] for row in found] == ["explained"] * 4
    assert {row["example_count"] for row in found} == {0}
    assert {tuple(row["example_documents"]) for row in found} == {()}
    asked = next(p.question for p in writer.prompts if "cat, dog" in p.question)
    assert asked.splitlines() == [
        "Promoted directly: cat, dog, horse, sheep, cow",
        "Suppressed directly: the, of",
        "Likelier in texts: dog, and",  # the second target, 1 nat
        "Less likely in texts: but",
    ]
    _, writer = run(
        root, tmp_path / "b", "ensemble", effects_id=EFFECTS_ID, output_evidence="token_change", kl_target=3
    )
    asked = next(p.question for p in writer.prompts if "horse, and" in p.question)
    assert "Promoted" not in asked
    assert asked.startswith("- ")
    assert asked.splitlines()[-1].startswith("Marked tokens: ")


def test_latents_that_were_not_measured_end_as_no_evidence(root: Path, tmp_path: Path) -> None:
    artifact, writer = run(root, tmp_path / "job", "output", effects_id=EFFECTS_ID, selection={"latents": [0, 4]})
    assert [row["outcome"] for row in rows(artifact)] == ["explained", "no_evidence"]
    assert rows(artifact)[1]["reason"] == f"{EFFECTS_ID} has no tokens of it"
    assert len(writer.prompts) == 1
    statistics = artifact.manifest.statistics
    assert (statistics["attempted"], statistics["parsed"], artifact.manifest.failed_count) == (2, 1, 1)
    with pytest.raises(UserTaskError, match="1 of 1 latents got no explanation"):
        run(root, tmp_path / "none", "output", effects_id=EFFECTS_ID, selection={"latents": [4]})


def test_what_falls_without_a_latent_is_what_it_raises() -> None:
    words = {0: ["cat", "dog"]}
    zeroed = MemoryArtifact(effects_parts([0], words, intervention="zero", targets=(1.0,)))
    assert read_evidence(zeroed, [0], "token_change", None)[0].raised == (" cat", " and")
    assert read_evidence(zeroed, [0, 5], "vocab_proj", None)[0].raised == ()
    assert 5 not in read_evidence(zeroed, [0, 5], "both", None)


@pytest.mark.parametrize(("targets", "nearest"), [((0.1, 0.33, 1.0, 3.0), 1.0), ((0.5, 2.0), 0.5), ((), None)])
def test_the_target_nearest_to_one_nat(targets: Sequence[float], nearest: float | None) -> None:
    assert nearest_target(targets) == nearest


# --------------------------------------------------------------- a verbaliser's texts


def test_a_verbaliser_is_asked_at_the_strongest_token_of_each_window(root: Path, tmp_path: Path) -> None:
    spec = {
        "nla": {"last_paragraph": True},
        "selection": {"latents": [0]},
        "sampling": "quantiles",
        "example_count": 10,
    }
    artifact, writer = run(root, tmp_path / "job", "nla", **spec)
    [row] = rows(artifact)
    assert (row["outcome"], row["example_count"]) == ("explained", 10)
    said = [line.split("about ")[1] for line in writer.prompts[0].question.splitlines()]
    assert 0 < len(said) <= 10
    assert set(said) <= set(PLANTED[0]) - {"horse"}
    assert "of many things" not in writer.prompts[0].question


def test_a_latent_of_which_it_says_nothing_has_no_evidence(root: Path, tmp_path: Path) -> None:
    class Silent(Echo):
        def describe(self, places: Sequence[Place], nla: NlaRef) -> Iterator[tuple[int, str | Failure]]:
            yield from ((i, Failure(FailureKind.UNPARSABLE, "nothing")) for i in range(len(places)))

    artifacts = FolderArtifacts(root)
    kind = ExplanationsKind(ScriptedWriter(), artifacts, Silent())
    spec = ExplanationsSpec(
        latents_id=LATENTS, explainer="nla", window_length=16, min_windows=5, max_failed_fraction=1,
        selection={"latents": [0]},  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    [row] = rows(run_local(kind, spec, {"latents": artifacts.artifact(LATENTS)}, tmp_path / "job"))
    assert (row["outcome"], row["prompt"]) == ("no_evidence", None)


# ------------------------------------------------------------------- no model is asked


@pytest.mark.parametrize("explainer", ["acts_top5", "generic", "random"])
def test_explainers_that_ask_nobody(root: Path, tmp_path: Path, explainer: str) -> None:
    chosen = {"selection": {"latents": [*CHOSEN, DEAD, RARE]}}
    artifact, writer = run(root, tmp_path / "job", explainer, **chosen)
    again, _ = run(root, tmp_path / "again", explainer, order=reversed_order, **chosen)
    assert [p.sha256 for p in artifact.manifest.parts] == [p.sha256 for p in again.manifest.parts]
    found = rows(artifact)
    assert [row["outcome"] for row in found] == ["explained"] * 4 + ["dead", "rare"]
    assert writer.prompts == []
    assert {(row["prompt"], row["reply"], row["model"]) for row in found} == {(None, None, None)}
    assert (artifact.manifest.statistics["model"], artifact.manifest.statistics["prompt_tokens"]) == ("", 0)
    texts = [row["explanation"] for row in found[:4]]
    if explainer == "acts_top5":
        for latent, text in enumerate(texts):
            assert text.split(" in ")[0] in PLANTED[latent]
            assert text.count('"') == 10
    elif explainer == "generic":
        assert len(set(texts)) == 1
    else:
        assert len(set(texts)) > 1
        train = corpus(seed=5)
        of_train = set(train.documents[: train.train_row_count].reshape(-1).tolist())
        assert all(set(row["example_documents"]) <= of_train and row["example_documents"] for row in found[:4])


def test_given_texts_are_the_explanations(root: Path, tmp_path: Path) -> None:
    texts = [{"latent": 2, "explanation": "days"}, {"latent": 0, "explanation": "animals"}]
    artifact, _ = run(root, tmp_path / "job", "oracle", texts=texts, selection={})
    assert [(row["latent"], row["explanation"]) for row in rows(artifact)] == [(2, "days"), (0, "animals")]
    artifact, _ = run(root, tmp_path / "b", "oracle", texts=texts, selection={"latents": [0, 1]})
    assert [row["outcome"] for row in rows(artifact)] == ["explained", "no_evidence"]


def test_another_latents_explanation_comes_with_the_documents_it_was_written_from(root: Path, tmp_path: Path) -> None:
    source, _ = run(root, root / "source", "default", example_count=3, selection={"latents": [*CHOSEN, DEAD]})
    source_id = source.manifest.id
    (root / "source").rename(root / source_id)
    own = {row["latent"]: row for row in rows(FolderArtifact(root / source_id))}
    chosen = {"selection": {"latents": [*CHOSEN, 4]}, "explanations_id": source_id}
    artifact, writer = run(root, tmp_path / "job", "other_latent", **chosen)
    again, _ = run(root, tmp_path / "again", "other_latent", latents_per_task=1, order=reversed_order, **chosen)
    found = rows(artifact)
    assert found == rows(again)
    assert writer.prompts == []
    assert sorted(row["source_latent"] for row in found[:4]) == CHOSEN
    for row in found[:4]:
        partner = own[row["source_latent"]]
        assert partner["latent"] != row["latent"]
        assert row["explanation"] == partner["explanation"]
        assert row["example_documents"] == partner["example_documents"] != []
    assert (found[4]["outcome"], found[4]["source_latent"]) == ("no_evidence", None)


# ------------------------------------------------------------------- before a token is spent


@pytest.mark.parametrize("counts", [True, False])
def test_a_dry_run_counts_every_prompt_and_sends_none(root: Path, tmp_path: Path, counts: bool) -> None:
    chosen = {"selection": {"latents": [*CHOSEN, DEAD]}}
    price = {"currency": "EUR", "prompt": 1.0, "completion": 10.0}
    dry, writer = run(root, tmp_path / "dry", "default", counts=counts, dry_run=True, price=price, **chosen)
    assert writer.prompts == []
    found = rows(dry)
    assert [row["outcome"] for row in found] == ["planned"] * 4 + ["dead"]
    assert found[4]["planned_tokens"] is None
    assert all(row["explanation"] is None and row["reply"] is None for row in found)
    real, writer = run(root, tmp_path / "real", "default", **chosen)
    assert [row["prompt"] for row in found] == [row["prompt"] for row in rows(real)]
    words = [len(row["prompt"].split()) for row in found[:4]]
    statistics: Any = dry.manifest.statistics
    planned = sum(row["planned_tokens"] for row in found[:4])
    assert (statistics["planned_prompt_tokens"], statistics["planned_completion_tokens"]) == (planned, 4 * 64)
    assert statistics["planned_cost"] == {"currency": "EUR", "at_most": pytest.approx((planned + 10 * 4 * 64) / 1e6)}
    assert (statistics["planned"], statistics["attempted"], statistics["parsed"]) == (4, 0, 0)
    assert statistics["selected"] == 5 == statistics["selected_dead"] + statistics["planned"]
    if counts:
        assert statistics["token_counter"] == "engine"
        assert [row["planned_tokens"] for row in found[:4]] == words
    else:
        assert statistics["token_counter"] == "subject model"
        assert all(row["planned_tokens"] > n for row, n in zip(found, words, strict=False))


def test_a_budget_stops_at_what_fits_and_says_so(root: Path, tmp_path: Path) -> None:
    chosen = {"selection": {"latents": [DEAD, *CHOSEN]}}
    dry, _ = run(root, tmp_path / "dry", "default", dry_run=True, **chosen)
    costs = [row["planned_tokens"] + 64 for row in rows(dry)[1:]]
    allowed = sum(costs[:2]) + costs[2] - 1
    artifact, writer = run(root, tmp_path / "job", "default", token_budget=allowed, **chosen)
    again, _ = run(
        root, tmp_path / "again", "default", token_budget=allowed, latents_per_task=2, order=reversed_order, **chosen
    )
    assert [p.sha256 for p in artifact.manifest.parts] == [p.sha256 for p in again.manifest.parts]
    found = rows(artifact)
    assert [row["outcome"] for row in found] == ["dead", "explained", "explained", "over_budget", "over_budget"]
    assert len(writer.prompts) == 2
    assert str(allowed) in found[3]["reason"]
    assert [row["planned_tokens"] for row in found[1:]] == [cost - 64 for cost in costs]
    statistics: Any = artifact.manifest.statistics
    assert (statistics["token_budget"], statistics["over_budget"], statistics["attempted"]) == (allowed, 2, 2)
    assert statistics["planned_prompt_tokens"] + statistics["planned_completion_tokens"] == sum(costs[:2])
    assert artifact.manifest.failed_count == 0
    assert artifact.manifest.cost == {}, "no price is known"
    price, cost = {"prompt": 1.0, "completion": 1.0}, costs[0] / 1e6
    paid, writer = run(root, tmp_path / "paid", "default", cost_budget=cost, price=price, **chosen)
    assert [row["outcome"] for row in rows(paid)] == ["dead", "explained", *["over_budget"] * 3]
    assert rows(paid)[2]["reason"] == f"the budget of {cost:g} USD was planned for latents before it"
    spent = sum(int(str(paid.manifest.statistics[name])) for name in ("prompt_tokens", "completion_tokens"))
    assert paid.manifest.cost == {"spend_USD": pytest.approx(spent / 1e6)}


def test_a_verbaliser_is_not_asked_in_a_dry_run(root: Path, tmp_path: Path) -> None:
    dry, writer = run(root, tmp_path / "dry", "nla", dry_run=True)
    assert writer.prompts == []
    assert {row["outcome"] for row in rows(dry)} == {"planned"}
    assert min(row["planned_tokens"] for row in rows(dry)) > 5 * 150


def test_prices_without_a_dry_run_change_no_job() -> None:
    plain = ExplanationsSpec(latents_id=LATENTS)
    artifacts = FolderArtifacts.__new__(FolderArtifacts)
    priced = ExplanationsKind(ScriptedWriter(), artifacts, price=Price(prompt=1, completion=1)).resolve(plain)
    assert priced == ExplanationsKind(ScriptedWriter(), artifacts).resolve(plain)
