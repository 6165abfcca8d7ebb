"""Sweeps: which coders they mean, and that nothing is submitted unless all of them can be."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from dragoman.errors import InvalidSpec
from dragoman.jobs import JobRecord
from pydantic import ValidationError
from sae_trainer.spec import CoderSpec
from sae_trainer.sweeping import Swept, submit_sweep

from tests.support.memory_desk import MemoryDesk

BASE: Mapping[str, Any] = {"activations_id": "activations-0", "d_sae": 64}


class CheckingDesk(MemoryDesk):
    """Checks specs as the trainer's desk does; requests are kept with their ids."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []

    async def check(self, kind: str, spec: Mapping[str, Any]) -> None:
        try:
            CoderSpec.model_validate(spec)
        except ValidationError as error:
            raise InvalidSpec(error.errors()[0]["msg"], field="k") from error

    async def submit(self, kind: str, spec: Mapping[str, Any], request_id: str = "") -> tuple[JobRecord, bool]:
        self.requests.append(request_id)
        return await super().submit(kind, spec, request_id)


def sweep(desk: MemoryDesk, request_id: str = "", **lists: Any) -> list[Swept]:
    return asyncio.run(submit_sweep(desk, {"base": BASE, **lists}, request_id))


def test_every_combination_once_the_first_list_slowest() -> None:
    desk = CheckingDesk()
    swept = sweep(desk, "mine", architectures=["topk", "jumprelu"], ks=[4, 8], seeds=[0, 1])
    assert [one.label for one in swept] == [
        "architecture=topk k=4 seed=0",
        "architecture=topk k=4 seed=1",
        "architecture=topk k=8 seed=0",
        "architecture=topk k=8 seed=1",
        "architecture=jumprelu target_l0=4 seed=0",
        "architecture=jumprelu target_l0=4 seed=1",
        "architecture=jumprelu target_l0=8 seed=0",
        "architecture=jumprelu target_l0=8 seed=1",
    ]
    assert swept[4].job.spec == {**BASE, "architecture": "jumprelu", "target_l0": 4, "seed": 0}
    assert len({one.job.id for one in swept}) == 8
    assert desk.requests == [f"mine.{number}" for number in range(8)]
    assert all(one.created for one in swept)
    again = sweep(desk, "mine", architectures=["topk", "jumprelu"], ks=[4, 8], seeds=[0, 1])
    assert [(one.job.id, one.created) for one in again] == [(one.job.id, False) for one in swept]


def test_a_sweep_of_nothing_is_one_coder() -> None:
    [one] = sweep(CheckingDesk())
    assert (one.label, one.job.spec) == ("", BASE)


def test_nothing_is_submitted_when_one_combination_is_wrong() -> None:
    desk = CheckingDesk()
    with pytest.raises(InvalidSpec) as error:
        sweep(desk, hookpoints=["layers.1", "layers.2"], ks=[32, 65])
    assert [found.field for found in error.value.violations] == [
        "base (k=65 hookpoint=layers.1).k",
        "base (k=65 hookpoint=layers.2).k",
    ]
    assert "only 64 latents" in error.value.violations[0].description
    assert desk.requests == []


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"ks": [4, 8, 4]}, "4 is listed twice"),
        ({"seeds": list(range(40)), "ks": list(range(1, 41))}, "1,600 coders; at most 1,000"),
    ],
)
def test_lists_that_cannot_be_meant(lists: dict[str, list[int]], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        sweep(CheckingDesk(), "", **lists)
