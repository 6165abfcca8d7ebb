"""Text of tokens, whatever the tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_cache.render import marked, pieces
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SAMPLE = ["the cat sat on the mat , and the dog ran .", "a bright morning in the old town"] * 4


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama's: spaces are ▁, unknown characters are bytes, the first space of a text is stripped."""
    words = [f"▁{w}" for line in SAMPLE for w in line.split()]
    letters = sorted({c for w in words for c in w})
    vocabulary = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), *letters, "▁c"]
    tokenizer = Tokenizer(
        models.BPE({t: i for i, t in enumerate(vocabulary)}, [("▁", "c")], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


BYTE_LEVEL, SENTENCE_PIECE = byte_level(), sentence_piece()
# Without U+FFFD itself, lone surrogates and the SentencePiece space.
text = st.text(st.characters(codec="utf-8", exclude_characters="\ufffd▁"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(text)
def test_byte_level_pieces_join_to_the_text(string: str) -> None:
    ids = BYTE_LEVEL.encode(string).ids
    found = pieces(BYTE_LEVEL, ids)
    assert len(found) == len(ids)
    assert "".join(found) == string


@settings(max_examples=200, deadline=None)
@given(text)
def test_sentence_piece_pieces_keep_the_leading_space(string: str) -> None:
    ids = SENTENCE_PIECE.encode(string).ids
    assert "".join(pieces(SENTENCE_PIECE, ids)) == (" " + string if string else "")


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCE_PIECE])
def test_a_window_from_the_middle_keeps_its_first_space(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat sat").ids
    whole = pieces(tokenizer, ids)
    cut = whole.index(next(p for p in whole if p.startswith(" c")))
    assert pieces(tokenizer, ids[cut:]) == whole[cut:]
    assert "".join(whole[cut:]) == " cat sat"


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCE_PIECE])
def test_a_character_belongs_to_the_token_that_completes_it(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("c🙂t").ids
    found = pieces(tokenizer, ids)
    assert found[-5:] == ["", "", "", "🙂", "t"]
    broken = pieces(tokenizer, ids[:-3])
    assert "🙂" not in "".join(broken)
    assert "".join(broken).strip("\ufffd ") == "c"


def test_special_tokens_are_shown() -> None:
    ids = BYTE_LEVEL.encode("the cat<|end|>sat").ids
    assert "<|end|>" in pieces(BYTE_LEVEL, ids)


def test_marks_surround_runs() -> None:
    assert marked([" the", " cat", " sat", " on"], [False, True, True, False]) == " the<< cat sat>> on"
    assert marked([" the", " cat", " sat"], [True, False, True]) == "<< the>> cat<< sat>>"
    assert marked([" the"], [False]) == " the"
    assert marked([], []) == ""


def test_half_a_character_marks_the_whole_of_it() -> None:
    assert marked(["x", "", "é", "y"], [False, True, False, False]) == "x<<é>>y"
    assert marked(["x", "é", "", ""], [False, False, False, True]) == "x<<é>>"


@given(st.lists(st.tuples(st.text("ab ", max_size=3), st.booleans()), max_size=20))
def test_without_the_marks_the_text_is_unchanged(tokens: list[tuple[str, bool]]) -> None:
    shown = marked([t for t, _ in tokens], [m for _, m in tokens])
    assert shown.replace("<<", "").replace(">>", "") == "".join(t for t, _ in tokens)
    assert ">><<" not in shown
    assert "<<>>" not in shown
