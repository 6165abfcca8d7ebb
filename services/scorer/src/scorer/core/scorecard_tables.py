"""The tables behind the report: every number of it (summary) and every scored latent (latents)."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scorer.core.latent_score import LATENTS_SCHEMA
from scorer.core.scorecard import CONTROL, SIDES, TRAINED, MetricCard, ScorerCard
from scorer.core.scorecard_side import Scorecard, SideCard
from scorer.core.scorecard_statistics import Estimate

SUMMARY_SCHEMA = pa.schema(
    [
        ("scorer", pa.string()),
        ("metric", pa.string()),
        ("quantity", pa.string()),
        ("side", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("p_value", pa.float64()),
        ("verdict", pa.string()),
    ]
)
LATENTS_TABLE_SCHEMA = pa.schema([("side", pa.string()), ("scorer", pa.string()), *LATENTS_SCHEMA])

Row = dict[str, Any]


def summary_table(card: Scorecard) -> pa.Table:
    """Returns one row per number. `side` is trained, control or, for what compares them, trained_minus_control."""
    rows = [row for scorer in card.scorers.values() for row in _scorer_rows(scorer)]
    rows += [row for side in SIDES for row in _side_rows(card.sides[side])]
    return pa.Table.from_pylist(rows, schema=SUMMARY_SCHEMA)


def latents_table(scored: Mapping[str, Sequence[tuple[str, pa.Table]]]) -> pa.Table:
    """Returns one row per side, scorer and latent. Takes each side's (scorer, latents.parquet)."""
    tables: list[pa.Table] = []
    for side in (TRAINED, CONTROL):
        for scorer, table in scored[side]:
            labels = [pa.array([label] * table.num_rows, pa.string()) for label in (side, scorer)]
            columns = [_column(table, field) for field in LATENTS_SCHEMA]
            tables.append(pa.table([*labels, *columns], schema=LATENTS_TABLE_SCHEMA))
    return pa.concat_tables(tables)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    """A column; of nulls where the scores are of a version that did not have it."""
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    return table[field.name].cast(field.type)


def parquet_bytes(table: pa.Table) -> bytes:
    """Returns a Parquet file; the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue()


def _scorer_rows(card: ScorerCard) -> Iterator[Row]:
    for metric in card.metrics.values():
        yield from ({"scorer": card.scorer, "metric": metric.metric, **row} for row in _metric_rows(metric))
    for side in SIDES:
        questions = card.questions[side]
        counts: dict[str, float | None] = {
            "scored": questions.scored,
            "questions_asked": questions.asked,
            "questions_answered": questions.answered,
            **{f"questions_{outcome}": n for outcome, n in sorted(questions.failed_by_outcome.items())},
            "constant_answer_accuracy": questions.constant_answer_accuracy,
            "prompt_tokens": questions.prompt_tokens,
            "cached_tokens": questions.cached_tokens,
            "completion_tokens": questions.completion_tokens,
        }
        yield from ({"scorer": card.scorer, "quantity": k, "side": side, "value": v} for k, v in counts.items())


def _metric_rows(metric: MetricCard) -> Iterator[Row]:
    for side in SIDES:
        score = metric.sides[side]
        yield _row("score", side, score.score)
        yield _row("shuffled", side, score.shuffled)
        yield _row("above_shuffled", side, score.above_shuffled, str(score.distinguishable_from_shuffled))
        yield {"quantity": "floor", "side": side, "value": metric.floor}
    comparison = metric.comparison
    between = "trained_minus_control"
    verdict = str(comparison.distinguishable_from_control)
    p_value = comparison.permutation.p_value if comparison.permutation else None
    yield {**_row("difference", between, comparison.difference, verdict), "p_value": p_value}
    yield _row("cliffs_delta", between, comparison.cliffs_delta)
    yield _row("hedges_g", between, comparison.hedges_g)


def _side_rows(side: SideCard) -> Iterator[Row]:
    counts = side.denominators
    for name in ("total", "dead", "rare", "attempted", "parsed"):
        yield {"quantity": name, "side": side.name, "value": getattr(counts, name)}
    for outcome, n in sorted(counts.failed_by_outcome.items()):
        yield {"quantity": f"explanations_{outcome}", "side": side.name, "value": n}
    found = side.reconstruction
    if found is None:
        return
    yield _row("fvu", side.name, found.fvu)
    for name in ("mse", "cosine", "l0", "dead_fraction", "dense_fraction"):
        yield {"quantity": name, "side": side.name, "value": getattr(found, name), "n": found.token_count}


def _row(quantity: str, side: str, estimate: Estimate, verdict: str | None = None) -> Row:
    return {
        "quantity": quantity,
        "side": side,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "verdict": verdict,
    }
