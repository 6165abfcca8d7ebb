"""Models as a worker loads them: step 0, devices, memory, code, and the slot that holds the last one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dragoman.errors import UserTaskError
from hooked_models.core.control import Occurrences
from hooked_models.describe import Refused, describe_config
from hooked_models.locations import MODEL, Locations
from hooked_models.model_ref import ModelRef
from hooked_models.models import LoadedModel, ModelSlot, choose_device, load_model, stored_parameters
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel

from tests.support.tiny import tiny_model

CPU = torch.device("cpu")


def _load(folder: Path, **fields: Any) -> Any:
    return load_model(folder, ModelRef(source=str(folder), **fields), CPU)


def _slot(cache: Path, **fields: Any) -> ModelSlot:
    return ModelSlot(Locations(cache, None), cache, "cpu", 1, **fields)


def _ref(cache: Path, folder: Path, **fields: Any) -> ModelRef:
    located = Locations(cache, None).locate(str(folder), None, MODEL, "model.source")
    return ModelRef(source=located.source, fingerprint=located.fingerprint, **fields)


def _equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_own_initialisation_is_that_of_the_architecture_and_of_the_seed(model_folder: Callable[[str], Path]) -> None:
    folder, state = model_folder("llama"), torch.random.get_rng_state()
    first = _load(folder, weights="step0", weights_seed=1)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left as it was"
    torch.manual_seed(5)
    again = _load(model_folder("llama"), weights="step0", weights_seed=1)
    other = _load(model_folder("llama"), weights="step0", weights_seed=2)
    assert _equal(first, again)
    assert not _equal(first, other)
    assert not _equal(first, _load(model_folder("llama")))
    assert first.get_input_embeddings().weight is first.get_output_embeddings().weight, "tied"
    assert torch.equal(first.model.norm.weight, torch.ones(32))
    drawn = torch.cat([p.flatten() for n, p in first.named_parameters() if "mlp" in n]).detach().double()
    spread = first.config.initializer_range
    # Five standard errors of a mean and of a standard deviation of n Gaussian draws.
    assert abs(float(drawn.mean())) < 5 * spread / len(drawn) ** 0.5
    assert abs(float(drawn.std()) / spread - 1) < 5 / (2 * len(drawn)) ** 0.5


def test_initialisation_in_a_narrow_dtype_is_that_of_float32_rounded(model_folder: Callable[[str], Path]) -> None:
    wide = _load(model_folder("gpt2"), weights="step0", weights_seed=1)
    narrow = _load(model_folder("gpt2"), weights="step0", weights_seed=1, dtype="bfloat16")
    assert _equal(wide.to(torch.bfloat16), narrow)


@pytest.mark.parametrize("weights", ["rerandomized_incl_emb", "rerandomized_excl_emb", "step0"])
def test_weights_do_not_depend_on_the_number_of_threads(model_folder: Callable[[str], Path], weights: str) -> None:
    threads = torch.get_num_threads()
    found: list[Any] = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(_load(model_folder("gpt_neox"), weights=weights, weights_seed=3))
    torch.set_num_threads(threads)
    assert _equal(*found)


def test_step_0_of_a_checkpoint_is_the_checkpoint(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    before = tiny_model("llama")
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.mul_(0.5)
    before.save_pretrained(tmp_path / "step0")
    located = Locations(tmp_path, None).locate(str(tmp_path / "step0"), None, MODEL, "model.initial_weights")
    ref = _ref(
        tmp_path,
        model_folder("llama"),
        weights="step0",
        initial_weights=located.source,
        initial_weights_fingerprint=located.fingerprint,
    )
    assert _equal(_slot(tmp_path).get(ref).whole, before)


def test_a_slot_holds_one_model_and_tells_variants_apart(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    slot, ref = _slot(tmp_path), _ref(tmp_path, model_folder("llama"))
    trained = slot.get(ref)
    assert slot.get(ref) is trained
    assert slot.get(ref.model_copy(update={"device": "cpu"})) is trained, "the same device, named"
    control = slot.get(ref.model_copy(update={"weights": "control"}))
    assert control is not trained
    assert _equal(control.whole, trained.whole), "noise stands in for embeddings, weights stay"
    seeded = slot.get(ref.model_copy(update={"weights": "control", "weights_seed": 1}))
    assert seeded is not control


def test_only_the_control_has_occurrences_that_differ(model_folder: Callable[[str], Path]) -> None:
    folder = model_folder("llama")
    ids = torch.full((1, 4), 7)
    for weights, seed, distinct in (("trained", None, 1), ("control", 0, 4)):
        model = LoadedModel(_load(folder, weights=weights), CPU, seed)
        occurrences = model.occurrences()
        assert isinstance(occurrences, Occurrences)
        with occurrences:
            occurrences.place([0])
            embedded: Any = model.base.get_input_embeddings()(ids)[0]  # type: ignore[operator]
        assert len(torch.unique(embedded, dim=0)) == distinct


def test_an_encoder_is_refused_by_its_configuration_and_by_what_it_does(tmp_path: Path) -> None:
    for is_decoder in (False, True):
        config = BertConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=50,
            is_decoder=is_decoder,
        )  # fmt: skip
        folder = tmp_path / str(is_decoder)
        BertLMHeadModel(config).save_pretrained(folder)
        if is_decoder:
            assert describe_config(config)["architecture"] == "BertLMHeadModel"
            assert _slot(tmp_path).get(_ref(tmp_path, folder))
        else:
            with pytest.raises(Refused, match="is not causal as") as refused:
                describe_config(config)
            assert refused.value.reason == "MODEL_NOT_CAUSAL"
            with pytest.raises(UserTaskError, match="changes with the tokens after it") as caught:
                _slot(tmp_path).get(_ref(tmp_path, folder))
            assert caught.value.reason == "MODEL_NOT_CAUSAL"


@pytest.mark.parametrize("vocab_size", [2, 3, 7])
def test_models_of_few_tokens_are_judged_too(vocab_size: int) -> None:
    for is_decoder in (True, False):
        config = BertConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=vocab_size,
            is_decoder=is_decoder, pad_token_id=0,
        )  # fmt: skip
        assert LoadedModel(BertLMHeadModel(config).eval(), CPU).looks_ahead() == (not is_decoder)


def test_hookpoints_are_found_inside_the_base_model() -> None:
    model = LoadedModel(tiny_model("gpt2"), CPU)
    assert model.prefix == "transformer"
    assert model.inner("transformer.h.1.mlp.input") == "h.1.mlp.input"


@pytest.mark.parametrize(
    ("asked", "own", "gpus", "expected"),
    [("", "auto", 0, "cpu"), ("", "auto", 2, "cuda"), ("", "cpu", 2, "cpu"), ("cpu", "cuda", 1, "cpu"),
     ("cuda", "auto", 1, "cuda"), ("cuda:1", "auto", 2, "cuda:1")],
)  # fmt: skip
def test_the_device_is_the_specs_or_what_the_worker_has(
    monkeypatch: pytest.MonkeyPatch, asked: str, own: str, gpus: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_device(asked, own) == torch.device(expected)


@pytest.mark.parametrize(
    ("asked", "own", "gpus", "has"),
    [("cuda", "auto", 0, "has cpu;"), ("cuda:2", "auto", 2, "has cpu and 2 cuda devices;"),
     ("cuda", "cpu", 1, "has cpu;"), ("", "cuda", 0, "has cpu;")],
)  # fmt: skip
def test_a_worker_without_the_device_refuses_naming_both(
    monkeypatch: pytest.MonkeyPatch, asked: str, own: str, gpus: int, has: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserTaskError, match=has) as caught:
        choose_device(asked, own)
    assert repr(asked or "cuda") in caught.value.message


def test_a_worker_with_too_little_memory_refuses_with_both_sizes(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_folder("llama")
    count = sum(p.numel() for p in tiny_model("llama").parameters())
    assert stored_parameters(folder) == count
    for weights, dtype, enough in (("trained", "float16", 2 * count), ("step0", "float16", 4 * count)):
        monkeypatch.setattr("hooked_models.models.host_memory_bytes", lambda size=enough: size)
        assert _load(folder, weights=weights, dtype=dtype)
        monkeypatch.setattr("hooked_models.models.host_memory_bytes", lambda size=enough: size - 1)
        with pytest.raises(
            UserTaskError, match=rf"its {count:,} parameters take .* GiB as .*, this worker has"
        ) as caught:
            _load(folder, weights=weights, dtype=dtype)
        assert caught.value.reason == "MODEL_TOO_LARGE"


def test_a_worker_that_runs_no_code_refuses_it(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    ref = _ref(tmp_path, model_folder("llama"), trust_remote_code=True)
    with pytest.raises(UserTaskError, match="_TRUST_REMOTE_CODE=1"):
        _slot(tmp_path).get(ref)
    assert _slot(tmp_path, trust_remote_code=True).get(ref)


def test_a_model_whose_files_lack_a_tensor_is_refused_not_filled_up_at_random(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder("llama"), tmp_path / "lacking"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserTaskError, match=r"lack 2 tensors .* model\.layers\.1\.mlp\.up_proj\.weight, model\.norm\.weight"
    ):
        _load(folder)
