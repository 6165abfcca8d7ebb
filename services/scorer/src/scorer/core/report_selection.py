"""From tables to what is shown: which latents, which of their windows, which of the judge's mistakes.

The page is bounded; what it leaves out is in the tables, and the page says how much that is.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from scorer.core.judgement import ANSWERED, SCORE
from scorer.core.report_content import LatentView, Mistake, TextWindow

LATENTS_SHOWN = 60
"""Cards of one side."""
WINDOWS_SHOWN = 5
"""Windows in a card."""
MISTAKES_SHOWN = 2
"""Mistakes in a card for each scorer and each right answer."""
TOKENS_SHOWN = 64
"""Tokens of a window."""
NOT_ATTEMPTED = ("rare", "dead", "over_budget", "planned")

Row = Mapping[str, Any]


def chosen(explanations: pa.Table) -> tuple[list[Row], int]:
    """Returns the attempted latents that get a card, evenly spread over ranks, and how many were attempted."""
    rows: list[Row] = [r for r in explanations.to_pylist() if r["outcome"] not in NOT_ATTEMPTED]
    rows.sort(key=lambda r: (r["rank"], r["latent"]))
    if len(rows) <= LATENTS_SHOWN:
        return rows, len(rows)
    last = len(rows) - 1
    places = sorted({round(i * last / (LATENTS_SHOWN - 1)) for i in range(LATENTS_SHOWN)})
    return [rows[place] for place in places], len(rows)


def views(
    side: str,
    rows: Sequence[Row],
    windows: pa.Table,
    scores: Mapping[str, pa.Table],
    examples: Mapping[str, pa.Table],
) -> list[LatentView]:
    """Returns the cards of one side.

    rows: of explanations.parquet. windows: windows.parquet. scores and examples: by scorer, of the tables of its name.
    """
    by_latent = _grouped(windows.to_pylist())
    scored = {scorer: {r["latent"]: r for r in table.to_pylist()} for scorer, table in scores.items()}
    wrong = {scorer: _grouped(_mistaken(table)) for scorer, table in examples.items()}
    return [_view(side, row, by_latent, scored, wrong) for row in rows]


def _view(
    side: str,
    row: Row,
    windows: Mapping[int, list[Row]],
    scored: Mapping[str, Mapping[int, Row]],
    wrong: Mapping[str, Mapping[int, list[Row]]],
) -> LatentView:
    latent = int(row["latent"])
    own = sorted(windows.get(latent, []), key=lambda w: (-w["max_activation"], w["window"]))
    mistakes = {scorer: found.get(latent, []) for scorer, found in wrong.items()}
    return LatentView(
        side=side,
        latent=latent,
        rank=int(row["rank"]),
        firing_count=int(row["firing_count"]),
        density=float(row["density"]),
        max_activation=float(row["max_activation"]),
        explanation=row["explanation"],
        outcome=str(row["outcome"]),
        reason=str(row["reason"] or ""),
        scores={scorer: rows[latent] for scorer, rows in scored.items() if latent in rows},
        windows=[_window(w) for w in own[:WINDOWS_SHOWN]],
        window_count=len(own),
        mistakes=[m for scorer, found in mistakes.items() for m in _worst(scorer, found)],
        mistake_count=sum(map(len, mistakes.values())),
    )


def _window(row: Row) -> TextWindow:
    tokens, activations = row["tokens"][:TOKENS_SHOWN], row["activations"][:TOKENS_SHOWN]
    return TextWindow(tokens, activations, int(row["document"]), str(row["split"]), bool(row["shown"]))


def _mistaken(examples: pa.Table) -> Iterable[Row]:
    return (
        r
        for r in examples.to_pylist()
        if r["arm"] == SCORE and r["outcome"] == ANSWERED and r["answer"] is not None and r["answer"] != r["label"]
    )


def _worst(scorer: str, rows: Sequence[Row]) -> list[Mistake]:
    """The mistakes of which the judge was surest, some of either kind."""
    found: list[Mistake] = []
    for label in (True, False):
        mine = [r for r in rows if r["label"] is label]
        mine.sort(key=lambda r: (-_wrongness(r), r["example"]))
        found += [_mistake(scorer, r) for r in mine[:MISTAKES_SHOWN]]
    return found


def _wrongness(row: Row) -> float:
    p_yes = 0.5 if row["p_yes"] is None else float(row["p_yes"])
    return 1.0 - p_yes if row["label"] else p_yes


def _mistake(scorer: str, row: Row) -> Mistake:
    marked = row["marked"] or []
    window = TextWindow(
        row["tokens"][:TOKENS_SHOWN],
        row["activations"][:TOKENS_SHOWN],
        int(row["document"]),
        "test",
        marked=marked[:TOKENS_SHOWN] if any(marked) else (),
    )
    return Mistake(scorer, str(row["type"]), bool(row["label"]), row["p_yes"], window)


def _grouped(rows: Iterable[Row]) -> dict[int, list[Row]]:
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[int(row["latent"])].append(row)
    return groups
