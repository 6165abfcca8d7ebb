"""What labelling by tier costs, against labelling everything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.ids import Json

from scorer.core.triage import BY_RULE, CLASSES

Row = Mapping[str, Any]


def cells(rows: Sequence[Row]) -> dict[str, Json]:
    """Returns how many latents each class has in each tier: class to tier (as text) to number, without empty ones."""
    found: dict[str, dict[str, Json]] = {}
    for (name, tier), count in sorted(
        Counter((row["class"], row["tier"]) for row in rows if row["tier"] is not None).items()
    ):
        found.setdefault(name, {})[str(tier)] = count
    return dict(found)


def counts(rows: Sequence[Row]) -> dict[str, Json]:
    """Returns how many latents each class has, none left out."""
    found = Counter(row["class"] for row in rows)
    return {name: found[name] for name in CLASSES}


def saving(rows: Sequence[Row], triage_tokens: int) -> dict[str, Json]:
    """Returns the tokens of labelling everything and of labelling by tier; null where nobody counted them.

    Only latents whose tokens are known are in either sum: `priced`.
    """
    priced = [row for row in rows if row["label_tokens"] is not None]
    everything = sum(int(row["label_tokens"]) for row in priced)
    by_tier = sum(int(row["label_tokens"]) for row in priced if row["tier"] is not None and row["tier"] > BY_RULE)
    known = bool(priced)
    return {
        "priced": len(priced),
        "label_all_tokens": everything if known else None,
        "label_by_tier_tokens": by_tier if known else None,
        "saved_tokens": everything - by_tier if known else None,
        "saved_fraction": 1.0 - by_tier / everything if everything else None,
        "triage_tokens": triage_tokens,
    }
