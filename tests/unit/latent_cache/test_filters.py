"""Filters find the planted latents and no other."""

from dataclasses import fields

import numpy as np
from latent_cache.filters import is_positional, is_unigram_candidate
from latent_cache.index import LatentIndex

COUNT = 40


def _index(**given: np.ndarray) -> LatentIndex:
    zeros = {f.name: np.zeros(COUNT) for f in fields(LatentIndex)}
    return LatentIndex(**{**zeros, "ctx_len": 16, "window_length": 4, "activation_dtype": "float16", **given})


def test_positional_latents_are_those_with_much_information() -> None:
    planted = np.arange(COUNT) % 7 == 0
    index = _index(positional_information=np.where(planted, 0.06, 0.05).astype(np.float32))
    assert is_positional(index, 0.055).tolist() == planted.tolist()


def test_unigram_candidates_fire_often_on_few_tokens() -> None:
    planted = np.arange(COUNT) % 5 == 0
    rare = np.arange(COUNT) == 10
    index = _index(
        unigram_token_count=np.where(planted, 20, 21),
        firing_count=np.where(rare, 20, 500),
    )
    assert is_unigram_candidate(index).tolist() == (planted & ~rare).tolist()
