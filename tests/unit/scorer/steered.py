"""Effects of the planted latents: texts that go on with a latent's words once it is turned up, else with others."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from activation.effects_tables import FILES, TABLES, table_bytes
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact

from tests.support.synthetic_latents import Corpus, Parts, in_folder
from tests.unit.scorer import planted as p

EFFECTS_ID = "effects-" + "3" * 32
TARGET = 1.0
PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 24, 6, 5


def on_target(latent: int) -> float:
    """Every latent reaches the target."""
    return TARGET


def effects_parts(
    latent_count: int, kl: Callable[[int], float] = on_target, left_out: Sequence[int] = (), **spec: Any
) -> Parts:
    """Two targets; only at TARGET a latent writes its own words, in half of its tokens. `kl`: as measured there."""
    corpus = p.planted_corpus(0, latent_count)
    rng = np.random.Generator(np.random.PCG64(7))
    places = _places(corpus, rng)
    neutral = [corpus.tokenizer.encode(f"w{a}{b}").ids[0] for a in "abcdefghijklmn" for b in "aeiou"]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    measured = sorted({*range(latent_count)} - {*left_out})
    for latent in measured:
        own = [corpus.tokenizer.encode(word).ids[0] for word in p.latent_words(latent)]
        for target, found in ((0.1, 0.1), (TARGET, kl(latent))):
            rows["effects"].append({"latent": latent, "intervention": "add", "kl_target": target, "kl": found})
        for number, (row, start, tokens) in enumerate(places):
            place = {"latent": latent, "prompt": number}
            rows["prompts"].append({**place, "row": row, "start": start, "tokens": tokens})
            for arm, target, words in (("clean", None, neutral), ("steered", 0.1, neutral), ("steered", TARGET, own)):
                written = [int(rng.choice(words if i % 2 else neutral)) for i in range(NEW_TOKENS)]
                rows["continuations"].append({**place, "arm": arm, "kl_target": target, "tokens": written})
    data = {FILES[name]: table_bytes(rows[name], schema) for name, schema in TABLES.items()}
    made: dict[str, Any] = {
        "latents_id": p.LATENTS_ID, "split": "test", "kl_targets": [0.1, TARGET], "prompts": "random",
        "prompt_count": PROMPTS, "new_tokens": NEW_TOKENS, **spec,
    }  # fmt: skip
    infos = [PartInfo(name, name, len(bytes_), hashlib.sha256(bytes_).hexdigest()) for name, bytes_ in data.items()]
    return Parts(
        Manifest(EFFECTS_ID, "effects", 1, made, {"latents": p.LATENTS_ID}, infos, {"measured": len(measured)}), data
    )


def _places(corpus: Corpus, rng: np.random.Generator) -> list[tuple[int, int, list[int]]]:
    rows = corpus.train_row_count + rng.permutation(len(corpus.tokens) - corpus.train_row_count)[:PROMPTS]
    starts = rng.integers(1, p.CTX_LEN - PROMPT_TOKENS, PROMPTS)
    places = zip(rows.tolist(), starts.tolist(), strict=True)
    return [(row, start, corpus.tokens[row, start : start + PROMPT_TOKENS].tolist()) for row, start in places]


def with_effects(laid: p.Laid, root: Path, parts: Parts) -> p.Laid:
    """Adds effects to the inputs of a scores job."""
    made: FolderArtifact = in_folder(parts, root)
    return replace(laid, inputs={**laid.inputs, "effects": made})
