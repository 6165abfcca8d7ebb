"""Texts written from explanations, and whether their latents fire on them."""

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dragoman import pipeline
from dragoman.artifacts import InputInfo, PartInfo
from dragoman.errors import FailedPrecondition, InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact
from dragoman.llm import Completion, Failure, FailureKind, Usage
from scorer.core.examples import NEUTRAL, WRITTEN
from scorer.core.prompts_texts import VERSION, text_prompts, texts_of
from scorer.scores_kind import ScoresKind
from scorer.spec import LlmRef, ScoresSpec
from scorer.texts_kind import TextsKind
from scorer.texts_spec import TextsSpec

from tests.support.local_run import reversed_order, run_local
from tests.support.synthetic_latents import Corpus, Parts, in_folder, latents_parts, tokens_parts
from tests.unit.scorer import planted as p
from tests.unit.scorer.test_scores_kind import statistics, table

LATENTS = 6
Rule = Callable[[str, bool, int], "str | Failure"]
"""A reply of a description, whether it shall fit, and the prompt's number."""


def in_words(description: str, fits: bool, number: int) -> str:
    """Five fragments, each with one of the description's words or with none."""
    words = description.removeprefix("the words ").split(", ") if fits else ["wae"]
    lines = [f"{i + 1}. wae wei {words[(i + number) % len(words)]} wio" for i in range(5)]
    return "\n".join(lines).removeprefix("1.")


@dataclass
class RuleWriter:
    """Writes by a rule."""

    rule: Rule = in_words
    counts: bool = True

    def resolve(self, model: str) -> str:
        return model or "rule"

    def write(self, prompts: Sequence[str], llm: LlmRef, seed: int) -> Iterator[tuple[int, Completion | Failure]]:
        for index in reversed(range(len(prompts))):
            description = prompts[index].rsplit("Description: ", 1)[1].split("\n", 1)[0]
            said = self.rule(description, "occurs in all five" in prompts[index], index)
            yield index, said if isinstance(said, Failure) else Completion(said, "stop", (), Usage(9, 3, 5))

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        return [9] * len(prompts) if self.counts else None


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def written(laid: p.Laid, folder: Path, rule: Rule = in_words, **changes: Any) -> FolderArtifact:
    spec = TextsSpec(explanations_id=p.EXPLANATIONS_ID, **changes)
    inputs = {"explanations": laid.inputs["explanations"]}
    return run_local(TextsKind(RuleWriter(rule), laid.artifacts), spec, inputs, folder)


def with_texts(laid: p.Laid, folder: Path, rule: Rule = in_words) -> p.Laid:
    """Writes texts, their tokens (in another order) and the latents over them."""
    root, texts = laid.artifacts.root, written(laid, folder, rule)
    shutil.rmtree(root / texts.manifest.id, ignore_errors=True)
    folder.rename(root / texts.manifest.id)
    lines = [row["text"] for row in table(FolderArtifact(root / texts.manifest.id), "texts.parquet")]
    order = np.random.Generator(np.random.PCG64(3)).permutation(len(lines)).tolist()
    corpus = _corpus([lines[i] for i in order])
    tokens = _of_texts(tokens_parts(corpus, id_="tokens-" + "5" * 32), order, texts.manifest.id)
    fired = latents_parts(
        corpus, p.planted_activations(corpus, LATENTS), tokens_id=tokens.manifest.id, id_="latents-" + "6" * 32
    )
    for parts in (tokens, fired):
        shutil.rmtree(root / parts.manifest.id, ignore_errors=True)
    in_folder(tokens, root)
    return replace(laid, inputs={**laid.inputs, "written_latents": in_folder(fired, root)})


def _corpus(lines: Sequence[str]) -> Corpus:
    """A row for each text, padded."""
    base = p.planted_corpus(0, LATENTS)
    tokens, documents = np.zeros((2, len(lines), p.CTX_LEN), np.int32)
    documents -= 1
    for row, line in enumerate(lines):
        ids = base.tokenizer.encode(line).ids
        tokens[row, 1 : 1 + len(ids)], documents[row, 1 : 1 + len(ids)] = ids, row
    return Corpus(tokens, documents, 0, base.tokenizer)


def _of_texts(parts: Parts, order: Sequence[int], texts_id: str) -> Parts:
    """Adds the table of documents, which names each text by its number."""
    rows = [{"document": document, "name": f"texts.parquet#{number}"} for document, number in enumerate(order)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    data, name = sink.getvalue(), "documents.parquet"
    info = PartInfo(name, name, len(data), sha256(data).hexdigest(), len(rows))
    manifest = replace(
        parts.manifest, spec={**parts.manifest.spec, "texts_id": texts_id}, parts=[*parts.manifest.parts, info]
    )
    return Parts(manifest, {**parts.data, name: data})


def spec(**changes: Any) -> ScoresSpec:
    fields: dict[str, Any] = {"bootstrap_count": 200, "window_length": p.LENGTH, **changes}
    fields = {"written_latents_id": "latents-" + "6" * 32, **fields}
    return ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer="generation", **fields)


