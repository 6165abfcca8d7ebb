"""SAELens's layout: what SAELens 6.54.12 wrote gives here what it gave there, and what we write SAELens runs.

The files under saelens/ are SAELens's own, see tests/support/saelens_fixtures.py.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparse_coders import (
    BatchTopKCoder,
    GatedCoder,
    JumpReLUCoder,
    MalformedCoder,
    MatryoshkaCoder,
    ReLUCoder,
    SparseCoder,
    TopKCoder,
    UnsupportedCoder,
    load,
    save,
    save_saelens,
)

FIXTURES = Path(__file__).parent / "saelens"
EXPECTED: dict[str, type[SparseCoder]] = {
    "standard": ReLUCoder,
    "standard_no_b_dec": ReLUCoder,
    "topk": TopKCoder,
    "topk_rescaled": TopKCoder,
    "jumprelu": JumpReLUCoder,
    "gated": GatedCoder,
    "gated_no_b_dec": GatedCoder,
    "batchtopk": BatchTopKCoder,
    "batchtopk_training": BatchTopKCoder,
    "matryoshka_batchtopk": MatryoshkaCoder,
    "matryoshka_batchtopk_training": MatryoshkaCoder,
    "transcoder": ReLUCoder,
    "skip_transcoder": ReLUCoder,
    "jumprelu_transcoder": JumpReLUCoder,
    "jumprelu_skip_transcoder": JumpReLUCoder,
}


def dense(coder: SparseCoder, x: torch.Tensor) -> torch.Tensor:
    acts, indices = coder.encode(x)
    return torch.zeros(len(x), coder.d_sae).scatter_add_(1, indices, acts)


def assert_gives(coder: SparseCoder, folder: Path) -> None:
    """Latents and outputs are those that SAELens stored beside the coder."""
    expected = load_file(folder / "expected.safetensors")
    torch.testing.assert_close(dense(coder, expected["x"]), expected["acts"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(coder(expected["x"]), expected["output"], rtol=1e-5, atol=1e-5)


def copied(name: str, to: Path, **changes: Any) -> Path:
    folder = to / name
    shutil.copytree(FIXTURES / name, folder)
    config = json.loads((folder / "cfg.json").read_text()) | changes
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", EXPECTED)
def test_what_saelens_wrote_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    coder = load(FIXTURES / name)
    assert type(coder) is EXPECTED[name]
    assert coder.transcoder == ("transcoder" in name)
    assert (coder.d_model, coder.d_sae, coder.d_out) == (8, 16, 6 if coder.transcoder else 8)
    assert coder.k == (3 if type(coder) is TopKCoder else None)
    assert_gives(coder, FIXTURES / name)
    save(coder, tmp_path)
    again = load(tmp_path)
    assert type(again) is type(coder)
    assert all(torch.equal(a, b) for a, b in zip(coder.parameters(), again.parameters(), strict=True))


def test_nested_widths_are_kept(tmp_path: Path) -> None:
    coder = load(FIXTURES / "matryoshka_batchtopk")
    save(coder, tmp_path / "ours")
    save_saelens(coder, tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        again = load(tmp_path / folder)
        assert isinstance(again, MatryoshkaCoder)
        assert again.widths == (4, 16)


@pytest.mark.parametrize("name", [n for n in EXPECTED if not n.endswith(("no_b_dec", "rescaled", "training"))])
def test_what_we_write_is_what_saelens_writes(name: str, tmp_path: Path) -> None:
    """The same tensors to the bit, and every field of cfg.json that decides what the coder computes."""
    save_saelens(load(FIXTURES / name), tmp_path, metadata={"model_name": "pythia-70m"})
    ours, theirs = (load_file(folder / "sae_weights.safetensors") for folder in (tmp_path, FIXTURES / name))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    config, expected = (json.loads((folder / "cfg.json").read_text()) for folder in (tmp_path, FIXTURES / name))
    assert config.pop("metadata")["sae_lens_version"] == expected.pop("metadata")["sae_lens_version"]
    assert config == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_saelens_runs_what_we_write(name: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="pip install sae-lens==6.54.12")
    save_saelens(load(FIXTURES / name), tmp_path)
    peer = sae_lens.SAE.load_from_disk(tmp_path)
    expected = load_file(FIXTURES / name / "expected.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(peer.encode(expected["x"]), expected["acts"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(peer(expected["x"]), expected["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["topk", "topk_rescaled"])
def test_sparsify_runs_a_topk_coder_of_saelens(name: str, tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify", reason="pip install 'dragoman-sparse-coders[peer]'")
    save(load(FIXTURES / name), tmp_path)
    peer = sparsify.SparseCoder.load_from_disk(tmp_path)
    expected = load_file(FIXTURES / name / "expected.safetensors")
    with torch.no_grad():
        found = peer.encode(expected["x"])
        output = peer.decode(found.top_acts, found.top_indices)
    torch.testing.assert_close(output, expected["output"], rtol=1e-5, atol=1e-5)


def test_a_scale_of_the_input_is_folded(tmp_path: Path) -> None:
    """As SAELens's ActivationScaler: the coder sees x * s, and its output is divided by s."""
    scale = 2.5
    folder = copied("jumprelu", tmp_path, normalize_activations="expected_average_only_in")
    with pytest.raises(UnsupportedCoder, match=r"the factor is not in the files; put activation_scaler.json"):
        load(folder)
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
    plain, x = load(FIXTURES / "jumprelu"), load_file(folder / "expected.safetensors")["x"]
    torch.testing.assert_close(load(folder)(x), plain(x * scale) / scale, rtol=1e-5, atol=1e-5)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0}')
    with pytest.raises(MalformedCoder, match="expected a number above 0"):
        load(folder)


