"""The encoding tasks of the latents kind: any worker, any order, any batch size, any coder; bad weights are named."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from activation.config import Config
from activation.kinds import build
from activation.latents_kind import ENCODE, latents_per_shard
from activation.spec import LatentsSpec, TokensSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import DataLoss, InvalidSpec, NotFound, UserTaskError
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.ids import artifact_id
from dragoman.kinds import AnyKind, Context, Part, Task
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache.token_rows import TokenRows
from safetensors.numpy import load_file
from sparse_coders import JumpReLUCoder, SparseCoder, TopKCoder, save
from transformers import AutoModelForCausalLM

from tests.support.local_run import run_local

D_MODEL, D_SAE, K = 32, 96, 4
Encoded = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def tokens(
    kinds: dict[str, AnyKind], corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    given = {"source": str(corpus), "tokenizer": str(tokenizer_folder), "ctx_len": 32, "bos": "always"}
    spec = TokensSpec.model_validate({**given, "test_fraction": 0.3})
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def llama(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("llama")


def _fill(coder: SparseCoder, scale: float = 1.0) -> SparseCoder:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        coder.W_enc.normal_(generator=generator).mul_(scale)
        coder.W_dec.copy_(coder.W_enc)
    return coder


def _coder(folder: Path, coder: SparseCoder, hookpoint: str = "layers.1") -> FolderArtifact:
    """Commits a coder to a folder, as an import of it would."""
    save(coder, folder)
    names = [p.name for p in folder.iterdir()]
    parts = [PartInfo(n, n, (folder / n).stat().st_size, file_sha256(folder / n)) for n in names]
    statistics: dict[str, Any] = {
        "d_model": coder.d_model, "d_out": coder.d_out, "d_sae": coder.d_sae, "k": coder.k, "hookpoint": hookpoint,
        "model": {},
    }  # fmt: skip
    manifest = Manifest(artifact_id("coder", 1, {"folder": str(folder)}), "coder", 1, {}, {}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


@pytest.fixture(scope="module")
def topk(tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    return _coder(tmp_path_factory.mktemp("coder"), _fill(TopKCoder(D_MODEL, D_SAE, K)))


def _spec(tokens: FolderArtifact, coder: FolderArtifact, model: Path, **fields: Any) -> LatentsSpec:
    given = {"tokens_id": tokens.id, "coder_id": coder.id, "model": {"source": str(model)}, "window_length": 8}
    return LatentsSpec.model_validate({**given, "rows_per_task": 20, "batch_size": 4, **fields})


def _infos(inputs: Mapping[str, FolderArtifact]) -> dict[str, InputInfo]:
    return {r: InputInfo(a.id, a.manifest.kind, a.manifest.spec, a.manifest, {}) for r, a in inputs.items()}


def _encode(kind: AnyKind, spec: LatentsSpec, inputs: Mapping[str, FolderArtifact], folder: Path) -> list[Encoded]:
    """Returns the encoded part of each task, with its metadata as 0-d arrays."""
    resolved = kind.resolve(spec)
    kind.check(resolved, _infos(inputs))
    found: list[Encoded] = []
    for index, payload in enumerate(kind.plan(resolved, _infos(inputs))[ENCODE].tasks):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        own: Any = None
        context = Context("latents-0", Task(ENCODE, index, payload), inputs, {}, own, None, folder)
        parts = [said for said in kind.run(resolved, context) if isinstance(said, Part)]
        assert [part.name for part in parts] == [f"encoded-{index:05d}.safetensors"]
        assert parts[0].path is not None
        numbers = {k: np.asarray(v) for k, v in parts[0].metadata.items()}
        found.append({**load_file(parts[0].path), **numbers})
    return found


def _dense(encoded: Sequence[Encoded], ctx_len: int, row_count: int) -> np.ndarray:
    """Activations [row, pos, latent] of encoded parts."""
    dense = np.zeros((row_count * ctx_len, D_SAE), np.float32)
    for part in encoded:
        latents = np.repeat(np.arange(D_SAE), np.diff(part["offsets"]))
        places = int(part["first_row"]) * ctx_len + part["entries"][:, 0]
        assert not dense[places, latents].any(), "a token is encoded once"
        dense[places, latents] = np.ascontiguousarray(part["entries"][:, 1]).view(np.float32)
    return dense.reshape(row_count, ctx_len, D_SAE)


class Workers:
    """Workers that share nothing but the inputs: a task is done by one of them. Each knows what `cache` knows."""

    def __init__(self, cache: Path, root: Path, count: int) -> None:
        for i in range(count):
            shutil.copytree(cache, root / str(i))
        self._kinds = [
            next(kind for kind in build(Config(root / str(i), 1, "cpu"), None) if kind.name == "latents")
            for i in range(count)
        ]
        self.done = [0] * count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kinds[0], name)

    def run(self, spec: LatentsSpec, context: Context) -> Iterator[Any]:
        """Runs a task on the worker whose turn it is."""
        number = self.done.index(min(self.done))
        self.done[number] += 1
        yield from self._kinds[number].run(spec, context)


class Careful:
    """The kind, but each task after encoding is done once more for each part that it may read, that part damaged.

    Either the damage is noticed, or the task does not read what is damaged and writes the bytes that it should.
    """

    def __init__(self, kind: AnyKind) -> None:
        self._kind, self._random = kind, random.Random(3)
        self.noticed = Counter[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)

    def run(self, spec: LatentsSpec, context: Context) -> Iterator[Any]:
        """Runs a task with each part damaged, then as it is."""
        if context.task.stage == ENCODE:
            yield from self._kind.run(spec, context)
            return
        right = self._done(spec, context)
        for part in context.own.manifest.parts:
            path = cast(FolderArtifact, context.own).path / part.name
            data = path.read_bytes()
            for at in (self._random.randrange(len(data)) for _ in range(3)):
                path.write_bytes(data[:at] + bytes([data[at] ^ self._random.randrange(1, 256)]) + data[at + 1 :])
                try:
                    assert self._done(spec, context) == right, f"{part.name}, byte {at}"
                except DataLoss:
                    self.noticed[part.name.split("-")[0]] += 1
            path.write_bytes(data)
        yield from self._kind.run(spec, context)

    def _done(self, spec: LatentsSpec, context: Context) -> list[tuple[str, bytes]]:
        """Does a task in a scratch folder of its own; nothing that was read before is known to be right."""
        path = cast(FolderArtifact, context.own).path
        with tempfile.TemporaryDirectory() as scratch:
            alone = replace(context, own=FolderArtifact(path, context.own.manifest), scratch=Path(scratch))
            said = [part for part in self._kind.run(spec, alone) if isinstance(part, Part)]
            return [(part.name, part.path.read_bytes() if part.path else part.data or b"") for part in said]


def _shuffled(tasks: Sequence[Task]) -> Sequence[Task]:
    return random.Random(7).sample(list(tasks), len(tasks))


def test_three_workers_in_any_order_write_the_bytes_of_one(
    tokens: FolderArtifact,
    topk: FolderArtifact,
    llama: Path,
    cache: Path,
    tmp_path: Path,
    kinds: dict[str, AnyKind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("activation.latents_kind._SHARD_BYTES", 1 << 16)
    monkeypatch.setattr("activation.latents_kind._NEIGHBOUR_LATENTS", 40)
    spec = _spec(tokens, topk, llama, rows_per_task=6, max_tokens=1200, neighbours=3, neighbour_tokens=400)
    kinds["latents"].check(kinds["latents"].resolve(spec), _infos({"tokens": tokens, "coder": topk}))  # fills the cache
    inputs = {"tokens": tokens, "coder": topk}
    one: Any = Workers(cache, tmp_path / "cache-one", 1)
    three: Any = Workers(cache, tmp_path / "cache-three", 3)
    first = run_local(one, spec, inputs, tmp_path / "one")
    second = run_local(three, spec, inputs, tmp_path / "three", order=_shuffled)
    assert min(three.done) > 2, "each of the three had several tasks"
    assert first.id == second.id
    assert len([p for p in first.manifest.parts if p.name.startswith("entries-")]) > 1
    assert [(p.name, p.sha256) for p in first.manifest.parts] == [(p.name, p.sha256) for p in second.manifest.parts]
    assert "neighbours.parquet" in {p.name for p in first.manifest.parts}
    assert first.manifest.statistics == second.manifest.statistics
    assert 0 < int(str(first.manifest.statistics["neighbour_token_count"])) <= 400


def test_entries_are_the_same_however_rows_are_cut_into_tasks(
    tokens: FolderArtifact, topk: FolderArtifact, llama: Path, tmp_path: Path, kinds: dict[str, AnyKind]
) -> None:
    inputs = {"tokens": tokens, "coder": topk}
    parts: list[list[tuple[str, str]]] = []
    for rows_per_task in (8, 20):
        spec = _spec(tokens, topk, llama, rows_per_task=rows_per_task, max_tokens=1200)
        artifact = run_local(kinds["latents"], spec, inputs, tmp_path / str(rows_per_task))
        parts.append([(p.name, p.sha256) for p in artifact.manifest.parts if p.name.startswith("entries-")])
    assert parts[0] == parts[1] != []


@pytest.mark.parametrize("batch_size", [1, 64])
def test_batch_sizes_agree_to_within_rounding(
    batch_size: int,
    tokens: FolderArtifact,
    topk: FolderArtifact,
    llama: Path,
    tmp_path: Path,
    kinds: dict[str, AnyKind],
) -> None:
    """Activations agree to 1e-4 of the largest; a latent may be missing only where it ties with the k-th."""
    inputs = {"tokens": tokens, "coder": topk}
    rows = TokenRows(tokens)
    a, b = (
        _dense(
            _encode(kinds["latents"], _spec(tokens, topk, llama, batch_size=size), inputs, tmp_path / "scratch"),
            rows.ctx_len,
            rows.row_count,
        )
        for size in (4, batch_size)
    )
    tolerance = 1e-4 * a.max()
    both = (a > 0) & (b > 0)
    assert both.sum() > 1000
    assert np.abs(a - b)[both].max() <= tolerance
    for one in (a, b):
        kth = np.where(one > 0, one, np.inf).min(-1, keepdims=True)
        assert (one[(one > 0) & ~both] <= np.broadcast_to(kth, one.shape)[(one > 0) & ~both] + tolerance).all()


def _states(tokens: FolderArtifact, llama: Path, module: str, of_input: bool) -> torch.Tensor:
    """What goes into or comes out of a module, by the plain model [row, pos, d]."""
    rows = TokenRows(tokens)
    model: Any = AutoModelForCausalLM.from_pretrained(llama).eval()
    found: list[torch.Tensor] = []
    model.get_submodule(module).register_forward_hook(lambda m, args, out: found.append(args[0] if of_input else out))
    with torch.no_grad():
        model(input_ids=torch.from_numpy(rows.tokens(np.arange(rows.row_count))).long())
    return found[0][0] if isinstance(found[0], tuple) else found[0]


@pytest.mark.parametrize("architecture", ["jumprelu", "transcoder"])
def test_any_coder_and_any_hookpoint(
    architecture: str, tokens: FolderArtifact, llama: Path, tmp_path: Path, kinds: dict[str, AnyKind]
) -> None:
    module, of_input = ("model.layers.1", False) if architecture == "jumprelu" else ("model.layers.1.mlp", True)
    states = _states(tokens, llama, module, of_input).flatten(0, 1)
    if architecture == "jumprelu":
        coder = _fill(JumpReLUCoder(D_MODEL, D_SAE))
        assert isinstance(coder, JumpReLUCoder)
        with torch.no_grad():
            coder.threshold.fill_(float((states[:100] @ coder.W_enc.T).quantile(0.95)))
    else:
        coder = _fill(TopKCoder(D_MODEL, D_SAE, K, transcoder=True))
    artifact = _coder(tmp_path / "coder", coder, module + (".input" if of_input else ""))
    inputs = {"tokens": tokens, "coder": artifact}
    encoded = _encode(kinds["latents"], _spec(tokens, artifact, llama), inputs, tmp_path / "scratch")
    rows = TokenRows(tokens)
    counted = rows.documents(np.arange(rows.row_count)) >= 0
    found = _dense(encoded, rows.ctx_len, rows.row_count)
    acts, indices = coder.encode(states)
    expected = torch.zeros(len(acts), D_SAE).scatter_add_(1, indices, acts).numpy()
    expected = expected.reshape(found.shape) * counted[..., None]
    assert (expected > 0).sum() > 1000
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    if architecture == "jumprelu":
        assert len(np.unique((found > 0).sum(-1)[counted])) > 3, "its L0 varies"


def test_an_activation_that_is_not_finite_stops_the_job_and_names_its_row(
    tokens: FolderArtifact, llama: Path, tmp_path: Path, kinds: dict[str, AnyKind]
) -> None:
    coder = _fill(TopKCoder(D_MODEL, D_SAE, K), 5e37)
    assert isinstance(coder, TopKCoder)
    with torch.no_grad():
        coder.b_enc.fill_(3e38)
    artifact = _coder(tmp_path / "coder", coder, "layers.1.mlp.input")
    spec = _spec(tokens, artifact, llama)
    with pytest.raises(UserTaskError, match=r"NaN or infinite activations at \d+ tokens, first in row 0"):
        _encode(kinds["latents"], spec, {"tokens": tokens, "coder": artifact}, tmp_path / "scratch")


def test_token_rows_that_are_damaged_or_gone_stop_the_task(
    tokens: FolderArtifact, topk: FolderArtifact, llama: Path, tmp_path: Path, kinds: dict[str, AnyKind]
) -> None:
    damaged = FolderArtifact(shutil.copytree(tokens.path, tmp_path / "tokens"))
    shard = damaged.path / "rows-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    spec, inputs = _spec(tokens, topk, llama, rows_per_task=2), {"tokens": damaged, "coder": topk}
    with pytest.raises(DataLoss, match=r"rows-00000.*not what its manifest promises"):
        _encode(kinds["latents"], spec, inputs, tmp_path / "scratch")
    shard.unlink()
    with pytest.raises(NotFound, match=r"holds no file .*rows-00000"):
        _encode(kinds["latents"], spec, inputs, tmp_path / "scratch")


def test_a_damaged_byte_of_what_a_task_reads_reaches_no_artifact(
    tokens: FolderArtifact,
    topk: FolderArtifact,
    llama: Path,
    tmp_path: Path,
    kinds: dict[str, AnyKind],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("activation.latents_kind._SHARD_BYTES", 1 << 16)
    careful: Any = Careful(kinds["latents"])
    spec = _spec(tokens, topk, llama, max_tokens=600, neighbours=2)
    run_local(careful, spec, {"tokens": tokens, "coder": topk}, tmp_path / "latents")
    assert set(careful.noticed) == {"encoded", "drawn.safetensors", "statistics", "tokens", "neighbours"}


def test_what_cannot_be_done_is_refused_at_submit(
    tokens: FolderArtifact, topk: FolderArtifact, llama: Path, kinds: dict[str, AnyKind]
) -> None:
    kind = kinds["latents"]
    inputs = _infos({"tokens": tokens, "coder": topk})
    long_rows = {**inputs, "tokens": replace(inputs["tokens"], spec={"ctx_len": 4096})}
    with pytest.raises(InvalidSpec, match=r"use at most 524,287 rows") as refused:
        kind.check(kind.resolve(_spec(tokens, topk, llama, rows_per_task=1 << 20)), long_rows)
    assert refused.value.violations[0].field == "rows_per_task"
    many = _with_tokens(inputs, 10**9)
    with pytest.raises(InvalidSpec, match=r"use at most 67,108,864") as refused:
        kind.check(kind.resolve(_spec(tokens, topk, llama, neighbours=1, neighbour_tokens=10**9)), many)
    assert refused.value.violations[0].field == "neighbour_tokens"


def _with_tokens(inputs: Mapping[str, InputInfo], count: int) -> dict[str, InputInfo]:
    manifest = inputs["tokens"].manifest
    assert manifest is not None
    more = replace(manifest, statistics={**manifest.statistics, "token_count": count})
    return {**inputs, "tokens": replace(inputs["tokens"], manifest=more)}


@pytest.mark.parametrize(
    ("d_sae", "entries", "shards"),
    [(96, 10, 1), (4608, 32 * 10**6, 10), (131_072, 32 * 10**9, 1024), (131_072, 10, 32), (3, 10**12, 3)],
)
def test_shards_are_few_enough_to_read_and_small_enough_to_hold(d_sae: int, entries: int, shards: int) -> None:
    per_shard = latents_per_shard(d_sae, entries)
    assert -(-d_sae // per_shard) == shards
