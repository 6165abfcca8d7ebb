"""Encoded entries against a dense computation of everything."""

import numpy as np
import pytest
from activation.core.entries import EncodedEntries, FoundActivations, place_table

D_SAE, ROWS, POS, K, LENGTH = 13, 12, 16, 3, 4


def _dense(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations [row, pos, latent] with at most K above 0 a token, and token ids [row, pos]."""
    generator = np.random.default_rng(seed)
    acts = generator.standard_normal((ROWS, POS, D_SAE)).astype(np.float32)
    cut = np.sort(acts, axis=-1)[..., -K][..., None]
    acts = np.where((acts >= cut) & (acts > 0.3), acts, 0).astype(np.float32)
    acts[..., 5] = 0  # a dead latent
    return acts, generator.integers(0, 7, (ROWS, POS)).astype(np.int32)


def _documents() -> np.ndarray:
    """Documents [row, pos]: rows of one document, of three, with a BOS, with padding."""
    documents = np.full((ROWS, POS), 0, np.int32)
    documents[1] = [1] * 5 + [2] * 4 + [3] * 7
    documents[2, 0] = -1
    documents[3, 9:] = -1
    return documents


@pytest.mark.parametrize("batch", [1, 7, ROWS * POS])
def test_encoded_entries_are_those_of_the_dense_activations_in_any_batches(batch: int) -> None:
    acts, tokens = _dense(4)
    documents = _documents()
    counted = np.flatnonzero(documents.reshape(-1) >= 0)
    flat = acts.reshape(-1, D_SAE)[counted]
    indices = np.argsort(-flat, axis=1, kind="stable")[:, :K]
    found = FoundActivations()
    for at in range(0, len(counted), batch):
        here = slice(at, at + batch)
        found.add(np.take_along_axis(flat[here], indices[here], 1), indices[here], counted[here].astype(np.int32))
    encoded = found.by_latent(place_table(tokens, documents, LENGTH), D_SAE)
    for latent in range(D_SAE):
        mine = encoded.entries[encoded.offsets[latent] : encoded.offsets[latent + 1]]
        rows, positions = np.nonzero((acts[:, :, latent] > 0) & (documents >= 0))
        assert mine[:, 0].tolist() == (rows * POS + positions).tolist()
        fires = slice(int(encoded.offsets[latent]), int(encoded.offsets[latent + 1]))
        assert encoded.activations[fires].tolist() == acts[rows, positions, latent].tolist()
        assert mine[:, 2].tolist() == tokens[rows, positions].tolist()
    assert len(encoded) == ((acts > 0) & (documents >= 0)[..., None]).sum() > 0
    assert encoded.entries.nbytes == 20 * len(encoded)


def test_a_place_knows_the_next_token_of_its_document_and_its_window() -> None:
    tokens = np.arange(ROWS * POS, dtype=np.int32).reshape(ROWS, POS)
    documents = _documents()
    table = place_table(tokens, documents, LENGTH).reshape(ROWS, POS, 3)
    assert (table[..., 0] == tokens).all()
    assert table[0, :, 1].tolist() == [*range(1, POS), -1]
    assert np.flatnonzero(table[1, :, 1] < 0).tolist() == [4, 8, 15]
    assert np.flatnonzero(table[3, :, 1] < 0).tolist() == [*range(8, POS)]
    assert table[1, :, 2].tolist() == [0] * 4 + [-1] + [5] * 4 + [9] * 4 + [-1] * 3
    assert table[2, :, 1].tolist()[:2] == [-1, 34]
    assert table[2, :, 2].tolist() == [-1] + [1] * 4 + [5] * 4 + [9] * 4 + [-1] * 3
    assert table[3, :, 2].tolist() == [0] * 4 + [4] * 4 + [-1] * 8


def test_nothing_found_is_an_empty_list_for_every_latent() -> None:
    encoded = FoundActivations().by_latent(place_table(np.zeros((1, 4), np.int32), np.zeros((1, 4), np.int32), 4), 3)
    assert isinstance(encoded, EncodedEntries)
    assert encoded.offsets.tolist() == [0, 0, 0, 0]
    assert encoded.entries.shape == (0, 5)
