"""What a spec says of its model: resolved, written out in words, and refused where it cannot be meant."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dragoman.errors import InvalidSpec
from dragoman.host_memory import host_memory_bytes
from hooked_models.describe import Refused, describe_model
from hooked_models.description import Descriptions
from hooked_models.locations import Locations
from hooked_models.memory import does_not_fit
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import ModelRefs, initial_place, weights_origin
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support.tiny import tiny_model

MAIN, STEP0 = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"
Refs = Callable[..., ModelRefs]


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> Refs:
    """Makes ModelRefs that share what is known of models."""
    cache = tmp_path_factory.mktemp("cache")
    locations = Locations(cache, None)
    return lambda **fields: ModelRefs(locations, Descriptions(cache, locations), **fields)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the tiny Llama."""
    import torch

    folder = tmp_path_factory.mktemp("checkpoint")
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    model.save_pretrained(folder)
    return folder


def _refusal(refs: ModelRefs, **fields: Any) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        refs.resolve(ModelRef(**fields))
    return caught.value


@pytest.mark.usefixtures("without_a_child")
@pytest.mark.parametrize(
    ("weights", "kept", "words"),
    [
        ("trained", 0, "trained weights, sha256 "),
        ("rerandomized_incl_emb", 9, "every tensor, embeddings included, redrawn"),
        ("rerandomized_excl_emb", 9, "every tensor but token embedding and unembedding redrawn"),
        ("step0", 9, "step 0: the architecture's own initialisation, seed 9"),
        ("control", 9, "each token occurrence's input embedding replaced by standard Gaussian noise, seed 9"),
    ],
)
def test_a_seed_is_kept_where_something_is_drawn(
    refs: Refs, model_folder: Callable[[str], Path], weights: Any, kept: int, words: str
) -> None:
    resolved = refs().resolve(ModelRef(source=str(model_folder("llama")), weights=weights, weights_seed=9))
    assert resolved.weights_seed == kept
    assert words in weights_origin(resolved)
    assert refs().resolve(resolved) == resolved


@pytest.mark.usefixtures("without_a_child")
def test_step_0_of_a_folder_has_the_checkpoints_sum_and_no_seed(
    refs: Refs, model_folder: Callable[[str], Path], checkpoint: Path
) -> None:
    given = ModelRef(
        source=str(model_folder("llama")), weights="step0", weights_seed=9, initial_weights=str(checkpoint)
    )
    resolved = refs().resolve(given)
    assert resolved.weights_seed == 0
    assert resolved.initial_weights == str(checkpoint)
    assert resolved.initial_weights_fingerprint not in {"", resolved.fingerprint}
    assert weights_origin(resolved) == f"step 0: a checkpoint, sha256 {resolved.initial_weights_fingerprint[:16]}"
    assert refs().resolve(resolved) == resolved
    stale = {**given.model_dump(), "initial_weights_fingerprint": "ab" * 32}
    error = _refusal(refs(), **stale)
    assert error.reason == "FINGERPRINT_MISMATCH"
    assert error.violations[0].field == "model.initial_weights_fingerprint"


