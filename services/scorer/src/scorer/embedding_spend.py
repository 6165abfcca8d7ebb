"""What embedding windows to find negatives took, from the tasks of a scores job to its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from dragoman.artifacts import PartInfo
from dragoman.ids import Json
from dragoman.llm.price import Price

from scorer.near_windows import NearWindows, Read


def embedded_metadata(near: NearWindows | None) -> dict[str, Json]:
    """Returns what a task had read, for the metadata of its part."""
    if near is None:
        return {}
    return {"shared": asdict(near.shared), "own": asdict(near.own)}


def embedding_statistics(parts: Sequence[PartInfo]) -> dict[str, Json]:
    """Returns texts and tokens over all tasks, the candidates that they share once; 0 where nothing was embedded."""
    shared, own = (_reads(parts, name) for name in ("shared", "own"))
    most = max(shared, key=lambda read: read.texts, default=Read())
    return {
        "embedded_texts": most.texts + sum(read.texts for read in own),
        "embedded_tokens": most.tokens + sum(read.tokens for read in own),
    }


def embedding_cost(price: Price | None, statistics: Mapping[str, Json]) -> dict[str, float]:
    """Returns what they cost, for the manifest; nothing where no price is known."""
    tokens = int(str(statistics["embedded_tokens"]))
    return price.spend(tokens) if price is not None and tokens else {}


def _reads(parts: Sequence[PartInfo], name: str) -> list[Read]:
    told: list[Mapping[str, Mapping[str, int]]] = [part.metadata.get("embedded") or {} for part in parts]  # pyright: ignore
    return [Read(**each[name]) for each in told if name in each]
