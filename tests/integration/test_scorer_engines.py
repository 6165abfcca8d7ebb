"""All scorers on a few latents with real engines: the smallest model, and the sentence embedder of the laptop stack."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from dragoman.errors import InvalidSpec
from dragoman.llm import Completion, Endpoint, LLMClient, probe
from dragoman.models import pull
from dragoman.models.bert_gguf import convert_bert
from scorer.core.prompts_texts import STOP, texts_of
from scorer.embedder import EndpointEmbedder
from scorer.llm_judge import LlmJudge
from scorer.scores_kind import ScoresKind
from scorer.spec import EmbedderRef, LlmRef, ScoresSpec
from scorer.text_writer import EngineWriter

from tests.support.llm_engine import Engine, engine, free_port, home, wait_until_healthy
from tests.support.local_run import run_local
from tests.support.synthetic_latents import in_folder
from tests.unit.scorer import planted as p
from tests.unit.scorer import steered as s
from tests.unit.scorer.test_scores_kind import statistics, table

MINILM = "all-minilm-l6-v2"
LATENTS = 2


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    with engine(slots=1, ctx=2048) as started:
        yield started


@pytest.fixture(scope="module")
def embedding() -> Iterator[Engine]:
    folder = pull(MINILM, home())
    path = convert_bert(folder, folder.with_name(f"{folder.name}.gguf"))
    port = free_port()
    command = [sys.executable, "-m", "dragoman.stack.llm_server", "--model", str(path), "--alias", MINILM]
    command += ["--port", str(port), "--slots", "2", "--ctx", "512", "--threads", "2", "--embedding"]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process)
        yield Engine(url, MINILM, "", process)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def kind(laid: p.Laid, running: Engine, embedding: Engine) -> ScoresKind:
    judge, embedder = Endpoint(running.url, concurrency=1), Endpoint(embedding.url, variable="DRAGOMAN_EMBED")
    return ScoresKind(LlmJudge(judge), laid.artifacts, EndpointEmbedder(embedder))


def spec(scorer: str, **changes: object) -> ScoresSpec:
    fields = {
        "explanations_id": p.EXPLANATIONS_ID, "active_count": 5, "inactive_count": 5, "null_count": 0,
        "bootstrap_count": 100, **changes,
    }  # fmt: skip
    return ScoresSpec(latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH, **fields)


COUNTS = {"simulation": 1, "discrimination": 2}
ASKED = ("intruder", "discrimination", "simulation", "embedding", "example_embedding", "output")
"""Detection is in test_scorer_llm.py, fuzzing in tests/e2e, surprisal is below; the others ask as one of these does."""
ONE = ("intruder", "simulation", "output")
"""Asked of one latent: the longest prompts, or a request a token."""


@pytest.mark.parametrize("scorer", ASKED)
def test_every_scorer_gives_numbers_with_a_real_engine(
    laid: p.Laid, running: Engine, embedding: Engine, tmp_path: Path, scorer: str
) -> None:
    count = COUNTS.get(scorer, 5)
    changes: dict[str, object] = {"active_count": count, "inactive_count": count}
    inputs = laid.inputs
    if scorer in ("simulation", "output"):
        laid = p.lay_out(p.planted(LATENTS, outcomes={1: "rare"}), tmp_path / "in")
        inputs = laid.inputs
    if scorer == "output":  # two other latents stand beside
        changes |= {"effects_id": s.EFFECTS_ID, "active_count": 3}
        inputs = {**inputs, "effects": in_folder(s.effects_parts(LATENTS + 1), tmp_path)}
    if scorer == "intruder":  # no explanations
        changes, inputs = {**changes, "explanations_id": "", "latent_count": 1}, {"latents": inputs["latents"]}
    made = run_local(kind(laid, running, embedding), spec(scorer, **changes), inputs, tmp_path / "scores")
    found = statistics(made)
    headline = found["metrics"][0]
    assert found["scored"] == found[headline]["n"] == found["attempted"] == (1 if scorer in ONE else LATENTS)
    assert found["answered_count"] == found["question_count"] > 0
    assert found["model"] == (MINILM if "embedding" in scorer else running.model)
    assert found["prompt_tokens"] > 0
    assert all(-1.0 <= row[headline] <= 1.0 for row in table(made, "latents.parquet"))
    answers = [e["value"] if e["predicted"] is None else tuple(e["predicted"]) for e in table(made, "examples.parquet")]
    assert len(set(answers)) > len(answers) / 2, "the engine answers differently to different questions"


def test_a_real_engine_goes_on_with_a_prompt_for_texts(running: Engine) -> None:
    """A short one: whole prompts, and all that follows, are in tests/unit/scorer/test_generation.py."""
    writer = EngineWriter(Endpoint(running.url, concurrency=1))
    prompt = (
        "Description: numbers\nFragments:\n1. one, two, three\n2. four, five, six\n\nDescription: words\nFragments:\n1."
    )
    llm = LlmRef(model=writer.resolve(""), temperature=0.7, max_tokens=16)
    ((index, reply),) = writer.write([prompt], llm, seed=3)
    assert index == 0
    assert isinstance(reply, Completion)
    assert texts_of(reply.text)
    assert not any(stop in reply.text for stop in STOP)
    assert 0 < reply.usage.completion <= 16


def test_what_needs_prompts_is_refused_at_submit_since_this_engine_tells_nothing_of_them(
    laid: p.Laid, running: Engine, embedding: Engine
) -> None:
    found, scores = probe(running.url), kind(laid, running, embedding)
    assert (found.logprobs, found.json_schema, found.prompt_logprobs) == (True, True, False)
    for scorer, effects_id in (("surprisal", ""), ("intervention", s.EFFECTS_ID)):
        with pytest.raises(InvalidSpec, match="tells no prompt log-probabilities") as error:
            scores.resolve(spec(scorer, effects_id=effects_id))
        assert error.value.reason == "ENGINE_LACKS"


def test_the_embedder_counts_beforehand_what_it_then_reads(embedding: Engine) -> None:
    embedder, ref = EndpointEmbedder(Endpoint(embedding.url, variable="DRAGOMAN_EMBED")), EmbedderRef(model=MINILM)
    texts = ["A mare ran across the meadow.", " the<< naïve>> café\\n", ""]
    found = embedder.embedded(texts, ref)
    assert embedder.count(list(found), ref) == [each.tokens for each in found.values()]
    assert len(found) >= 2


def test_the_embedder_gives_the_vectors_of_its_model(embedding: Engine) -> None:
    """Against the model's own weights in another framework."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = pull(MINILM, home())
    texts = ["A mare ran across the meadow.", "Interest rates rose in March, don't you know?", " the<< naïve>> café\\n"]
    with LLMClient(embedding.url, MINILM) as client:
        found = dict(client.embed_many(texts))
    ours = np.asarray([found[i].vector for i in range(len(texts))])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    encoded = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model(**encoded).last_hidden_state
    mask = encoded["attention_mask"][..., None]
    theirs = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.999
    assert [found[i].usage.prompt for i in range(len(texts))] == [int(n) for n in mask.sum((1, 2))]


def test_like_texts_are_nearer_than_others(laid: p.Laid, running: Engine, embedding: Engine, tmp_path: Path) -> None:
    """Made-up words are split into the same pieces: windows of one latent are like each other a little."""
    wanted = spec("example_embedding", active_count=15, inactive_count=15, null_count=15)
    found = statistics(run_local(kind(laid, running, embedding), wanted, laid.inputs, tmp_path / "scores"))
    assert found["auroc"]["mean"] > found["null_auroc"]["mean"]
    assert json.loads(httpx.get(f"{embedding.url}/v1/models", trust_env=False).text)["data"][0]["id"] == MINILM