@pytest.mark.usefixtures("without_a_child")
def test_a_revision_of_the_same_hub_id_becomes_its_commit(
    refs: Refs, model_folder: Callable[[str], Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--me--tiny"
    (repo / "refs").mkdir(parents=True)
    for name, commit, folder in (("main", MAIN, model_folder("llama")), ("step0", STEP0, checkpoint)):
        (repo / "refs" / name).write_text(commit)
        shutil.copytree(folder, repo / "snapshots" / commit)
    resolved = refs().resolve(ModelRef(source="me/tiny", weights="step0", initial_weights="@step0"))
    assert (resolved.revision, resolved.initial_weights) == (MAIN, f"me/tiny@{STEP0}")
    assert initial_place(resolved) == ("me/tiny", STEP0)
    assert weights_origin(resolved) == f"step 0: a checkpoint, me/tiny at revision {STEP0}"
    assert refs().resolve(resolved) == resolved
    named = ModelRef(source="me/tiny", weights="step0", initial_weights="me/tiny@step0")
    assert refs().resolve(named) == resolved
    trained = refs().resolve(ModelRef(source="me/tiny"))
    assert weights_origin(trained) == f"trained weights, me/tiny at revision {MAIN}"


@pytest.mark.usefixtures("without_a_child")
def test_step_0_that_cannot_be_that_of_the_model_is_refused(
    refs: Refs, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    source = str(model_folder("llama"))
    error = _refusal(refs(), source=source, weights="step0", initial_weights="@step0")
    assert (error.violations[0].field, error.reason) == ("model.initial_weights", "NO_HUB_ID")
    error = _refusal(refs(), source=source, weights="step0", initial_weights=source)
    assert error.reason == "SAME_WEIGHTS"
    error = _refusal(refs(), source=source, weights="step0", initial_weights=str(model_folder("gpt2")))
    assert error.reason == "OTHER_MODEL"
    assert "it is a GPT2LMHeadModel, the model a LlamaForCausalLM" in error.message
    config = LlamaConfig.from_pretrained(source)
    config.intermediate_size = 40
    LlamaForCausalLM(config).save_pretrained(tmp_path / "narrow")
    error = _refusal(refs(), source=source, weights="step0", initial_weights=str(tmp_path / "narrow"))
    assert "model.layers.0.mlp.down_proj.weight has shape [32, 40], in the model [32, 48]" in error.message
    error = _refusal(refs(), source=source, weights="step0", initial_weights="./nowhere")
    assert (error.violations[0].field, error.reason) == ("model.initial_weights", "MODEL_NOT_FOUND")


@pytest.mark.usefixtures("without_a_child")
def test_a_model_that_no_worker_can_hold_is_refused_with_both_sizes(
    refs: Refs, model_folder: Callable[[str], Path]
) -> None:
    source = str(model_folder("llama"))
    described = refs().describe(refs().resolve(ModelRef(source=source)))
    assert described.parameter_count == sum(p.numel() for p in tiny_model("llama").parameters())
    size = 4 * described.parameter_count
    assert refs(memory_bytes=size).resolve(ModelRef(source=source))
    error = _refusal(refs(memory_bytes=size - 1), source=source)
    assert (error.violations[0].field, error.reason) == ("model.source", "MODEL_TOO_LARGE")
    assert refs(memory_bytes=size // 2).resolve(ModelRef(source=source, dtype="bfloat16"))


def test_both_sizes_are_said() -> None:
    said = does_not_fit(6_900_000_000, "float32", 16 << 30, "a worker")
    assert said is not None
    assert "its 6,900,000,000 parameters take 25.7 GiB as float32, a worker has 16 GiB; use bfloat16" in said
    assert does_not_fit(6_900_000_000, "bfloat16", 16 << 30, "a worker") is None


def test_memory_is_the_smaller_of_machine_and_control_group(tmp_path: Path) -> None:
    machine = host_memory_bytes(())
    (tmp_path / "limit").write_text("4096000\n")
    (tmp_path / "none").write_text("max\n")
    assert host_memory_bytes((tmp_path / "none", tmp_path / "absent")) == machine > 1 << 28
    assert host_memory_bytes((tmp_path / "none", tmp_path / "limit")) == 4096000


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(model_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that comes with code, which only that code can load."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    shutil.copytree(model_folder("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own_model.OwnConfig", "AutoModelForCausalLM": "own_model.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own_model.py").write_text(CODE)
    return folder


def test_code_of_a_model_is_run_only_by_the_operators_leave(refs: Refs, with_code: Path) -> None:
    error = _refusal(refs(), source=str(with_code), trust_remote_code=True)
    assert (error.violations[0].field, error.reason) == ("model.trust_remote_code", "REMOTE_CODE_REFUSED")
    allowed = refs(trust_remote_code=True)
    with pytest.raises(Refused, match="configuration cannot be used"):
        describe_model(with_code)
    resolved = allowed.resolve(ModelRef(source=str(with_code), trust_remote_code=True))
    assert allowed.describe(resolved).architecture == "OwnModel"
    (with_code / "own_model.py").write_text(CODE + "\n# changed\n")
    changed = allowed.resolve(ModelRef(source=str(with_code), trust_remote_code=True))
    assert changed.fingerprint != resolved.fingerprint, "the code is part of what the model is"


def test_code_of_another_repository_is_refused(with_code: Path) -> None:
    config = json.loads((with_code / "config.json").read_text())
    config["auto_map"] = {name: f"some/one--{value}" for name, value in config["auto_map"].items()}
    (with_code / "config.json").write_text(json.dumps(config))
    with pytest.raises(Refused, match=r"in another repository \(some/one--own_model"):
        describe_model(with_code, trust_remote_code=True)
