"""The activations and latents kinds over a tiny model, against what the whole model says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activation.activations_run import append, tensors_of
from activation.spec import ActivationsSpec, LatentsSpec, TokensSpec
from activation.tensor_stream import TensorStream
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from hooked_models.core.forward import Batch
from latent_cache.cache import LatentCache
from latent_cache.token_rows import TokenRows
from pydantic import ValidationError
from safetensors.torch import load_file
from sparse_coders import TopKCoder, load, save
from transformers import AutoModelForCausalLM

from tests.support.local_run import reversed_order, run_local

Kinds = dict[str, AnyKind]
D_SAE, K = 96, 4


@pytest.fixture(scope="module")
def tokens(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = TokensSpec(source=str(corpus), tokenizer=str(tokenizer_folder), ctx_len=32, bos="always", test_fraction=0.3)
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def llama(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("llama")


@pytest.fixture(scope="module")
def states(tokens: FolderArtifact, llama: Path) -> torch.Tensor:
    """Residual stream after layer 1 of every row, by the plain full pass: [row, pos, d_model]."""
    rows = TokenRows(tokens)
    ids = torch.from_numpy(rows.tokens(np.arange(rows.row_count))).long()
    model: Any = AutoModelForCausalLM.from_pretrained(llama).eval()
    with torch.no_grad():
        return model(input_ids=ids, output_hidden_states=True).hidden_states[2]


def _activations(tokens: FolderArtifact, llama: Path, **fields: Any) -> ActivationsSpec:
    given = {"tokens_id": tokens.id, "model": {"source": str(llama)}, "hookpoints": ["layers.1"], "rows_per_task": 30}
    return ActivationsSpec.model_validate({**given, "batch_size": 4, **fields})


@pytest.fixture(scope="module")
def activations(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = _activations(tokens, llama, hookpoints=["layers.1", "model.layers.0.mlp"])
    return run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path_factory.mktemp("activations"))


def _gathered(artifact: FolderArtifact, hookpoint: str) -> dict[str, torch.Tensor]:
    shards = [p.name for p in artifact.manifest.parts if p.name.startswith(f"{hookpoint}/shard-")]
    loaded = [load_file(artifact.download(name)) for name in shards]
    return {key: torch.cat([shard[key] for shard in loaded]) for key in loaded[0]}


def test_shards_hold_the_counted_positions_in_order(
    tokens: FolderArtifact, activations: FolderArtifact, states: torch.Tensor
) -> None:
    found = _gathered(activations, "model.layers.1")
    documents = TokenRows(tokens).documents(np.arange(len(states)))
    places = np.argwhere(documents >= 0)
    assert torch.stack([found["rows"], found["positions"]], 1).tolist() == places.tolist()
    torch.testing.assert_close(found["activations"], states[places[:, 0], places[:, 1]], atol=1e-5, rtol=1e-5)
    statistics: Any = activations.manifest.statistics
    assert statistics["token_count"] == len(places) == tokens.manifest.statistics["token_count"]
    assert statistics["row_count"] == len(states)
    assert statistics["hookpoints"] == ["model.layers.1", "model.layers.0.mlp"]
    assert statistics["d_model"] == {"model.layers.1": 32, "model.layers.0.mlp": 32}


def test_moments_are_those_of_all_shards(activations: FolderArtifact) -> None:
    statistics: Any = activations.manifest.statistics
    moments = load_file(activations.download("moments.safetensors"))
    for hookpoint in statistics["hookpoints"]:
        stored = _gathered(activations, hookpoint)["activations"].double().numpy()
        np.testing.assert_allclose(moments[f"{hookpoint}.mean"], stored.mean(0), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(moments[f"{hookpoint}.variance"], stored.var(0), rtol=1e-9)
        norms = np.linalg.norm(stored, axis=1)
        expected = {"mean": norms.mean(), "std": norms.std(), "min": norms.min(), "max": norms.max()}
        assert statistics["norm"][hookpoint] == pytest.approx(expected, rel=1e-9)
        shards = [p.metadata for p in activations.manifest.parts if p.metadata.get("hookpoint") == hookpoint]
        assert sum(int(str(m["token_count"])) for m in shards) == len(stored)
    assert statistics["weights"].startswith("trained weights")
    assert statistics["token_policy"]["bos_token_id"] == 0


def test_several_hookpoints_with_inputs_are_byte_equal_to_single_runs(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    names = ["model.layers.1.mlp.input", "model.layers.0", "model.layers.1.mlp"]
    few: Any = {"max_tokens": 200, "rows_per_task": 3}
    together = _activations(tokens, llama, hookpoints=names, **few)
    all_ = run_local(kinds["activations"], together, {"tokens": tokens}, tmp_path / "all")
    norms: Any = all_.manifest.statistics["norm"]
    assert set(norms) == set(names)
    for number, name in enumerate(names):
        spec = _activations(tokens, llama, hookpoints=[name], **few)
        one = run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path / str(number))
        shards = [p for p in one.manifest.parts if p.metadata.get("hookpoint") == name]
        assert len(shards) == 3
        assert [(p.name, p.sha256) for p in shards] == [
            (p.name, p.sha256) for p in all_.manifest.parts if p.metadata.get("hookpoint") == name
        ]


def test_a_batch_without_a_counted_token_adds_nothing_to_a_shard(tmp_path: Path) -> None:
    rows, positions = (places.astype(np.int32) for places in np.nonzero(np.zeros((2, 3))))
    batch = Batch(rows, positions, rows, {"h": torch.empty(0, 4)})
    with TensorStream(tmp_path / "shard", tensors_of(batch, "h", 0, "float32")) as stream:
        append(stream, batch, "h", "float32")
    assert load_file(tmp_path / "shard")["activations"].shape == (0, 4)


def test_an_activation_beyond_float16_is_an_error_that_names_the_row(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(llama)
    first = TokenRows(tokens).tokens(np.arange(7))
    row = 2
    position = next(p for p, token in enumerate(first[row]) if token not in first[:row])
    with torch.no_grad():
        model.get_input_embeddings().weight[int(first[row, position]), 3] = 1e5
    model.save_pretrained(tmp_path / "large")
    large: Any = {"model": {"source": str(tmp_path / "large")}, "hookpoints": ["embed_tokens"], "max_tokens": 200}
    spec = _activations(tokens, llama, dtype="float16", **large)
    with pytest.raises(UserTaskError, match=rf"activation of 100000 in row {row}, position {position}; float16 ends"):
        run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path / "half")
    wide = run_local(
        kinds["activations"], _activations(tokens, llama, dtype="bfloat16", **large), {"tokens": tokens}, tmp_path / "w"
    )
    assert bool(_gathered(wide, "model.embed_tokens")["activations"].isfinite().all())


def test_bytes_do_not_depend_on_the_order_of_tasks(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, activations: FolderArtifact, tmp_path: Path
) -> None:
    spec = _activations(tokens, llama, hookpoints=["layers.1", "layers.0.mlp"])
    other = run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path / "a", order=reversed_order)
    assert other.id == activations.id, "names in full and from the base model mean the same"
    assert [p.sha256 for p in other.manifest.parts] == [p.sha256 for p in activations.manifest.parts]
    assert other.manifest.statistics == activations.manifest.statistics


def test_a_split_is_read_from_its_start_in_the_dtype_asked_for(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, states: torch.Tensor, tmp_path: Path
) -> None:
    spec = _activations(tokens, llama, split="test", max_tokens=100, dtype="bfloat16")
    found = _gathered(run_local(kinds["activations"], spec, {"tokens": tokens}, tmp_path / "a"), "model.layers.1")
    first = TokenRows(tokens).train_row_count
    assert found["rows"].unique().tolist() == [first, first + 1, first + 2, first + 3]
    assert found["activations"].dtype == torch.bfloat16
    expected = states[found["rows"].long(), found["positions"].long()]
    torch.testing.assert_close(found["activations"].float(), expected, rtol=1e-2, atol=1e-3)


def test_rerandomised_weights_give_other_activations_and_the_seed_of_trained_ones_means_nothing(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, activations: FolderArtifact, tmp_path: Path
) -> None:
    kind = kinds["activations"]
    drawn = {"source": str(llama), "weights": "rerandomized_incl_emb", "weights_seed": 3}
    spec = _activations(tokens, llama, model=drawn, max_tokens=200)
    one = run_local(kind, spec, {"tokens": tokens}, tmp_path / "one")
    run_local(kind, _activations(tokens, llama, max_tokens=31), {"tokens": tokens}, tmp_path / "between")
    two = run_local(kind, spec, {"tokens": tokens}, tmp_path / "two")
    assert [p.sha256 for p in one.manifest.parts] == [p.sha256 for p in two.manifest.parts]
    trained = _gathered(activations, "model.layers.1")["activations"][: one.manifest.statistics["token_count"]]  # pyright: ignore
    assert not torch.allclose(_gathered(one, "model.layers.1")["activations"], trained, atol=1e-3)
    seeded = kind.resolve(_activations(tokens, llama, model={"source": str(llama), "weights_seed": 9}))
    assert seeded.model.weights_seed == 0


# ------------------------------------------------------------------- latents


def _coder_artifact(activations: FolderArtifact, folder: Path, d_model: int = 32, **model: Any) -> FolderArtifact:
    """A coder as the trainer commits it, with random weights; `model` changes the ModelRef it was trained on."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(5)
    coder = TopKCoder(d_model, D_SAE, K)
    with torch.no_grad():
        coder.W_enc.copy_(torch.randn(D_SAE, d_model, generator=generator))
        coder.b_enc.copy_(torch.randn(D_SAE, generator=generator) * 0.01)
        coder.b_enc[7] = -100.0
    save(coder, folder)
    parts = [
        PartInfo(n, n, (folder / n).stat().st_size, file_sha256(folder / n)) for n in ("cfg.json", "sae.safetensors")
    ]
    trained_on: Any = {**dict(activations.manifest.spec)["model"], **model}  # type: ignore[dict-item]
    statistics: Any = {"d_model": d_model, "d_sae": D_SAE, "k": K, "hookpoint": "model.layers.1", "model": trained_on}
    spec: Any = {"activations_id": activations.id}
    manifest = Manifest(f"coder-{'0' * 32}", "coder", 1, spec, {"activations": activations.id}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


@pytest.fixture(scope="module")
def coder(activations: FolderArtifact, tmp_path_factory: pytest.TempPathFactory) -> FolderArtifact:
    return _coder_artifact(activations, tmp_path_factory.mktemp("coders") / "coder")


def _latents(tokens: FolderArtifact, coder: FolderArtifact, llama: Path, **fields: Any) -> LatentsSpec:
    given = {"tokens_id": tokens.id, "coder_id": coder.id, "model": {"source": str(llama)}, "rows_per_task": 25}
    return LatentsSpec.model_validate({**given, "batch_size": 4, "window_length": 8, "top_windows": 3, **fields})


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards, and several chunks in each, from little data."""
    monkeypatch.setattr("activation.latents_kind._SHARD_BYTES", 1 << 16)
    monkeypatch.setattr("activation.invert_run._CHUNK_ENTRIES", 1000)
    monkeypatch.setattr("activation.invert_run._CHUNK_LATENTS", 10)


@pytest.mark.usefixtures("small_shards")
def test_the_inverted_layout_is_that_of_a_dense_computation(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, states: torch.Tensor, tmp_path: Path
) -> None:
    spec = _latents(tokens, coder, llama)
    artifact = run_local(kinds["latents"], spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    cache = LatentCache(artifact)
    assert len(cache.index.shard_starts) > 3
    rows = TokenRows(tokens)
    documents = rows.documents(np.arange(len(states)))
    acts, indices = load(coder.path).encode(states.flatten(0, 1))
    dense = torch.zeros(states.shape[0] * states.shape[1], D_SAE).scatter_(1, indices, acts)
    dense = dense.reshape(*states.shape[:2], D_SAE).numpy() * (documents >= 0)[:, :, None]
    for latent in range(D_SAE):
        found = cache.entries(latent)
        expected = np.argwhere(dense[:, :, latent] > 0)
        assert np.stack([found.rows, found.positions], 1).tolist() == expected.tolist()
        np.testing.assert_allclose(found.activations, dense[expected[:, 0], expected[:, 1], latent], rtol=6e-4)
        assert cache.index.firing_count[latent] == len(expected)
        assert cache.index.firing_count_train[latent] == (expected[:, 0] < rows.train_row_count).sum()
    statistics: Any = artifact.manifest.statistics
    assert statistics["entry_count"] == int((dense > 0).sum())
    assert statistics["dead_count"] == int((dense.max((0, 1)) == 0).sum()) >= 1
    assert (statistics["d_sae"], statistics["k"], statistics["hookpoint"]) == (D_SAE, K, "model.layers.1")
    assert statistics["rows"] == [[0, len(states)]]
    assert statistics["token_count"] == statistics["train_token_count"] + statistics["test_token_count"]
    assert statistics["token_count"] == int((documents >= 0).sum())


def _windows(documents: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Row and start of every window, found token by token."""
    found: list[tuple[int, int]] = []
    for row, of_row in enumerate(documents):
        start = 0
        for position in range(len(of_row)):
            if of_row[position] < 0 or of_row[position] != of_row[start]:
                start = position
            if of_row[start] >= 0 and position - start == length - 1:
                found.append((row, start))
                start = position + 1
    return found


def _dense(cache: LatentCache, latent: int, rows: TokenRows) -> np.ndarray:
    """Activations of a latent [row, position]."""
    dense = np.zeros((rows.row_count, rows.ctx_len), np.float32)
    entries = cache.entries(latent)
    dense[entries.rows, entries.positions] = entries.activations
    return dense


@pytest.mark.usefixtures("small_shards")
def test_records_show_the_tokens_and_activations_of_their_place(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec = _latents(tokens, coder, llama, activation_dtype="float32", quantile_windows=1)
    artifact = run_local(kinds["latents"], spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    cache, rows = LatentCache(artifact), TokenRows(tokens)
    token_ids, documents = rows.tokens(np.arange(rows.row_count)), rows.documents(np.arange(rows.row_count))
    windows = _windows(documents, 8)
    for latent, record in cache.examples_of(range(D_SAE)).items():
        dense = _dense(cache, latent, rows)
        peaks = {(r, s): float(dense[r, s : s + 8].max()) for r, s in windows if dense[r, s : s + 8].any()}
        for test, counted in ((False, cache.index.window_count_train), (True, cache.index.window_count_test)):
            fired = sorted(p for (row, _), p in peaks.items() if (row >= rows.train_row_count) == test)
            assert counted[latent] == len(fired)
            assert sorted(record.peaks[record.top & (record.test == test)].tolist()) == fired[-3:]
            deciles = record.deciles[record.sampled & (record.test == test)]
            assert len(set(deciles.tolist())) == len(deciles) == min(10, len(fired))
        for window in (record.window(i) for i in range(len(record))):
            assert (window.row, window.start) in peaks
            span = slice(window.start, window.start + 8)
            assert window.tokens.tolist() == token_ids[window.row, span].tolist()
            assert set(documents[window.row, span].tolist()) == {window.document}
            assert window.split == rows.split(window.row)
            assert window.activations.tolist() == dense[window.row, span].tolist()


@pytest.mark.usefixtures("small_shards")
def test_silent_pools_and_tables_are_those_of_the_entries(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec = _latents(tokens, coder, llama, activation_dtype="float32", token_table=4)
    artifact = run_local(kinds["latents"], spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    cache, rows = LatentCache(artifact), TokenRows(tokens)
    token_ids, documents = rows.tokens(np.arange(rows.row_count)), rows.documents(np.arange(rows.row_count))
    windows, positions = _windows(documents, 8), cache.positions()
    assert positions.totals.tolist() == (documents >= 0).sum(0).tolist()
    table = cache.token_table(range(D_SAE))
    for latent in range(D_SAE):
        dense = _dense(cache, latent, rows)
        assert positions.counts[latent].tolist() == (dense > 0).sum(0).tolist()
        for split in ("train", "test"):
            pool = cache.silent(split)
            mine = [w for w in windows if rows.split(w[0]) == split]  # few enough to be in the pool, all of them
            assert list(zip(pool.rows.tolist(), pool.starts.tolist(), strict=True)) == mine
            silent = [i for i, (row, start) in enumerate(mine) if not dense[row, start : start + 8].any()]
            assert pool.silent(latent).tolist() == silent
        fires = [r for r in table if r["latent"] == latent and r["table"] == "fires"]
        weights = np.bincount(token_ids.reshape(-1), dense.reshape(-1).astype(np.float64))
        assert [r["weight"] for r in fires] == pytest.approx(np.sort(weights[weights > 0])[::-1][:4], rel=1e-6)
        assert cache.index.distinct_token_count[latent] == (weights > 0).sum()


@pytest.mark.usefixtures("small_shards")
def test_latents_are_the_same_bytes_whatever_the_order_of_tasks(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec, inputs = _latents(tokens, coder, llama), {"tokens": tokens, "coder": coder}
    one = run_local(kinds["latents"], spec, inputs, tmp_path / "one")
    other = run_local(kinds["latents"], spec, inputs, tmp_path / "other", order=reversed_order)
    assert [(p.name, p.sha256) for p in one.manifest.parts] == [(p.name, p.sha256) for p in other.manifest.parts]
    assert one.manifest.statistics == other.manifest.statistics
    shards = len(LatentCache(one).index.shard_starts) - 1
    names = [f"{name}-{i:05d}.safetensors" for i in range(shards) for name in ("entries", "examples")]
    others = ["index.safetensors", "positions.safetensors", "silent.safetensors", "tokens.parquet"]
    assert sorted(p.name for p in one.manifest.parts) == sorted([*names, *others])


@pytest.mark.usefixtures("small_shards")
def test_entries_and_windows_are_the_same_bytes_whatever_the_rows_of_a_task(
    kinds: Kinds,
    tokens: FolderArtifact,
    coder: FolderArtifact,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Chunks so small that latents of some entries are streamed, a few rows at a time.
    monkeypatch.setattr("activation.invert_run._CHUNK_ENTRIES", 20)
    inputs = {"tokens": tokens, "coder": coder}
    # Whole batches in every task: a batch of another size may be rounded otherwise.
    many = _latents(tokens, coder, llama, rows_per_task=24)
    one = run_local(kinds["latents"], many, inputs, tmp_path / "one")
    few = _latents(tokens, coder, llama, rows_per_task=12)
    other = run_local(kinds["latents"], few, inputs, tmp_path / "other")
    for part in one.manifest.parts:
        if part.name.startswith(("entries", "examples", "silent", "positions")):
            assert other.read(part.name) == one.read(part.name), part.name


def test_latents_of_some_tokens_are_of_both_splits(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec = _latents(tokens, coder, llama, max_tokens=600, top_windows=0)
    artifact = run_local(kinds["latents"], spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    statistics: Any = artifact.manifest.statistics
    table: Any = tokens.manifest.statistics
    (_, train), (first, end) = statistics["rows"]
    assert first == table["train_row_count"]
    assert train + end - first == statistics["row_count"] == -(-600 // 31)
    assert abs((end - first) / statistics["row_count"] - table["test_row_count"] / table["row_count"]) < 0.1
    assert not any(r.top.any() for r in LatentCache(artifact).examples_of([0, 1]).values())


# ----------------------------------------------------------------- bad input


def _info(artifact: FolderArtifact, **changes: Any) -> InputInfo:
    manifest = artifact.manifest
    statistics = {**manifest.statistics, **changes}
    changed = Manifest(manifest.id, manifest.kind, 1, manifest.spec, manifest.inputs, manifest.parts, statistics)
    return InputInfo(manifest.id, manifest.kind, manifest.spec, changed, manifest.inputs)


def _refusal(kind: AnyKind, spec: Any, inputs: dict[str, InputInfo]) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        kind.check(kind.resolve(spec), inputs)
    return caught.value


def test_an_unknown_hookpoint_is_refused_at_submit(kinds: Kinds, tokens: FolderArtifact, llama: Path) -> None:
    error = _refusal(kinds["activations"], _activations(tokens, llama, hookpoints=["layers.1", "layers.1.mpl"]), {})
    assert error.violations[0].field == "hookpoints[1]"
    assert "LlamaForCausalLM has no hookpoint 'layers.1.mpl'; the nearest are layers.1.mlp" in error.message


def test_an_unknown_model_is_refused_at_submit(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    beside = str(llama.parent / "lama")
    error = _refusal(kinds["activations"], _activations(tokens, llama, model={"source": beside}), {})
    assert error.violations[0].field == "model.source"
    assert "did you mean 'llama'?" in error.message
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    error = _refusal(kinds["activations"], _activations(tokens, llama, model={"source": str(tmp_path)}), {})
    assert ".bin and .pt files are pickles and are not loaded" in error.message


def test_a_model_that_transformers_does_not_know_is_refused(
    kinds: Kinds, tokens: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "perceptron"}))
    error = _refusal(kinds["activations"], _activations(tokens, llama, model={"source": str(tmp_path)}), {})
    assert "its configuration cannot be used" in error.message
    assert "perceptron" in error.message


def test_a_fingerprint_that_does_not_match_is_refused(kinds: Kinds, tokens: FolderArtifact, llama: Path) -> None:
    model = {"source": str(llama), "fingerprint": "f" * 64}
    error = _refusal(kinds["activations"], _activations(tokens, llama, model=model), {})
    assert error.violations[0].field == "model.fingerprint"


def test_tokens_that_do_not_fit_the_model_are_refused(kinds: Kinds, tokens: FolderArtifact, llama: Path) -> None:
    kind, spec = kinds["activations"], _activations(tokens, llama)
    error = _refusal(kind, spec, {"tokens": _info(tokens, vocab_size=301)})
    assert "has 301 tokens, the model has embeddings for 300" in error.message
    long = InputInfo(tokens.id, "tokens", {**tokens.manifest.spec, "ctx_len": 129}, None)
    assert "have 129 tokens; LlamaForCausalLM takes at most 128" in _refusal(kind, spec, {"tokens": long}).message
    waiting = InputInfo(tokens.id, "tokens", tokens.manifest.spec, None)
    kind.check(kind.resolve(spec), {"tokens": waiting})


def test_an_input_of_another_kind_is_refused(
    kinds: Kinds, tokens: FolderArtifact, activations: FolderArtifact, llama: Path
) -> None:
    error = _refusal(kinds["activations"], _activations(tokens, llama), {"tokens": _info(activations)})
    assert f"{activations.id} is an artifact of kind 'activations'; expected kind 'tokens'" in error.message


def test_an_empty_split_and_too_many_tasks_are_refused(kinds: Kinds, tokens: FolderArtifact, llama: Path) -> None:
    kind = kinds["activations"]
    empty = _info(tokens, train_row_count=tokens.manifest.statistics["row_count"])
    error = _refusal(kind, _activations(tokens, llama, split="test"), {"tokens": empty})
    assert "the split 'test' of these tokens has no rows" in error.message
    many = _info(tokens, row_count=30_000, train_row_count=20_000)
    error = _refusal(kind, _activations(tokens, llama, rows_per_task=2), {"tokens": many})
    assert "30,000 rows in tasks of 2 are more than 10,000 tasks; use at least 4" in error.message


@pytest.mark.parametrize(
    ("model", "field", "message"),
    [
        ({"weights": "rerandomized_incl_emb"}, "model.weights", "with weights 'rerandomized_incl_emb'"),
        ({"dtype": "bfloat16"}, "model.dtype", "with dtype 'bfloat16'"),
        ({"fingerprint": "a" * 64}, "model.fingerprint", "with fingerprint 'aaaa"),
    ],
)
def test_a_coder_of_another_model_is_refused_and_the_difference_named(
    kinds: Kinds, tokens: FolderArtifact, activations: FolderArtifact, llama: Path, tmp_path: Path,
    model: dict[str, str], field: str, message: str,
) -> None:  # fmt: skip
    other = _coder_artifact(activations, tmp_path / "coder", **model)
    error = _refusal(kinds["latents"], _latents(tokens, other, llama), {"tokens": _info(tokens), "coder": _info(other)})
    assert [v.field for v in error.violations] == [field]
    assert message in error.message
    assert "they must be the same" in error.message


def test_the_seed_of_drawn_weights_must_be_the_coders(
    kinds: Kinds, tokens: FolderArtifact, activations: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    drawn = {"weights": "rerandomized_incl_emb", "weights_seed": 1}
    other = _coder_artifact(activations, tmp_path / "coder", **drawn)
    spec = _latents(tokens, other, llama, model={"source": str(llama), **drawn, "weights_seed": 2})
    error = _refusal(kinds["latents"], spec, {"tokens": _info(tokens), "coder": _info(other)})
    assert [v.field for v in error.violations] == ["model.weights_seed"]


def test_a_coder_of_another_width_is_refused(
    kinds: Kinds, tokens: FolderArtifact, activations: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    wide = _coder_artifact(activations, tmp_path / "coder", d_model=40)
    error = _refusal(kinds["latents"], _latents(tokens, wide, llama), {"tokens": _info(tokens), "coder": _info(wide)})
    assert "the coder takes vectors of 40, model.layers.1 of LlamaForCausalLM has 32" in error.message


def test_a_window_longer_than_a_row_is_refused(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path
) -> None:
    spec = _latents(tokens, coder, llama, window_length=33)
    error = _refusal(kinds["latents"], spec, {"tokens": _info(tokens), "coder": _info(coder)})
    assert error.violations[0].field == "window_length"
    assert "windows of 33 tokens are longer than the rows" in error.message


def test_a_hookpoint_named_twice_is_refused(tokens: FolderArtifact, llama: Path) -> None:
    with pytest.raises(ValidationError, match="a hookpoint is named twice"):
        _activations(tokens, llama, hookpoints=["layers.1", "layers.1"])