def scored(laid: p.Laid, folder: Path, **changes: Any) -> FolderArtifact:
    return run_local(ScoresKind(p.RuleJudge(p.oracle), laid.artifacts), spec(**changes), laid.inputs, folder)


# ---------------------------------------------------------------- texts


def test_texts_are_of_both_kinds_and_counted(laid: p.Laid, tmp_path: Path) -> None:
    made = written(laid, tmp_path / "texts", text_count=7, neutral_count=5)
    rows = table(made, "texts.parquet")
    found = statistics(made)
    assert (found["explained"], found["text_count"], found["neutral_count"]) == (LATENTS, 7 * LATENTS, 5 * LATENTS)
    assert found["question_count"] == 3 * LATENTS  # five texts a prompt
    assert found["prompt_tokens"] == 9 * 3 * LATENTS
    for row in rows:
        fits = bool(set(row["text"].split()) & set(p.latent_words(row["latent"])))
        assert fits == (row["kind"] == "written")
    assert [row["number"] for row in rows if row["latent"] == 0 and row["kind"] == "written"] == list(range(7))


def test_failures_of_the_writer_have_their_names(laid: p.Laid, tmp_path: Path) -> None:
    def failing(description: str, fits: bool, number: int) -> str | Failure:
        if number == 0:
            return Failure(FailureKind.REFUSED, "no")
        return "" if number == 1 else in_words(description, fits, number)

    made = written(laid, tmp_path / "texts", failing, latents_per_task=LATENTS)
    assert statistics(made)["failed_by_outcome"] == {"refused": 1, "unparsable": 1}
    assert made.manifest.failed_count == 2
    assert statistics(made)["latents_with_texts"] == LATENTS - 1
    with pytest.raises(UserTaskError, match=r"12 of 12 prompts gave no text from 'rule' .*max_failed_fraction"):
        written(laid, tmp_path / "none", lambda *_: "")


def test_bytes_of_texts_do_not_depend_on_the_order_of_tasks(laid: p.Laid, tmp_path: Path) -> None:
    spec = TextsSpec(explanations_id=p.EXPLANATIONS_ID, latents_per_task=2)
    inputs = {"explanations": laid.inputs["explanations"]}
    kind = TextsKind(RuleWriter(), laid.artifacts)
    made = run_local(kind, spec, inputs, tmp_path / "a")
    again = run_local(kind, spec, inputs, tmp_path / "b", order=reversed_order, resume_after=2)
    assert [(q.name, q.sha256) for q in made.manifest.parts] == [(q.name, q.sha256) for q in again.manifest.parts]


def test_texts_have_dry_runs_and_budgets(laid: p.Laid, tmp_path: Path) -> None:
    prompts, replies = 2 * 9, 2 * 256  # of one latent: texts that fit, and that do not
    dry = written(laid, tmp_path / "dry", dry_run=True, price={"prompt": 1.0, "completion": 2.0})
    told = statistics(dry)
    assert (told["planned"], told["over_budget"], told["question_count"]) == (LATENTS, 0, 0)
    assert (told["planned_prompt_tokens"], told["planned_completion_tokens"]) == (prompts * LATENTS, replies * LATENTS)
    at_most = pytest.approx((prompts + 2 * replies) * LATENTS / 1e6)
    assert told["planned_cost"] == {"currency": "USD", "at_most": at_most}
    assert table(dry, "texts.parquet") == []
    assert dry.manifest.cost == {"spend_USD": 0.0}  # nothing was asked, at the spec's own price
    made = written(laid, tmp_path / "made", token_budget=3 * (prompts + replies) - 1, latents_per_task=4)
    told = statistics(made)
    assert (told["explained"], told["over_budget"], told["latents_with_texts"]) == (LATENTS, LATENTS - 2, 2)
    assert len({row["latent"] for row in table(made, "texts.parquet")}) == 2


def test_texts_are_counted_by_the_subjects_tokenizer_where_the_engine_cannot(laid: p.Laid, tmp_path: Path) -> None:
    kind, inputs = TextsKind(RuleWriter(counts=False), laid.artifacts), {"explanations": laid.inputs["explanations"]}
    dry = run_local(kind, TextsSpec(explanations_id=p.EXPLANATIONS_ID, dry_run=True), inputs, tmp_path / "dry")
    assert statistics(dry)["token_counter"] == "subject model"
    assert statistics(dry)["planned_prompt_tokens"] > 50 * LATENTS
    with pytest.raises(FailedPrecondition, match="needs the price of tokens"):
        kind.resolve(TextsSpec(explanations_id=p.EXPLANATIONS_ID, cost_budget=1.0))


def test_no_explanation_to_write_from_is_refused(tmp_path: Path) -> None:
    none = p.lay_out(p.planted(3, outcomes=dict.fromkeys(range(3), "unparsable")), tmp_path / "in")
    with pytest.raises(InvalidSpec, match="has no explanation to write from"):
        written(none, tmp_path / "texts")


