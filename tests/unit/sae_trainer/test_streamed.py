"""Coders trained on what a model gives while it runs: the tokens they see, alone and together, killed, refused."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from dragoman.folder import FolderArtifact
from dragoman.host_memory import GIB
from dragoman.kinds import Checkpoint, Context, Part, Progress, Task
from hooked_models.model_ref import ModelRef
from pydantic import ValidationError
from sae_trainer.coder_kind import CoderKind
from sae_trainer.coders_kind import CodersKind
from sae_trainer.coders_spec import CodersSpec
from sae_trainer.config import Config
from sae_trainer.core.token_order import Piece
from sae_trainer.model_host import host_of
from sae_trainer.spec import CoderSpec
from sae_trainer.streamed_reader import Passage, StreamedReader, passages_of
from sae_trainer.sweeping import submit_sweep
from safetensors.torch import load_file

from tests.support.local_run import run_local
from tests.support.memory_desk import MemoryDesk
from tests.support.tiny import VOCAB
from tests.unit.sae_trainer.tokens_folder import CTX_LEN, PADDED, TRAIN_ROWS, TRAIN_TOKENS, write_tokens

FILES = ("sae.safetensors", "cfg.json", "curves.parquet", "curves.html")
STEPS = 2 * TRAIN_TOKENS // 100
pytestmark = pytest.mark.usefixtures("without_a_child")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(torch_threads=1, device="cpu", shuffle_bytes=2**30, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    return write_tokens(tmp_path_factory.mktemp("streamed") / "tokens", VOCAB)


@pytest.fixture
def fields(tokens: FolderArtifact, model_folder: Callable[[str], Path]) -> dict[str, Any]:
    """A coder's spec; the buffer holds less than half of the tokens."""
    streamed = {
        "tokens_id": tokens.id,
        "model": {"source": str(model_folder("llama"))},
        "batch_size": 1,
        "shuffle_tokens": 16 * (CTX_LEN - 1),
    }
    steps = {"batch_tokens": 100, "epochs": 2, "checkpoint_steps": 7, "learning_rate": 3e-3}
    return {"streamed": streamed, "hookpoint": "layers.1", "d_sae": 64, "k": 4, **steps}


