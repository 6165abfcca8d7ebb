"""The kinds of job of this service, wired to its resources. Imports no torch: a server builds them too."""

from typing import TYPE_CHECKING

from dragoman.host_memory import machine_memory_bytes
from dragoman.kinds import AnyKind
from dragoman.store import Store
from hooked_models.model_host import ModelHost

from activation.activations_kind import ActivationsKind
from activation.config import Config
from activation.effects_kind import EffectsKind
from activation.fidelity_kind import FidelityKind
from activation.latents_kind import LatentsKind
from activation.tokens_kind import TokensKind

if TYPE_CHECKING:
    from activation.fidelity_run import CoderShelf
    from activation.latents_run import CoderSlot


def build(config: Config, store: Store | None) -> list[AnyKind]:
    """Returns every kind of this service. Without a store, s3:// sources are refused."""
    memory_bytes = config.worker_memory_bytes or machine_memory_bytes()
    host = ModelHost(
        config.cache,
        store,
        device=config.device,
        threads=config.torch_threads,
        trust_remote_code=config.trust_remote_code,
        memory_bytes=memory_bytes,
    )
    coders = _Coders()
    return [
        TokensKind(config.cache, store, host.locations, host.descriptions),
        ActivationsKind(host.refs, host.load),
        LatentsKind(host.refs, host.load, coders.slot, memory_bytes),
        EffectsKind(store, host.load, coders.slot),
        FidelityKind(host.refs, host.load, coders.shelf, memory_bytes),
    ]


class _Coders:
    """What only a process that does tasks needs: made, and torch imported, on first use."""

    def __init__(self) -> None:
        self._slot: CoderSlot | None = None
        self._shelf: CoderShelf | None = None

    def slot(self) -> "CoderSlot":
        if self._slot is None:
            from activation.latents_run import CoderSlot

            self._slot = CoderSlot()
        return self._slot

    def shelf(self) -> "CoderShelf":
        if self._shelf is None:
            from activation.fidelity_run import CoderShelf

            self._shelf = CoderShelf()
        return self._shelf
