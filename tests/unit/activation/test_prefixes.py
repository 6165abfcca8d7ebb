"""Passes that go on after tokens read already are passes over all tokens, in every architecture."""

from typing import Any

import pytest
import torch
from activation.core.prefixes import Lines, Prefixes
from activation.core.splice import Splice
from activation.core.unembed import Unembedding
from hooked_models.core.control import Occurrences
from torch import Tensor

from tests.support.tiny import LAST_BUT_ONE, VOCAB, tiny_model

ARCHITECTURES = ["llama", "gpt_neox", "gpt2", "gemma2", "gemma3", "falcon", "mamba", "rwkv"]


def _lines(count: int = 3, length: int = 24) -> Lines:
    ids = torch.randint(0, VOCAB, (count, length), generator=torch.Generator().manual_seed(3))
    return Lines(ids, [0] * count, [0] * count)


def _prefixes(name: str) -> tuple[Prefixes, Unembedding, str]:
    whole = tiny_model(name)
    base = whole.base_model
    inner = LAST_BUT_ONE[name].split(".", 1)[1]
    unembedding = Unembedding(whole, base)
    return Prefixes(base, unembedding, Occurrences(None)), unembedding, inner


def _push(at: int):
    def edit(value: Tensor, read: Tensor) -> Tensor:
        edited = value.clone()
        edited[:, at:] += torch.linspace(-2, 2, value.shape[-1])
        return edited

    return edit


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("count", [0, 1, 23])
@torch.no_grad()
def test_pieces_with_edits_are_the_whole_pass_with_the_same_edits(name: str, count: int) -> None:
    prefixes, _, inner = _prefixes(name)
    lines = _lines()
    more = torch.tensor([[5], [6], [7]])
    prefix = prefixes.start(lines, count)
    base = prefixes._base  # pyright: ignore[reportPrivateUsage]
    found = torch.empty(0)
    for _ in range(2):  # what goes on from a prefix leaves the prefix as it was
        reading, found = prefixes.extend(prefix, lines.ids[:, count:], lambda first: {inner: _push(first)})
        _, found_next = prefixes.extend(reading, more, lambda first: {inner: _push(first)})
        with Splice(base, {inner: _push(count)}):
            expected = base(input_ids=lines.ids)[0][:, -1]
            expected_next = base(input_ids=torch.cat([lines.ids, more], 1))[0][:, -1]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found_next, expected_next, atol=1e-4, rtol=1e-4)
    clean = base(input_ids=lines.ids)[0][:, -1]
    _, again = prefixes.extend(prefix, lines.ids[:, count:])
    torch.testing.assert_close(again, clean, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(again, found, atol=1e-2), "an edit that changes nothing would test nothing"


@pytest.mark.parametrize("lines", [1, 3])
def test_what_was_read_is_kept_where_the_model_goes_on_rightly(lines: int) -> None:
    kept = {}
    for name in ARCHITECTURES:
        prefixes, _, _ = _prefixes(name)
        prefixes.start(_lines(lines), 23)
        kept[name] = prefixes.reuses
    # RWKV of transformers 5.23 mixes up lines when it goes on with one token.
    assert kept == {name: name != "rwkv" for name in ARCHITECTURES}


def test_a_model_that_goes_on_wrongly_begins_with_the_first_token() -> None:
    prefixes, unembedding, _ = _prefixes("llama")
    base: Any = prefixes._base  # pyright: ignore[reportPrivateUsage]
    layer = base.layers[2]
    forward = layer.forward

    def forgets(*args: object, **kwargs: object) -> object:
        return forward(*args, **{**kwargs, "past_key_values": None})

    layer.forward = forgets
    lines = _lines()
    prefix = prefixes.start(lines, 23)
    assert prefixes.reuses is False
    assert prefix.memory is None
    _, found = prefixes.extend(prefix, lines.ids[:, 23:])
    torch.testing.assert_close(found, unembedding.states(lines.ids)[:, -1])
