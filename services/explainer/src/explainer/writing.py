"""The last stage: the tables of all tasks joined, in the selection's order. One task."""

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
from dragoman.artifacts import PartInfo
from dragoman.errors import UserTaskError
from dragoman.kinds import Checkpoint, Context, Part, Progress

from explainer.explaining import ATTEMPTED
from explainer.spec import ExplanationsSpec
from explainer.stages import EXPLAIN, parts_of
from explainer.tables import EXPLANATIONS, EXPLANATIONS_SCHEMA, WINDOWS, WINDOWS_SCHEMA, join


def write(spec: ExplanationsSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
    """Yields explanations.parquet and windows.parquet. Raises UserTaskError when too many latents got none."""
    yield Progress(0, 2, "tables")
    made = parts_of(spec, context, EXPLAIN)
    parts = [part for part in made if part.name.startswith("explained-")]
    _check_failures(spec, context, parts)
    for schema, prefix, name in (
        (EXPLANATIONS_SCHEMA, "explained-", EXPLANATIONS),
        (WINDOWS_SCHEMA, "windows-", WINDOWS),
    ):
        tables = (context.own.read(p.name) for p in made if p.name.startswith(prefix))
        count = join(tables, schema, context.scratch / name)
        yield Part(name, path=context.scratch / name, row_count=count)


def outcomes(parts: list[PartInfo]) -> Counter[str]:
    """Sums up how latents ended, over the parts of the stage that explains."""
    total: Counter[str] = Counter()
    for part in parts:
        counted: Any = part.metadata.get("outcomes", {})
        total.update({str(name): int(count) for name, count in counted.items()})
    return total


def _check_failures(spec: ExplanationsSpec, context: Context, parts: list[PartInfo]) -> None:
    counts = outcomes(parts)
    attempted = sum(counts[name] for name in ATTEMPTED)
    failed = attempted - counts["explained"]
    if failed <= spec.max_failed_fraction * attempted:
        return
    named = ", ".join(f"{counts[name]} {name}" for name in ATTEMPTED[1:] if counts[name])
    mend = "a selection of latents that have evidence, or a higher max_failed_fraction"
    if spec.llm is not None:
        mend = f"a stronger model than {spec.llm.model!r}, more llm.max_tokens, or a higher max_failed_fraction"
    raise UserTaskError(
        f"{failed} of {attempted} latents got no explanation ({named}), more than max_failed_fraction "
        f"({spec.max_failed_fraction:g}) allows; latent {_first_failure(context, parts)}. "
        f"Use {mend}",
        reason="TOO_MANY_FAILED",
    )


def _first_failure(context: Context, parts: list[PartInfo]) -> str:
    for part in parts:
        for row in pq.read_table(io.BytesIO(context.own.read(part.name))).to_pylist():
            if row["outcome"] in ATTEMPTED[1:]:
                answered = "" if row["reply"] is None else f" was answered {row['reply'][:200]!r}"
                return f"{row['latent']}{answered}: {row['reason']}"
    raise AssertionError("failures were counted but none is in the tables")
