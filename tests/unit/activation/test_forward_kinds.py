"""The activations and latents kinds over a tiny model, against what the whole model says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from activation.spec import ActivationsSpec, LatentsSpec, TokensSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
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
        np.testing.assert_allclose(found.activations, dense[expected[:, 0], expected[:, 1], latent], rtol=1e-4)
        assert cache.index.firing_count[latent] == len(expected)
        assert cache.index.firing_count_train[latent] == (expected[:, 0] < rows.train_row_count).sum()
    statistics: Any = artifact.manifest.statistics
    assert statistics["entry_count"] == int((dense > 0).sum())
    assert statistics["dead_count"] == int((dense.max((0, 1)) == 0).sum()) >= 1
    assert (statistics["d_sae"], statistics["k"], statistics["hookpoint"]) == (D_SAE, K, "model.layers.1")
    assert statistics["rows"] == [[0, len(states)]]
    assert statistics["token_count"] == statistics["train_token_count"] + statistics["test_token_count"]
    assert statistics["token_count"] == int((documents >= 0).sum())


@pytest.mark.usefixtures("small_shards")
def test_top_windows_show_the_tokens_and_activations_of_their_place(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec = _latents(tokens, coder, llama)
    artifact = run_local(kinds["latents"], spec, {"tokens": tokens, "coder": coder}, tmp_path / "latents")
    cache, rows = LatentCache(artifact), TokenRows(tokens)
    windows = cache.top_windows(range(D_SAE))
    assert sum(len(w) for w in windows.values()) > D_SAE
    for latent, found in windows.items():
        assert [w.max for w in found] == sorted((w.max for w in found), reverse=True)
        assert len(found) <= 3
        entries = cache.entries(latent)
        for window in found:
            span = slice(window.start, window.start + 8)
            assert window.tokens.tolist() == rows.tokens(np.asarray([window.row]))[0, span].tolist()
            assert set(rows.documents(np.asarray([window.row]))[0, span].tolist()) == {window.document}
            assert window.split == rows.split(window.row)
            inside = (
                (entries.rows == window.row)
                & (entries.positions // 1 >= window.start)
                & (entries.positions < window.start + 8)
            )
            dense = np.zeros(8, np.float32)
            dense[entries.positions[inside] - window.start] = entries.activations[inside]
            assert window.activations.tolist() == dense.tolist()
    table = pq.read_table(artifact.download("top_windows.parquet"))
    assert table["rank"].to_pylist() == [r for w in windows.values() for r in range(len(w))]


@pytest.mark.usefixtures("small_shards")
def test_latents_are_the_same_bytes_whatever_the_order_of_tasks(
    kinds: Kinds, tokens: FolderArtifact, coder: FolderArtifact, llama: Path, tmp_path: Path
) -> None:
    spec, inputs = _latents(tokens, coder, llama), {"tokens": tokens, "coder": coder}
    one = run_local(kinds["latents"], spec, inputs, tmp_path / "one")
    other = run_local(kinds["latents"], spec, inputs, tmp_path / "other", order=reversed_order)
    assert [(p.name, p.sha256) for p in one.manifest.parts] == [(p.name, p.sha256) for p in other.manifest.parts]
    assert one.manifest.statistics == other.manifest.statistics
    names = [p.name for p in one.manifest.parts]
    assert names == [f"entries-{i:05d}.safetensors" for i in range(len(names) - 2)] + [
        "index.safetensors",
        "top_windows.parquet",
    ]


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
    assert LatentCache(artifact).top_windows([0, 1]) == {0: [], 1: []}


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
