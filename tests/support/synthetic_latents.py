"""A small corpus with planted latents, as the parts of a tokens and a latents artifact.

Words are tokens. Latent `j` fires on the words of `PLANTED[j]`, more strongly on the first ones; other latents
fire at random, on every token, almost never and never.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact
from dragoman.ids import Json
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache.token_shard import write_token_shard
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.support.latents_writer import Kept, LatentsWriter

PLANTED: Sequence[Sequence[str]] = (
    ("cat", "dog", "horse", "sheep", "cow"),
    ("red", "green", "blue", "yellow", "purple"),
    ("Monday", "Tuesday", "Thursday", "Friday"),
    ("bread", "cheese", "soup", "apple", "rice"),
)
_FRAMES = (
    "On {day} the old farmer saw a {colour} {animal} near the river and gave it some {food} .",
    "She bought {food} and a {colour} coat before {day} evening .",
    "The {animal} slept all {day} while people painted the house {colour} .",
    "They ate {food} with {food} and talked about the {animal} .",
    "Nobody in the town knew why the road was closed for so long .",
)
RANDOM, DENSE, RARE, DEAD = 4, 5, 6, 7
KEPT = Kept()
D_SAE = 8


@dataclass(frozen=True)
class Parts:
    """An artifact before it lies anywhere."""

    manifest: Manifest
    data: Mapping[str, bytes]


@dataclass(frozen=True)
class Corpus:
    """Token rows, their documents, and a tokenizer."""

    tokens: np.ndarray
    documents: np.ndarray
    train_row_count: int
    tokenizer: Tokenizer


def sentences(rng: np.random.Generator, count: int) -> str:
    """English of a kind."""
    words = {"animal": PLANTED[0], "colour": PLANTED[1], "day": PLANTED[2], "food": PLANTED[3]}
    frames = [_FRAMES[i] for i in rng.integers(len(_FRAMES), size=count)]
    return " ".join(f.format(**{k: v[rng.integers(len(v))] for k, v in words.items()}) for f in frames)


def word_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A byte-level BPE in which each word of the texts, with its leading space, is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def corpus(seed: int = 0, document_count: int = 60, ctx_len: int = 64, test_fraction: float = 0.4) -> Corpus:
    """Packs documents into rows that begin with a BOS; train rows first, padding at the end of a split."""
    rng = np.random.Generator(np.random.PCG64(seed))
    texts = [sentences(rng, int(rng.integers(2, 30))) for _ in range(document_count)]
    tokenizer = word_tokenizer(texts)
    ids = [tokenizer.encode(text).ids for text in texts]
    first_test = round(document_count * (1 - test_fraction))
    train = _rows(ids, range(first_test), ctx_len)
    test = _rows(ids, range(first_test, document_count), ctx_len)
    both = np.concatenate([train, test], axis=1)
    return Corpus(both[0], both[1], train.shape[1], tokenizer)


def _rows(ids: Sequence[Sequence[int]], documents: Sequence[int], ctx_len: int) -> np.ndarray:
    body = ctx_len - 1
    stream = np.asarray([(t, d) for d in documents for t in ids[d]], np.int32)
    row_count = -(-len(stream) // body)
    rows = np.zeros((2, row_count, ctx_len), np.int32)
    rows[1] = -1
    for row in range(row_count):
        piece = stream[row * body : (row + 1) * body]
        rows[:, row, 1 : 1 + len(piece)] = piece.T
    return rows


def activations_of(corpus: Corpus, seed: int = 0) -> np.ndarray:
    """Dense float32 [row, pos, latent]; zero at BOS and padding."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    counted = corpus.documents >= 0
    dense = np.zeros((*corpus.tokens.shape, D_SAE), np.float32)
    noise = rng.uniform(0.8, 1.0, dense.shape).astype(np.float32)
    for latent, words in enumerate(PLANTED):
        for strength, word in enumerate(reversed(words), start=1):
            for form in (word, " " + word):
                found = corpus.tokenizer.encode(form, add_special_tokens=False).ids
                dense[..., latent] += strength * (corpus.tokens == found[0]) * (len(found) == 1)
    dense[..., RANDOM] = rng.random(corpus.tokens.shape) < 0.02
    dense[..., DENSE] = 1.0
    dense[:2, 5, RARE] = 2.0
    return np.where(counted[..., None], dense * noise, 0).astype(np.float32)