@pytest.mark.parametrize("name", ["standard", "standard_no_b_dec", "gated", "gated_no_b_dec", "topk_rescaled"])
def test_a_centred_residual_stream_is_folded(name: str, tmp_path: Path) -> None:
    """TransformerLens's center_writing_weights: the coder saw x less its mean over d_model."""
    plain, x = load(FIXTURES / name), 3 + load_file(FIXTURES / name / "expected.safetensors")["x"]
    seen = {"model_from_pretrained_kwargs": {"center_writing_weights": True}, "hook_name": "blocks.3.hook_resid_post"}
    folder = copied(name, tmp_path, metadata={"model_name": "gpt2-small", **seen})
    expected = dense(plain, x - x.mean(1, keepdim=True))
    torch.testing.assert_close(dense(load(folder), x), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(expected, dense(plain, x), atol=1e-3)
    (tmp_path / "rms").mkdir()
    other = copied(name, tmp_path / "rms", metadata={"model_name": "gemma-2-2b", **seen})  # TransformerLens leaves it
    torch.testing.assert_close(dense(load(other), x), dense(plain, x), rtol=1e-5, atol=1e-5)


def test_files_of_older_versions(tmp_path: Path) -> None:
    """Before 6.0 a TopK coder was a "standard" one with an activation function; it must not run as ReLU."""
    folder = copied("topk", tmp_path)
    old = {"d_in": 8, "d_sae": 16, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
    (folder / "cfg.json").write_text(json.dumps(old | {"architecture": "standard", "hook_name": "blocks.3.ln2"}))
    assert_gives(load(folder), folder)
    folder = copied("jumprelu", tmp_path)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["log_threshold"] = tensors.pop("threshold").log()
    save_file(tensors, folder / "sae_weights.safetensors")
    assert_gives(load(folder), folder)


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("topk", {"architecture": "temporal"}, UnsupportedCoder, "architecture is 'temporal'; of SAELens's, standard"),
        ("topk", {"k": 17}, MalformedCoder, "k is 17 but there are only 16 latents"),
        ("topk", {"d_sae": 15}, MalformedCoder, r"W_enc is \[8, 16\]; cfg.json says it must be \[8, 15\]"),
        ("gated", {"d_in": "8"}, MalformedCoder, "d_in is '8'"),
        ("standard", {"normalize_activations": "layer_norm"}, UnsupportedCoder, "a scale of its own for each token"),
        ("standard", {"normalize_activations": "constant_norm_rescale"}, UnsupportedCoder, "cannot be folded"),
        ("standard", {"normalize_activations": "covariance_whitening"}, UnsupportedCoder, "fold_activation_whitening"),
        ("transcoder", {"normalize_activations": True}, UnsupportedCoder, "of a transcoder it must be 'none'"),
        ("standard", {"activation_fn": "tanh-relu"}, UnsupportedCoder, "activation_fn is 'tanh-relu'"),
        ("skip_transcoder", {"architecture": "transcoder"}, MalformedCoder, "without a skip connection"),
        ("jumprelu", {"architecture": "gated"}, MalformedCoder, "has no tensor 'b_gate'"),
    ],
)
def test_wrong_config(name: str, change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        load(copied(name, tmp_path, **change))


def test_two_coders_in_one_folder(tmp_path: Path) -> None:
    folder = copied("topk", tmp_path)
    save(load(FIXTURES / "topk"), folder)
    with pytest.raises(MalformedCoder, match=r"holds both sae.safetensors and sae_weights.safetensors"):
        load(folder)


def test_saelens_has_no_topk_transcoder(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCoder, match="write it in sparsify's layout"):
        save_saelens(TopKCoder(8, 16, 3, transcoder=True), tmp_path)
