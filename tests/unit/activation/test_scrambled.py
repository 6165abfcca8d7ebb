"""Scrambled tokens: the same ones in each split, without their context."""

from pathlib import Path

import numpy as np
from activation.spec import TokensSpec
from dragoman.kinds import AnyKind
from latent_cache.token_rows import TokenRows

from tests.support.local_run import run_local


def test_tokens_stay_in_their_split_and_lose_their_context(
    kinds: dict[str, AnyKind], corpus: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    found: list[dict[str, np.ndarray]] = []
    for scrambled in (False, True):
        spec = TokensSpec(
            source=str(corpus), tokenizer=str(tokenizer_folder), ctx_len=32, test_fraction=0.3, scrambled=scrambled
        )
        tokens = TokenRows(run_local(kinds["tokens"], spec, {}, tmp_path / str(scrambled)))
        bounds = {"train": (0, tokens.train_row_count), "test": (tokens.train_row_count, tokens.row_count)}
        found.append(
            {
                split: tokens.tokens(np.arange(*rows))[tokens.documents(np.arange(*rows)) >= 0]
                for split, rows in bounds.items()
            }
        )
    for split, ordered in found[0].items():
        assert sorted(found[1][split].tolist()) == sorted(ordered.tolist())
        assert (found[1][split] == ordered).mean() < 0.3, "what is alike is alike by chance"