def tokens_parts(
    corpus: Corpus, rows_per_shard: int = 16, id_: str = "tokens-" + "0" * 32, rows_per_block: int | None = None
) -> Parts:
    """The parts of a tokens artifact."""
    data: dict[str, bytes] = {}
    infos: list[PartInfo] = []
    row_count = len(corpus.tokens)
    for shard, first in enumerate(range(0, row_count, rows_per_shard)):
        piece = slice(first, first + rows_per_shard)
        name = f"rows-{shard:05d}.safetensors"
        data[name] = _shard(corpus.tokens[piece], corpus.documents[piece], rows_per_block)
        infos.append(_info(name, data[name], len(corpus.tokens[piece]), first_row=first))
    data["tokenizer.json"] = corpus.tokenizer.to_str().encode()
    infos.append(_info("tokenizer.json", data["tokenizer.json"], 0))
    statistics: dict[str, Json] = {
        "ctx_len": corpus.tokens.shape[1],
        "row_count": row_count,
        "train_row_count": corpus.train_row_count,
        "test_row_count": row_count - corpus.train_row_count,
        "token_count": int((corpus.documents >= 0).sum()),
        "document_count": int(corpus.documents.max()) + 1,
        "rows_per_shard": rows_per_shard,
        "vocab_size": corpus.tokenizer.get_vocab_size(),
    }
    spec: dict[str, Json] = {"ctx_len": corpus.tokens.shape[1]}
    return Parts(Manifest(id_, "tokens", 1, spec, {}, infos, statistics), data)


def _shard(tokens: np.ndarray, documents: np.ndarray, rows_per_block: int | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        write_token_shard(path, tokens, documents, rows_per_block)
        return path.read_bytes()


def latents_parts(
    corpus: Corpus,
    dense: np.ndarray,
    kept: Kept = KEPT,
    tokens_id: str = "tokens-" + "0" * 32,
    id_: str = "latents-" + "1" * 32,
) -> Parts:
    """The parts of a latents artifact, from dense activations [row, pos, latent]."""
    by_latent = np.moveaxis(dense, -1, 0).reshape(dense.shape[-1], -1)
    latents, places = np.nonzero(by_latent)
    offsets = np.searchsorted(latents, np.arange(len(by_latent) + 1)).astype(np.int64)
    data = LatentsWriter(
        corpus.tokens, corpus.documents, corpus.train_row_count, kept, offsets, places, by_latent[latents, places]
    ).parts()
    in_train, in_test = ((part >= 0).sum() for part in np.split(corpus.documents, [corpus.train_row_count]))
    statistics: dict[str, Json] = {
        "d_sae": len(by_latent),
        "tokens_id": tokens_id,
        "token_count": int(in_train + in_test),
        "train_token_count": int(in_train),
        "test_token_count": int(in_test),
        "entry_count": len(places),
        "dead_count": int((by_latent == 0).all(axis=1).sum()),
        "rare_count": 0,
        "row_count": len(corpus.tokens),
        "rows": [[0, len(corpus.tokens)]],
    }
    infos = [_info(name, content, 0) for name, content in data.items()]
    spec: dict[str, Json] = {
        "tokens_id": tokens_id,
        "window_length": kept.window_length,
        "top_windows": kept.top_windows,
        "quantile_windows": kept.quantile_windows,
    }
    return Parts(Manifest(id_, "latents", 2, spec, {"tokens": tokens_id}, infos, statistics), data)


def _info(name: str, data: bytes, row_count: int, **metadata: Json) -> PartInfo:
    return PartInfo(name, f"memory/{name}", len(data), hashlib.sha256(data).hexdigest(), row_count, metadata)


def in_folder(parts: Parts, root: Path) -> FolderArtifact:
    """Writes the parts to `<root>/<id>` as `dragoman get` would."""
    folder = root / parts.manifest.id
    folder.mkdir(parents=True)
    for name, data in parts.data.items():
        (folder / name).write_bytes(data)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(parts.manifest))
    return FolderArtifact(folder)
