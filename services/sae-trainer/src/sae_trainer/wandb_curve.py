"""A coder's curve in Weights & Biases while it is trained, where the operator asks for it. Imports wandb only then."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from sae_trainer.core.curve import Point
from sae_trainer.spec import CoderSpec

_LOG = logging.getLogger(__name__)
_INIT_SECONDS = 20.0


class WandbCurve:
    """A run of a project. What fails there is said in the log, once, and training goes on."""

    def __init__(self, project: str, coder_id: str, spec: CoderSpec) -> None:
        """Takes up the run of this coder, or begins it: a task that is tried again goes on in the same one."""
        self._run: Any = None
        self._told = 0
        self._try(lambda: self._begin(project, coder_id, spec))

    def tell(self, curve: Sequence[Point]) -> None:
        """Tells the points that were not told before."""
        if self._run is not None:
            self._try(lambda: self._log(curve))

    def close(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._try(self._run.finish)

    def _begin(self, project: str, coder_id: str, spec: CoderSpec) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self._run = wandb.init(
            project=project,
            id=coder_id,
            name=coder_id,
            config=spec.model_dump(mode="json"),
            resume="allow",
            reinit="create_new",  # several coders of one pass
            settings=wandb.Settings(silent=True, console="off", init_timeout=_INIT_SECONDS),
        )

    def _log(self, curve: Sequence[Point]) -> None:
        for point in curve[self._told :]:
            values = point._asdict()
            self._run.log(values, step=values.pop("step"))
        self._told = len(curve)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  a curve that is not shown is no reason to lose a run
            _LOG.warning("Weights & Biases is not told any more: %s: %s", type(error).__name__, error)
            self._run = None
