"""Curves in Weights & Biases: each point once, and a run that goes on without it. The library is stood in for."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.sae_trainer.test_coder_kind import CONFIG, activations, train

SHOWING = dataclasses.replace(CONFIG, wandb_project="coders")


class Wandb:
    """What is called of the library, and what it was told."""

    def __init__(self, broken: bool = False) -> None:
        self.asked: dict[str, Any] = {}
        self.points: list[dict[str, float]] = []
        self.finished, self.broken = 0, broken

    def init(self, **asked: Any) -> "Wandb":
        self.asked = asked
        return self

    def Settings(self, **settings: Any) -> SimpleNamespace:
        return SimpleNamespace(**settings)

    def log(self, values: dict[str, float], step: int) -> None:
        if self.broken:
            raise OSError("network is unreachable")
        self.points.append({"step": step, **values})

    def finish(self) -> None:
        self.finished += 1


def test_each_point_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    coder = train(activations(tmp_path), tmp_path / "coder", SHOWING)
    assert (wandb.asked["project"], wandb.asked["id"], wandb.asked["resume"]) == ("coders", coder.id, "allow")
    assert wandb.asked["config"] == coder.manifest.spec
    assert [point["step"] for point in wandb.points] == list(range(1, 53))
    assert set(wandb.points[0]) == {"step", "token_count", "fvu", "l0", "dead_fraction", "loss", "learning_rate"}
    assert wandb.finished == 1


@pytest.mark.parametrize("wandb", [Wandb(broken=True), None], ids=["broken", "not installed"])
def test_a_run_goes_on_without_it(
    wandb: Wandb | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = activations(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    shown, plain = train(source, tmp_path / "shown", SHOWING), train(source, tmp_path / "plain")
    assert shown.read("sae.safetensors") == plain.read("sae.safetensors")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert warned[0].startswith("Weights & Biases is not told any more: ")