def members(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two seeds, another architecture at another layer, and a skip transcoder."""
    transcoder = {"hookpoint": "layers.1.mlp.input", "output_hookpoint": "layers.1.mlp", "skip": True}
    free = {name: value for name, value in fields.items() if name != "k"}
    return [
        {**fields},
        {**fields, "seed": 1},
        {**free, "hookpoint": "layers.0", "architecture": "jumprelu", "target_l0": 4},
        {**fields, **transcoder},
    ]


def train(config: Config, tokens: FolderArtifact, spec: Mapping[str, Any], folder: Path) -> FolderArtifact:
    return run_local(CoderKind(config), CoderSpec(**spec), {"tokens": tokens}, folder)


def ended(steps: Any) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def until_checkpoint(
    kind: CodersKind, spec: CodersSpec, tokens: FolderArtifact, scratch: Path, resumed: Path | None
) -> tuple[Path | None, dict[str, bytes]]:
    """Runs a task to its first checkpoint, or from one to its end; returns the checkpoint and the parts."""
    scratch.mkdir()
    context = Context("coders-0", Task(0, 0), {"tokens": tokens}, {}, tokens, resumed, scratch)
    parts: dict[str, bytes] = {}
    messages: list[str] = []
    for said in kind.run(kind.resolve(spec), context):
        if isinstance(said, Checkpoint) and resumed is None:
            return said.path, parts
        if isinstance(said, Part):
            parts[said.name] = said.data if said.path is None else said.path.read_bytes()
        elif isinstance(said, Progress):
            messages.append(said.message)
    assert "resumed at step 7" in messages
    return None, parts


def test_a_passage_gives_what_the_model_gives_row_by_row(
    config: Config, tokens: FolderArtifact, model_folder: Callable[[str], Path]
) -> None:
    host = host_of(config, None)
    model = host.load(host.refs.resolve(ModelRef(source=str(model_folder("llama")))))
    passages: list[Passage] = list(ended(passages_of(tokens, 22, TRAIN_ROWS, 3)))
    assert [(p.first_row, p.stop - p.start) for p in passages][:3] == [(22, 2), (24, 3), (27, 3)], "cut at shards"
    assert sum(p.token_count for p in passages) == (TRAIN_ROWS - 22) * (CTX_LEN - 1) - PADDED
    names = ["model.layers.1", "model.layers.1.mlp"]
    reader = StreamedReader(tokens, passages, model, names, "float32")
    last = len(passages) - 1
    (whole,) = reader.chunks(Piece(last, 0, passages[last].token_count))
    (part,) = reader.chunks(Piece(last, 10, 20))
    assert all(torch.equal(part[name], whole[name][10:20]) for name in names)
    ids = torch.from_numpy(_rows(tokens)[passages[last].first_row : TRAIN_ROWS]).long()
    with torch.no_grad():
        states = model.whole(input_ids=ids, output_hidden_states=True).hidden_states[2]
    expected = states[:, 1:].flatten(0, 1)[:-PADDED]
    assert torch.allclose(whole[names[0]], expected, atol=1e-5)


def _rows(tokens: FolderArtifact) -> Any:
    from latent_cache.token_rows import TokenRows

    rows = TokenRows(tokens)
    return rows.tokens(torch.arange(rows.row_count).numpy())


def test_a_coder_is_the_same_alone_killed_and_beside_others(
    config: Config, tokens: FolderArtifact, fields: dict[str, Any], tmp_path: Path
) -> None:
    specs = members(fields)
    together = CodersSpec(coders=tuple(CoderSpec(**spec) for spec in specs))
    kind = CodersKind(config, host_of(config, None))
    straight = run_local(kind, together, {"tokens": tokens}, tmp_path / "straight")
    checkpoint, _ = until_checkpoint(kind, together, tokens, tmp_path / "killed", None)
    assert checkpoint is not None
    _, parts = until_checkpoint(kind, together, tokens, tmp_path / "resumed", checkpoint)
    assert parts == {name: straight.read(name) for name in straight.names()}
    for number, spec in enumerate(specs):
        alone = train(config, tokens, spec, tmp_path / f"alone-{number}")
        spec = CoderSpec.model_validate({"taken": {"coders_id": straight.id, "number": number}})
        taken = run_local(CoderKind(config), spec, {"coders": straight}, tmp_path / f"taken-{number}")
        assert set(taken.names()) == set(FILES)
        for name in FILES:
            assert taken.read(name) == alone.read(name), (number, name)
        assert taken.manifest.statistics == alone.manifest.statistics
    weights = {straight.read(f"coder-{number:05d}/sae.safetensors") for number in range(4)}
    assert len(weights) == 4


def test_progress_is_told_between_the_coders_of_a_step(
    config: Config, tokens: FolderArtifact, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by a second each time it is asked."""
    clock = itertools.count()
    monkeypatch.setattr("sae_trainer.training.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    kind = CodersKind(config, host_of(config, None))
    spec = kind.resolve(CodersSpec.model_validate({"coders": [{**one, "epochs": 0.5} for one in members(fields)]}))
    context = Context("coders-0", Task(0, 0), {"tokens": tokens}, {}, tokens, None, tmp_path)
    told = [said for said in kind.run(spec, context) if isinstance(said, Progress) and said.message == "training"]
    steps = [(before, before, before, before + 1) for before in range(STEPS // 4)]
    assert [said.done for said in told] == [100 * done for step in steps for done in step]
    assert all("fvu" in said.metrics for said in told if said.done)


def test_two_processes_train_a_coder_on_a_stream(
    config: Config, tokens: FolderArtifact, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sae_trainer.coder_kind.own_id", lambda spec: "coder-0")  # what first weights are drawn by
    alone = train(config, tokens, fields, tmp_path / "alone")
    shared = train(config, tokens, {**fields, "ranks": 2, "parallel": "latents"}, tmp_path / "shared")
    assert shared.read("cfg.json") == alone.read("cfg.json")
    curves = [pq.read_table(made.path / "curves.parquet").to_pandas().to_numpy() for made in (alone, shared)]
    torch.testing.assert_close(torch.tensor(curves[1]), torch.tensor(curves[0]), rtol=1e-4, atol=1e-6)
    weights = [load_file(made.path / "sae.safetensors") for made in (alone, shared)]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-4)
    assert [made.manifest.statistics["kernels"] for made in (alone, shared)] == ["compiled", "reference"]


def test_what_a_coder_says_of_its_tokens(
    config: Config, tokens: FolderArtifact, fields: dict[str, Any], tmp_path: Path
) -> None:
    statistics: Mapping[str, Any] = train(config, tokens, fields, tmp_path / "coder").manifest.statistics
    assert (statistics["tokens_id"], statistics["split"], statistics["row_count"]) == (tokens.id, "train", TRAIN_ROWS)
    assert statistics["token_policy"] == tokens.manifest.statistics["token_policy"]
    assert statistics["model"]["fingerprint"]
    assert statistics["hookpoint"] == statistics["output_hookpoint"] == "model.layers.1"
    assert (statistics["step_count"], statistics["token_count"]) == (STEPS, STEPS * 100)
    assert 0 < statistics["fvu"] < 1
    other = train(config, tokens, {**fields, "streamed": {**fields["streamed"], "seed": 1}}, tmp_path / "other")
    assert other.manifest.statistics["fvu"] != statistics["fvu"], "another order"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hookpoint": ""}, "hookpoint is empty; of a model that is streamed"),
        ({"activations_id": "activations-0"}, "activations_id and streamed are both given"),
        ({"taken": {"coders_id": "coders-0"}}, "streamed.*: not for a coder that is taken"),
    ],
)
def test_specs_that_cannot_be_meant(fields: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CoderSpec.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, r"coders\[1\] has another epochs than coders\[0\]"),
        ({}, r"coders\[1\] is there twice"),
        ({"streamed": None, "activations_id": "activations-0"}, r"coders\[1\] has no streamed"),
        ({"ranks": 2}, r"coders\[1\] has ranks 2; coders that are trained together have one, since all are trained"),
    ],
)
def test_coders_that_cannot_be_trained_together(fields: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CodersSpec.model_validate({"coders": [fields, {**fields, **changes}]})


@pytest.mark.parametrize(
    ("changes", "streamed", "field", "message"),
    [
        ({"hookpoint": "layers.1.mpl"}, {}, "hookpoint", "no hookpoint 'layers.1.mpl'; the nearest are layers.1.mlp"),
        ({"output_hookpoint": "model.layers.1"}, {}, "output_hookpoint", "are both model.layers.1"),
        ({}, {"shuffle_tokens": 300}, "streamed.shuffle_tokens", "fewer than 8 passes of 1 rows; raise it to 512"),
        ({}, {"model": {"source": "/nowhere"}}, "streamed.model.source", "there is no model '/nowhere'"),
        ({"batch_tokens": 4096, "epochs": 1}, {}, "batch_tokens", "fewer than one batch of 4096"),
        ({"d_sae": 2**24}, {}, "d_sae", r"needs [\d.e+]+ GiB: .* for the model, .*Lower d_sae .* or shuffle_tokens"),
    ],
)
def test_what_does_not_fit_is_refused_at_submit(
    config: Config,
    tokens: FolderArtifact,
    fields: dict[str, Any],
    changes: dict[str, Any],
    streamed: dict[str, Any],
    field: str,
    message: str,
) -> None:
    small = Config(1, "cpu", 2**30, worker_memory_bytes=GIB, cache=config.cache)
    kind = CoderKind(small)
    spec = CoderSpec.model_validate({**fields, **changes, "streamed": {**fields["streamed"], **streamed}})
    with pytest.raises(InvalidSpec, match=message) as error:
        kind.check(kind.resolve(spec), _info(tokens))
    assert error.value.violations[0].field == field


def _info(tokens: FolderArtifact) -> dict[str, InputInfo]:
    return {"tokens": InputInfo(tokens.id, "tokens", tokens.manifest.spec, tokens.manifest)}


def test_tokens_of_another_vocabulary(config: Config, fields: dict[str, Any], tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", VOCAB + 1)
    kind = CoderKind(config)
    with pytest.raises(InvalidSpec, match="make tokens with this model's tokenizer") as error:
        kind.check(kind.resolve(CoderSpec(**fields)), _info(tokens))
    assert error.value.violations[0].field == "streamed.tokens_id"


def test_a_coder_that_is_not_there_cannot_be_taken(config: Config) -> None:
    spec = CoderSpec.model_validate({"taken": {"coders_id": "coders-0", "number": 2}})
    trained = InputInfo("coders-0", "coders", {"coders": [{}, {}]}, None)
    with pytest.raises(InvalidSpec, match="holds 2 coders, numbered from 0; there is no number 2"):
        CoderKind(config).check(spec, {"coders": trained})


def test_a_sweep_in_one_pass_is_one_job_and_what_is_taken_out_of_it() -> None:
    desk = MemoryDesk()
    spec = {"base": {"streamed": {}, "d_sae": 64}, "ks": [4, 8], "hookpoints": ["a", "b"], "one_pass": True}
    swept = asyncio.run(submit_sweep(desk, spec, "mine"))
    assert [one.label for one in swept] == [f"k={k} hookpoint={name}" for k in (4, 8) for name in "ab"]
    taken = [one.job.spec["taken"] for one in swept]
    assert [one["number"] for one in taken] == [0, 1, 2, 3]
    (coders_id,) = {one["coders_id"] for one in taken}
    job = asyncio.run(desk.get(coders_id))
    assert (job.kind, len(job.spec["coders"])) == ("coders", 4)
    assert job.spec["coders"][1] == {"streamed": {}, "d_sae": 64, "k": 4, "hookpoint": "b"}
