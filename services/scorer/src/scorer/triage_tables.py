"""The tables of a triage job: one row a latent, and a page for a terminal."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from scorer.core.latent_filters import FILTER_COLUMNS

TRIAGE = "triage.parquet"
TEXT = "triage.txt"

TRIAGE_SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("class", pa.string()),
        ("tier", pa.int32()),
        ("reason", pa.string()),
        *FILTER_COLUMNS,
        ("unigram_share", pa.float64()),
        ("scrambled_count", pa.int64()),
        ("is_unigram", pa.bool_()),
        ("scorers", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("above", pa.list_(pa.bool_())),
        ("output_score", pa.float64()),
        ("output_above", pa.bool_()),
        ("promoted", pa.list_(pa.string())),
        ("label_tokens", pa.int64()),
    ]
)


def text(statistics: Mapping[str, Any]) -> str:
    """Returns the statistics as a page, at most 100 columns wide."""
    said = [
        f"{statistics['attempted']} of {statistics['total']} latents triaged "
        f"({statistics['dead']} dead, {statistics['rare']} rare)",
        "",
        "class          latents   share",
        *(_class_line(statistics, name) for name in statistics["by_class"]),
        "",
        "score                     above      of nulls",
        *(_threshold_line(name, limit) for name, limit in statistics["thresholds"].items()),
        "",
        *_saving_lines(statistics["saving"]),
        *(f"note: {note}" for note in statistics["notes"]),
    ]
    return "\n".join(said) + "\n"


def _class_line(statistics: Mapping[str, Any], name: str) -> str:
    share = statistics["class_shares"][name]
    interval = "" if share["low"] is None else f" [{share['low']:.2f}, {share['high']:.2f}]"
    of = "" if share["mean"] is None else f"{share['mean']:.2f}{interval}"
    return f"{name:<14}{statistics['by_class'][name]:>8}   {of}"


def _threshold_line(name: str, limit: Mapping[str, Any]) -> str:
    source = f"{limit['null_count']} {limit['null']}"
    return f"{name + ' ' + limit['metric']:<25} {limit['value']:.3f}      {source}"


def _saving_lines(saving: Mapping[str, Any]) -> list[str]:
    spent = f"triage took {saving['triage_tokens']:,} tokens"
    if saving["label_all_tokens"] is None:
        return [f"tokens saved: not known without explanations_id; {spent}"]
    share = f" ({saving['saved_fraction']:.0%})" if saving["saved_fraction"] is not None else ""
    return [
        f"tokens of labels: {saving['label_all_tokens']:,} for all {saving['priced']} latents, "
        f"{saving['label_by_tier_tokens']:,} by tier",
        f"saved: {saving['saved_tokens']:,}{share}; {spent}",
    ]