def test_replies_are_read_line_by_line_and_prompts_of_one_description_differ() -> None:
    assert texts_of(" a b.\n2. c\n3)  d \nand so on\n4.\n5. e\n6. f\n7. g") == ["a b.", "c", "d", "e", "f"]
    assert texts_of("") == []
    prompts = text_prompts("neutral", "the  words", 12)
    assert len(set(prompts)) == 3
    assert all(prompt.endswith("Description: the words\nFragments:\n1.") for prompt in prompts)
    # Who changes these must give texts another VERSION, and TextsKind.
    digests = [
        sha256("".join(text_prompts(kind, "an explanation", 20)).encode()).hexdigest()[:16]
        for kind in (WRITTEN, NEUTRAL)
    ]
    assert (VERSION, digests) == ("texts-1", ["055a19b33e43295d", "c83fb212b8be4778"])


# ---------------------------------------------------------------- generation


def test_a_writer_that_keeps_to_the_label_makes_its_latent_fire(laid: p.Laid, tmp_path: Path) -> None:
    made = scored(with_texts(laid, tmp_path / "texts"), tmp_path / "scores")
    found = statistics(made)
    assert found["metrics"][:2] == ["clarity", "firing_share"]
    assert found["firing_share"]["mean"] == 1.0
    assert found["null_firing_share"]["mean"] == 0.0
    # The latent fires in about a quarter of natural windows too, with the same words.
    assert 0.4 < found["clarity"]["mean"] < 0.75
    assert found["clarity"]["mean"] == pytest.approx(2 * found["by_type"]["natural"]["auroc"]["mean"] - 1)
    assert found["by_type"]["neutral"]["auroc"]["mean"] == 1.0
    assert found["by_type"]["neutral"]["null_auroc"]["mean"] == 0.5
    assert found["question_count_by_type"] == {"natural": 20 * LATENTS, "neutral": 5 * LATENTS, "written": 5 * LATENTS}
    assert (found["prompt_tokens"], found["model"]) == (0, "")
    for example in table(made, "examples.parquet"):
        own = [token.strip() in p.latent_words(example["latent"]) for token in example["tokens"]]
        assert own == (np.asarray(example["activations"]) > 0).tolist()
        assert example["answer"] == any(own)


def test_a_writer_that_does_not_read_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path) -> None:
    silent = with_texts(laid, tmp_path / "texts", lambda *_: "\n".join(f"{i}. wae wei wio" for i in range(2, 7)))
    for row in table(scored(silent, tmp_path / "scores"), "latents.parquet"):
        assert row["firing_share"] == row["null_firing_share"] == 0.0
        assert row["clarity"] <= 0.0
        assert row["clarity"] == row["null_clarity"]
        assert row["auroc"] == row["null_auroc"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"written_latents_id": ""}, "looks at written texts; give latents of the same coder"),
        ({"scorer": "detection"}, "detection looks at no written texts"),
        ({"token_budget": 5}, "asks no language model"),
        ({"stop": {"threshold": 0.5}}, "asks nothing"),
    ],
)
def test_texts_that_are_not_taken_or_lacking_are_refused(laid: p.Laid, changes: dict[str, Any], message: str) -> None:
    wanted = ScoresSpec.model_validate({**spec().model_dump(), **changes})
    with pytest.raises(InvalidSpec, match=message):
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).resolve(wanted)


def test_texts_of_other_explanations_or_of_none_are_refused(laid: p.Laid, tmp_path: Path) -> None:
    made = with_texts(laid, tmp_path / "texts")
    manifests = {role: artifact.manifest for role, artifact in made.inputs.items()}
    infos = {role: InputInfo(m.id, m.kind, m.spec, m, m.inputs) for role, m in manifests.items()}
    kind = ScoresKind(p.RuleJudge(p.oracle), made.artifacts)
    kind.check(spec(), infos)
    fired = infos["written_latents"]
    wrong = {
        "of another coder": (replace(fired, spec={**fired.spec, "coder_id": "x"}), "has another coder_id than"),
        "of no texts": (replace(fired, manifest=manifests["latents"]), "is of no written texts"),
    }
    for info, message in wrong.values():
        with pytest.raises(InvalidSpec, match=message):
            kind.check(spec(), {**infos, "written_latents": info})
    other = replace(infos["explanations"], id="explanations-" + "7" * 32)
    with pytest.raises(InvalidSpec, match="was written from"):
        kind.check(spec().model_copy(update={"explanations_id": other.id}), {**infos, "explanations": other})


def test_the_pipeline_goes_from_explanations_to_scores() -> None:
    path = Path(__file__).parents[3] / "services" / "scorer" / "generation.yaml"
    ids = {"explanations": p.EXPLANATIONS_ID, "latents": p.LATENTS_ID, "coder": "coder-" + "8" * 32, "model": "/m"}
    jobs = pipeline.load(path, ids).jobs
    assert list(jobs) == ["texts", "tokens", "written", "generation"]
    scores = ScoresSpec.model_validate(jobs["generation"].render({"written": "latents-" + "6" * 32}))
    assert (scores.scorer, scores.active_count, scores.inactive_count) == ("generation", 5, 50)
    assert TextsSpec.model_validate(jobs["texts"].render({})).text_count == 5
