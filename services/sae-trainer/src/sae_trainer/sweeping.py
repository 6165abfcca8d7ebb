"""Submits the coders of a sweep: all of them are checked before the first one is recorded."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dragoman.desk import Desk
from dragoman.errors import InvalidSpec, Violation
from dragoman.jobs import JobRecord

from sae_trainer.core.sweep import LARGEST_SWEEP, Combination, combinations, repeated
from sae_trainer.spec_path import below

_KIND = "coder"
_NO_LISTS = ("base", "one_pass")


class Swept(NamedTuple):
    """One coder of a sweep, submitted."""

    label: str
    job: JobRecord
    created: bool


async def submit_sweep(desk: Desk, spec: Mapping[str, Any], request_id: str) -> list[Swept]:
    """Submits one job for each combination of a sweep's spec, as it was given.

    Raises:
        InvalidSpec: a combination cannot be trained; all of them are named.
    """
    found = _combinations(spec)
    violations = [violation for one in found for violation in await _violations(desk, one)]
    if violations:
        raise InvalidSpec(violations, reason="INVALID_SWEEP")
    if spec.get("one_pass"):
        found = await _trained_together(desk, found, request_id)
    swept: list[Swept] = []
    for number, (label, coder) in enumerate(found):
        job, created = await desk.submit(_KIND, coder, f"{request_id}.{number}" if request_id else "")
        swept.append(Swept(label, job, created))
    return swept


async def _trained_together(desk: Desk, found: Sequence[Combination], request_id: str) -> Sequence[Combination]:
    """Submits one job that trains all of them, and returns each as what is taken out of it."""
    job, _ = await desk.submit("coders", {"coders": [dict(one.spec) for one in found]}, request_id)
    return [
        Combination(one.label, {"taken": {"coders_id": job.id, "number": number}}) for number, one in enumerate(found)
    ]


def _combinations(spec: Mapping[str, Any]) -> Sequence[Combination]:
    lists: dict[str, Sequence[Any]] = {name: values for name, values in spec.items() if name not in _NO_LISTS}
    twice = [Violation(name, f"{value} is listed twice") for name, value in repeated(lists).items()]
    if twice:
        raise InvalidSpec(twice)
    count = math.prod(len(values) for values in lists.values())
    if count > LARGEST_SWEEP:
        raise InvalidSpec(f"these lists make {count:,} coders; at most {LARGEST_SWEEP:,} are submitted at once")
    return list(combinations(spec.get("base") or {}, lists))


async def _violations(desk: Desk, one: Combination) -> list[Violation]:
    """Returns what is wrong with one combination, with its label before the field."""
    try:
        await desk.check(_KIND, one.spec)
    except InvalidSpec as error:
        return below(f"base ({one.label})" if one.label else "base", error)
    return []
