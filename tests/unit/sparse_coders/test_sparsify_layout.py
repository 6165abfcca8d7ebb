"""Coders on disk: round trips, sparsify itself as the reader and writer, and every way a file can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sparse_coders import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    MalformedCoder,
    TopKCoder,
    UnsupportedCoder,
    initial_coder,
    load,
    save,
)

SIZES = {"d_model": 24, "d_sae": 96, "k": 5}


def make_coder() -> tuple[TopKCoder, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 1 + torch.randn(300, SIZES["d_model"], generator=generator)
    coder = initial_coder(**SIZES, sample=x, seed=2)
    coder.b_enc.data.normal_(generator=generator).mul_(0.1)
    return coder, x


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    coder, x = make_coder()
    save(coder, tmp_path / "a")
    again = load(tmp_path / "a")
    assert all(torch.equal(a, b) for a, b in zip(coder.parameters(), again.parameters(), strict=True))
    assert torch.equal(coder(x), again(x))
    save(again, tmp_path / "b")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_dtype_of_the_file_can_be_kept(tmp_path: Path) -> None:
    coder, _ = make_coder()
    save(coder.to(torch.bfloat16), tmp_path)
    assert load(tmp_path, dtype=None).dtype == torch.bfloat16
    assert load(tmp_path).dtype == torch.float32


def test_sparsify_loads_what_we_write_and_agrees(tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify", reason="pip install 'dragoman-sparse-coders[peer]'")
    coder, x = make_coder()
    save(coder, tmp_path)
    peer = sparsify.SparseCoder.load_from_disk(tmp_path)
    with torch.no_grad():
        theirs = peer.encode(x)
        order = theirs.top_acts.sort(descending=True)
        ours = coder.encode(x)
        torch.testing.assert_close(ours.acts, order.values, rtol=1e-5, atol=1e-5)
        assert torch.equal(ours.indices, theirs.top_indices.gather(1, order.indices))
        torch.testing.assert_close(coder(x), peer.decode(theirs.top_acts, theirs.top_indices), rtol=1e-5, atol=1e-5)
    assert (peer.cfg.k, peer.num_latents, peer.d_in, peer.cfg.normalize_decoder) == (5, 96, 24, True)


def test_we_load_what_sparsify_writes(tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify", reason="pip install 'dragoman-sparse-coders[peer]'")
    _, x = make_coder()
    torch.manual_seed(0)  # sparsify draws from the global generator
    peer = sparsify.SparseCoder(24, sparsify.SparseCoderConfig(expansion_factor=4, k=5))
    peer.save_to_disk(tmp_path)
    coder = load(tmp_path)
    assert (coder.d_sae, coder.k) == (96, 5)
    with torch.no_grad():
        theirs = peer.encode(x)
        torch.testing.assert_close(coder(x), peer.decode(theirs.top_acts, theirs.top_indices), rtol=1e-5, atol=1e-5)


def test_sizes_follow_sparsifys_defaults(tmp_path: Path) -> None:
    """Old files have no `activation`; num_latents 0 means expansion_factor times d_in; unknown fields are ignored."""
    coder, _ = make_coder()
    save(coder, tmp_path)
    (tmp_path / CONFIG_FILE).write_text('{"d_in": 24, "k": 5, "num_latents": 0, "expansion_factor": 4, "what": 1}')
    assert load(tmp_path).d_sae == 96


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 97}, MalformedCoder, "k is 97 but there are only 96 latents"),
        ({"k": 0}, MalformedCoder, "k is 0; expected a whole number of at least 1"),
        ({"k": "5"}, MalformedCoder, "k is '5'"),
        ({"d_in": None}, MalformedCoder, "d_in is None"),
        ({"d_in": 25}, MalformedCoder, r"encoder.weight is \[96, 24\]; cfg.json says it must be \[96, 25\]"),
        ({"activation": "groupmax"}, UnsupportedCoder, "activation is 'groupmax'; only 'topk'"),
        ({"signed": True}, UnsupportedCoder, "signed is set"),
        ({"transcode": True, "skip_connection": True}, MalformedCoder, "has no tensor 'W_skip'"),
        ({"skip_connection": True}, MalformedCoder, "only a transcoder has another width out or a skip connection"),
        ({"d_out": 12}, MalformedCoder, "only a transcoder has another width out"),
    ],
)
def test_wrong_config(tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str) -> None:
    coder, _ = make_coder()
    save(coder, tmp_path)
    path = tmp_path / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("encoder.bias", None, "has no tensor 'encoder.bias'; it has"),
        ("W_dec", torch.zeros(24, 96), r"W_dec is \[24, 96\]"),
        ("b_dec", torch.zeros(24, dtype=torch.int32), "b_dec is torch.int32"),
        ("b_dec", torch.full((24,), torch.nan), "b_dec holds values that are not finite"),
    ],
)
def test_wrong_tensors(tmp_path: Path, name: str, tensor: torch.Tensor | None, message: str) -> None:
    coder, _ = make_coder()
    save(coder, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    del tensors[name]
    save_file(tensors if tensor is None else tensors | {name: tensor}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(MalformedCoder, match=message):
        load(tmp_path)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(MalformedCoder, match=r"cfg.json does not exist"):
        load(tmp_path)
    coder, _ = make_coder()
    save(coder, tmp_path)
    weights = (tmp_path / WEIGHTS_FILE).read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(weights[:-7])
    with pytest.raises(MalformedCoder, match="damaged or not safetensors"):
        load(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(MalformedCoder, match=r"sae.safetensors does not exist"):
        load(tmp_path)
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(MalformedCoder, match="is not JSON"):
        load(tmp_path)


@pytest.mark.parametrize("skip", [False, True])
def test_sparsify_runs_our_transcoders_and_we_its(tmp_path: Path, skip: bool) -> None:
    sparsify = pytest.importorskip("sparsify", reason="pip install 'dragoman-sparse-coders[peer]'")
    _, x = make_coder()
    config = sparsify.SparseCoderConfig(num_latents=96, k=5, transcode=True, skip_connection=skip)
    peer = sparsify.SparseCoder(24, config)
    generator = torch.Generator().manual_seed(1)
    for parameter in peer.parameters():
        parameter.data.normal_(generator=generator).mul_(0.3)
    peer.save_to_disk(tmp_path / "theirs")
    coder = load(tmp_path / "theirs")
    assert (coder.transcoder, coder.W_skip is not None, coder.d_out) == (True, skip, 24)
    save(coder, tmp_path / "ours")
    for one in (peer, sparsify.SparseCoder.load_from_disk(tmp_path / "ours")):
        with torch.no_grad():
            found = one.encode(x)
            expected = one.decode(found.top_acts, found.top_indices)
            expected = expected + x @ one.W_skip.T if skip else expected
        torch.testing.assert_close(coder(x), expected, rtol=1e-5, atol=1e-5)
