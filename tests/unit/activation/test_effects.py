"""The effects kind over tiny models, against passes of the whole model written out."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from activation.config import Config
from activation.effects_kind import EffectsKind
from activation.kinds import build
from activation.spec import EffectsSpec, LatentsSpec, TokensSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache import LatentCache, TokenRows
from sparse_coders import TopKCoder, load, save
from transformers import AutoModelForCausalLM

from tests.support.local_run import reversed_order, run_local
from tests.support.tiny import LAST_BUT_ONE, tiny_model

Kinds = dict[str, AnyKind]
D_SAE, K = 64, 4
DEAD = 7


class Folders:
    """Artifacts of artifacts, as the store gives them."""

    def __init__(self, *artifacts: FolderArtifact) -> None:
        self._artifacts = {artifact.id: artifact for artifact in artifacts}

    def artifact(self, artifact_id: str, /) -> FolderArtifact:
        return self._artifacts[artifact_id]

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        found = self._artifacts.get(artifact_id)
        return None if found is None else found.manifest


class World:
    """A model of an architecture, a coder with random weights, and where its latents fire."""

    def __init__(self, kinds: Kinds, name: str, model: Path, tokens: FolderArtifact, root: Path, **ref: Any) -> None:
        source = {"source": str(model), **ref}
        hookpoint = LAST_BUT_ONE[name]
        self.hookpoint = hookpoint
        self.model_folder = model
        self.tokens = tokens
        latents_kind: Any = kinds["latents"]
        described = latents_kind.resolve(
            LatentsSpec.model_validate({"tokens_id": "t", "model": source, "coder_id": "c"})
        )
        self.coder = _coder_artifact(root / "coder", hookpoint, described.model.model_dump(mode="json"))
        spec = LatentsSpec.model_validate(
            {"tokens_id": tokens.id, "coder_id": self.coder.id, "model": source, "window_length": 8}
        )
        inputs = {"tokens": tokens, "coder": self.coder}
        self.latents = run_local(latents_kind, spec, inputs, root / "latents")
        folders = Folders(tokens, self.coder)
        self.kind = EffectsKind(folders, latents_kind._model, latents_kind._coder)

    @cache  # noqa: B019
    def whole(self) -> Any:
        """The model as transformers loads it."""
        return AutoModelForCausalLM.from_pretrained(self.model_folder).eval()

    def spec(self, **fields: Any) -> EffectsSpec:
        given = {"prompt_count": 6, "prompt_tokens": 10, "new_tokens": 3, "top_tokens": 5, "latents_per_task": 2}
        return EffectsSpec.model_validate({"latents_id": self.latents.id, **given, **fields})

    def run(self, folder: Path, order: Any = None, **fields: Any) -> FolderArtifact:
        return run_local(self.kind, self.spec(**fields), {"latents": self.latents}, folder, order=order)


def _coder_artifact(folder: Path, hookpoint: str, model: dict[str, Any]) -> FolderArtifact:
    folder.mkdir(parents=True)
    coder = TopKCoder(32, D_SAE, K)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        coder.W_enc.copy_(torch.randn(D_SAE, 32, generator=generator))
        coder.W_dec.copy_(torch.nn.functional.normalize(torch.randn(D_SAE, 32, generator=generator)))
        coder.b_enc[DEAD] = -1e6
    save(coder, folder)
    parts = [PartInfo(p.name, p.name, p.stat().st_size, file_sha256(p)) for p in sorted(folder.iterdir())]
    statistics: Any = {"d_model": 32, "d_sae": D_SAE, "k": K, "hookpoint": hookpoint, "model": model}
    manifest = Manifest(f"coder-{'0' * 32}", "coder", 1, {}, {}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


def _table(artifact: FolderArtifact, name: str) -> list[dict[str, Any]]:
    return pq.read_table(artifact.download(f"{name}.parquet")).to_pylist()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    """One thread: what these passes hold is too little for two."""
    return {k.name: k for k in build(Config(tmp_path_factory.mktemp("cache"), 1, "cpu"), None)}


@pytest.fixture(scope="module")
def tokens(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = TokensSpec.model_validate(
        {
            "source": str(corpus),
            "tokenizer": str(tokenizer_folder),
            "ctx_len": 32,
            "bos": "always",
            "test_fraction": 0.3,
        }
    )
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def worlds(
    kinds: Kinds, tokens: FolderArtifact, model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], World]:
    made: dict[str, World] = {}

    def world(name: str) -> World:
        if name not in made:
            made[name] = World(kinds, name, model_folder(name), tokens, tmp_path_factory.mktemp(name))
        return made[name]

    return world


def _logits(world: World, prompt: dict[str, Any], change: torch.Tensor | None, first: int = -1) -> torch.Tensor:
    """Logits after a prompt by the plain whole model, `change` added to the residual stream from `first` on."""
    model = world.whole()
    bos = world.tokens.manifest.statistics["bos_token_id"]
    ids = torch.tensor([[bos, *prompt["tokens"]]])

    def add(module: Any, args: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if change is not None:
            states = states.clone()
            states[:, first:] += change
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = model.get_submodule(world.hookpoint).register_forward_hook(add)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -1]
    handle.remove()
    return logits


def _kl(clean: torch.Tensor, other: torch.Tensor) -> float:
    p, q = clean.log_softmax(-1), other.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gpt2", "gemma2", "mamba", "rwkv"])
def test_effects_are_those_of_the_whole_model_with_the_direction_added(
    worlds: Callable[[str], World], name: str, tmp_path: Path
) -> None:
    world = worlds(name)
    made = world.run(tmp_path / "e", selection={"ranks": [0, 3, 9]}, strengths=[0.0, 0.5], prompt_count=3)
    index = LatentCache(world.latents).index
    directions = load(world.coder.path).W_dec
    prompts, effects = _table(made, "prompts"), _table(made, "effects")
    assert [row["rank"] for row in effects] == [0, 0, 3, 3, 9, 9]
    for row in effects:
        own = [p for p in prompts if p["latent"] == row["latent"]]
        assert row["prompt_count"] == len(own) == len(row["kl_by_prompt"]) == 3
        if row["strength"] == 0:
            assert row["kl"] == pytest.approx(0, abs=1e-6)
            continue
        assert row["strength"] == pytest.approx(0.5 * index.max_activation[row["latent"]], rel=1e-6)
        change = row["strength"] * directions[row["latent"]]
        clean = [_logits(world, p, None) for p in own]
        steered = [_logits(world, p, change) for p in own]
        expected = [_kl(a, b) for a, b in zip(clean, steered, strict=True)]
        np.testing.assert_allclose(row["kl_by_prompt"], expected, rtol=1e-3, atol=1e-6)
        assert row["kl"] == pytest.approx(np.mean(expected), rel=1e-3)
        assert row["kl"] > 1e-4
        moved = torch.stack([b.log_softmax(-1) - a.log_softmax(-1) for a, b in zip(clean, steered, strict=True)]).mean(
            0
        )
        assert row["raised_tokens"][0] == int(moved.argmax())
        assert row["lowered_tokens"][0] == int(moved.argmin())
        np.testing.assert_allclose(row["raised_log_prob_changes"], moved[row["raised_tokens"]], rtol=1e-2, atol=1e-4)


def test_prompts_end_at_the_first_token_that_fires(worlds: Callable[[str], World], tmp_path: Path) -> None:
    world = worlds("llama")
    made = world.run(tmp_path / "e", selection={"count": 5}, strengths=[1.0], new_tokens=0)
    rows, latents = TokenRows(world.tokens), LatentCache(world.latents)
    prompts = _table(made, "prompts")
    assert len({p["latent"] for p in prompts}) == 5
    for prompt in prompts:
        entries = latents.entries(prompt["latent"])
        fires = set(zip(entries.rows.tolist(), entries.positions.tolist(), strict=True))
        places = [(prompt["row"], prompt["start"] + i) for i in range(len(prompt["tokens"]))]
        assert [place in fires for place in places] == [False] * (len(places) - 1) + [True]
        assert rows.split(prompt["row"]) == "train"
        assert 1 <= len(places) <= 10
        row = np.asarray([prompt["row"]])
        span = slice(prompt["start"], prompt["start"] + len(places))
        assert rows.tokens(row)[0, span].tolist() == prompt["tokens"]
        assert len(set(rows.documents(row)[0, span].tolist())) == 1
        if prompt["start"] == 1:
            assert prompt["activation"] == pytest.approx(prompt["cached_activation"], rel=2e-3), "BOS and the same text"
    assert any(p["start"] == 1 for p in prompts)


def test_the_search_reaches_every_target_and_says_where_it_does_not(
    kinds: Kinds, tokens: FolderArtifact, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight *= 40  # random weights say nothing of the next token, and no KL would be large
    model.save_pretrained(tmp_path / "model")
    world = World(kinds, "llama", tmp_path / "model", tokens, tmp_path / "w")
    made = world.run(tmp_path / "e", selection={"ranks": [1, 2, 5]}, new_tokens=0, latents_per_task=3)
    effects = _table(made, "effects")
    assert [row["kl_target"] for row in effects] == [0.1, 0.33, 1.0, 3.0] * 3
    for row in effects:
        assert row["converged"] is True
        assert row["kl"] == pytest.approx(row["kl_target"], rel=0.1)
        assert row["kl"] == pytest.approx(np.mean(row["kl_by_prompt"]), rel=1e-5)
    reached: Any = made.manifest.statistics["converged"]
    assert reached == {target: {"fraction": 1.0, "count": 3, "n": 3} for target in ("0.1", "0.33", "1", "3")}
    hopeless = world.run(tmp_path / "h", selection={"ranks": [1]}, kl_targets=[90.0], new_tokens=0)
    (row,) = _table(hopeless, "effects")
    assert row["converged"] is False
    assert 3 < row["kl"] < 81
    assert hopeless.manifest.statistics["converged"] == {"90": {"fraction": 0.0, "count": 0, "n": 1}}


def test_latents_together_are_latents_alone_in_any_order_of_tasks(
    worlds: Callable[[str], World], tmp_path: Path
) -> None:
    world = worlds("llama")
    fields: dict[str, Any] = {"selection": {"ranks": [1, 2, 5, 8]}, "strengths": [2.0]}
    together = world.run(tmp_path / "t", latents_per_task=4, batch_size=64, **fields)
    alone = world.run(tmp_path / "a", latents_per_task=1, batch_size=1, **fields)
    for one, other in zip(_table(together, "effects"), _table(alone, "effects"), strict=True):
        assert one["raised_tokens"][:2] == other["raised_tokens"][:2]
        np.testing.assert_allclose(one["kl_by_prompt"], other["kl_by_prompt"], rtol=1e-3, atol=1e-6)
    assert _table(together, "continuations") == _table(alone, "continuations")
    two = world.run(tmp_path / "two", **fields)
    again = world.run(tmp_path / "again", order=reversed_order, **fields)
    assert [p.sha256 for p in two.manifest.parts] == [p.sha256 for p in again.manifest.parts]
    assert two.manifest.statistics == again.manifest.statistics


def test_continuations_of_strength_0_are_the_clean_ones_and_greedy_ones_those_of_generate(
    worlds: Callable[[str], World], tmp_path: Path
) -> None:
    world = worlds("llama")
    made = world.run(tmp_path / "e", selection={"ranks": [1, 2]}, strengths=[0.0, 20.0], new_tokens=6)
    rows = _table(made, "continuations")
    clean = {(r["latent"], r["prompt"]): r["tokens"] for r in rows if r["arm"] == "clean"}
    steered = [(r, clean[r["latent"], r["prompt"]]) for r in rows if r["arm"] == "steered"]
    assert all(r["tokens"] == other for r, other in steered if r["strength"] == 0)
    assert any(r["tokens"] != other for r, other in steered if r["strength"] > 0)
    assert len({tuple(tokens) for tokens in clean.values()}) > 3, "each prompt has random numbers of its own"
    greedy = world.run(tmp_path / "g", selection={"ranks": [1]}, strengths=[1.0], new_tokens=4, temperature=0)
    prompts = {p["prompt"]: p for p in _table(greedy, "prompts")}
    model = world.whole()
    for row in _table(greedy, "continuations"):
        if row["arm"] == "clean":
            ids = [world.tokens.manifest.statistics["bos_token_id"], *prompts[row["prompt"]]["tokens"]]
            for token in row["tokens"]:
                assert int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == token
                ids.append(token)


@pytest.mark.parametrize("name", ["llama", "rwkv"])
def test_every_token_but_bos_is_steered_when_asked_for(
    worlds: Callable[[str], World], name: str, tmp_path: Path
) -> None:
    world = worlds(name)
    made = world.run(
        tmp_path / "e", selection={"ranks": [0]}, strengths=[1.0], positions="all", new_tokens=0, prompts="random"
    )
    (row,) = _table(made, "effects")
    change = row["strength"] * load(world.coder.path).W_dec[row["latent"]]
    prompts = _table(made, "prompts")
    expected = [_kl(_logits(world, p, None), _logits(world, p, change, 1)) for p in prompts]
    np.testing.assert_allclose(row["kl_by_prompt"], expected, rtol=1e-3, atol=1e-6)
    last = [_kl(_logits(world, p, None), _logits(world, p, change)) for p in prompts]
    assert not np.allclose(row["kl_by_prompt"], last, rtol=1e-2)


def test_random_prompts_are_the_same_for_every_latent(worlds: Callable[[str], World], tmp_path: Path) -> None:
    world = worlds("llama")
    made = world.run(tmp_path / "e", selection={"ranks": [0, 9]}, strengths=[1.0], prompts="random", split="test")
    prompts = _table(made, "prompts")
    places = [(p["row"], p["start"], p["tokens"]) for p in prompts]
    assert places[:6] == places[6:]
    assert len({(row, start) for row, start, _ in places}) == 6
    first_test = TokenRows(world.tokens).train_row_count
    assert all(row >= first_test for row, _, _ in places)


def test_an_ablated_latent_is_its_activation_taken_away(worlds: Callable[[str], World], tmp_path: Path) -> None:
    world = worlds("llama")
    made = world.run(tmp_path / "e", selection={"ranks": [2]}, intervention="zero", new_tokens=0)
    (row,) = _table(made, "effects")
    assert row["strength"] is None
    assert row["kl_target"] is None
    assert row["converged"] is None
    direction = load(world.coder.path).W_dec[row["latent"]]
    prompts = _table(made, "prompts")
    expected = [_kl(_logits(world, p, None), _logits(world, p, -p["activation"] * direction)) for p in prompts]
    np.testing.assert_allclose(row["kl_by_prompt"], expected, rtol=1e-3, atol=1e-6)
    assert any(p["activation"] > 0 for p in prompts)


def test_directions_in_the_vocabulary_and_latents_without_prompts(
    worlds: Callable[[str], World], tmp_path: Path
) -> None:
    world = worlds("llama")
    ranking = LatentCache(world.latents).index.ranking()
    alive = int(ranking[0])
    made = world.run(tmp_path / "e", selection={"latents": [DEAD, alive]}, strengths=[1.0], new_tokens=0)
    dead, measured = _table(made, "logits")
    assert (dead["outcome"], measured["outcome"]) == ("dead", "measured")
    assert dead["prompt_count"] == 0
    model = world.whole()
    with torch.no_grad():
        logits = model.lm_head(model.model.norm(load(world.coder.path).W_dec[alive]))
    assert measured["top_tokens"] == logits.topk(5).indices.tolist()
    np.testing.assert_allclose(measured["bottom_logits"], logits.sort().values[:5].tolist(), rtol=1e-4)
    statistics: Any = made.manifest.statistics
    named = ("total", "selected", "selected_dead", "without_prompts", "measured")
    assert [statistics[name] for name in named] == [D_SAE, 2, 1, 0, 1]
    assert "trained" in statistics["weights"]
    assert statistics["prefix_reuse"] is True


def test_control_weights_see_the_noise_of_the_prompts_place(
    kinds: Kinds, tokens: FolderArtifact, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    world = World(kinds, "llama", model_folder("llama"), tokens, tmp_path / "w", weights="control")
    made = world.run(tmp_path / "e", selection={"ranks": [0, 1, 2]}, strengths=[1.0], prompt_count=40)
    at_start = [p for p in _table(made, "prompts") if p["start"] == 1]
    assert at_start
    for prompt in at_start:
        assert prompt["activation"] == pytest.approx(prompt["cached_activation"], rel=2e-3)


# --------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"selection": {"latents": [0, D_SAE]}}, r"selection.latents\[1\]"),
        ({"selection": {"ranks": [D_SAE]}}, r"selection.ranks\[0\]"),
        ({"selection": {"count": D_SAE + 1}}, "selection.count"),
        ({"prompt_tokens": 32}, "prompt_tokens"),
    ],
)
def test_what_cannot_be_is_refused_at_submit(
    worlds: Callable[[str], World], fields: dict[str, Any], field: str
) -> None:
    world = worlds("llama")
    manifest = world.latents.manifest
    info = InputInfo(manifest.id, manifest.kind, manifest.spec, manifest, manifest.inputs)
    with pytest.raises(InvalidSpec, match=field):
        world.kind.check(world.spec(**fields), {"latents": info})


def test_another_kind_of_artifact_is_refused(worlds: Callable[[str], World]) -> None:
    world = worlds("llama")
    with pytest.raises(InvalidSpec, match="not a latents artifact"):
        world.kind.resolve(world.spec(latents_id=world.tokens.id))


def test_a_split_that_was_not_read_is_refused(worlds: Callable[[str], World]) -> None:
    world = worlds("llama")
    manifest = world.latents.manifest
    info = InputInfo(manifest.id, manifest.kind, {**manifest.spec, "split": "test"}, manifest, manifest.inputs)
    with pytest.raises(InvalidSpec, match="has read test documents only"):
        world.kind.check(world.spec(split="train"), {"latents": info})


def test_no_latent_that_fires_often_enough_is_an_error(worlds: Callable[[str], World], tmp_path: Path) -> None:
    with pytest.raises(UserTaskError, match="fires in 1000 places"):
        worlds("llama").run(tmp_path / "e", strengths=[1.0], prompt_count=1000, selection={"count": 3})


def test_a_strength_that_overflows_is_an_error_that_names_the_latent(
    kinds: Kinds, tokens: FolderArtifact, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    world = World(kinds, "gpt2", model_folder("gpt2"), tokens, tmp_path / "w", dtype="float16")
    with pytest.raises(UserTaskError, match="makes the model's logits NaN or infinite"):
        world.run(tmp_path / "e", selection={"ranks": [0]}, strengths=[1e6])
