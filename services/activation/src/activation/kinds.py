"""The kinds of job of this service, wired to its resources. Imports no torch: a server builds them too."""

from typing import TYPE_CHECKING

from dragoman.host_memory import machine_memory_bytes
from dragoman.kinds import AnyKind
from dragoman.store import Store

from activation.activations_kind import ActivationsKind
from activation.config import Config
from activation.description import Descriptions
from activation.effects_kind import EffectsKind
from activation.fidelity_kind import FidelityKind
from activation.latents_kind import LatentsKind
from activation.locations import Locations
from activation.model_refs import ModelRefs
from activation.spec import ModelRef
from activation.tokens_kind import TokensKind

if TYPE_CHECKING:
    from activation.fidelity_run import CoderShelf
    from activation.latents_run import CoderSlot
    from activation.models import LoadedModel, ModelSlot


def build(config: Config, store: Store | None) -> list[AnyKind]:
    """Returns every kind of this service. Without a store, s3:// sources are refused."""
    locations = Locations(config.cache, store)
    descriptions = Descriptions(config.cache, locations)
    models = ModelRefs(
        locations,
        descriptions,
        trust_remote_code=config.trust_remote_code,
        memory_bytes=config.worker_memory_bytes or machine_memory_bytes(),
    )
    compute = _Compute(config, locations)
    return [
        TokensKind(config.cache, store, locations, descriptions),
        ActivationsKind(models, compute.model),
        LatentsKind(models, compute.model, compute.coder),
        EffectsKind(store, compute.model, compute.coder),
        FidelityKind(models, compute.model, compute.coders),
    ]


class _Compute:
    """What only a process that does tasks needs: made, and torch imported, on first use."""

    def __init__(self, config: Config, locations: Locations) -> None:
        self._config = config
        self._locations = locations
        self._models: ModelSlot | None = None
        self._coder: CoderSlot | None = None
        self._coders: CoderShelf | None = None

    def model(self, ref: ModelRef) -> "LoadedModel":
        if self._models is None:
            from activation.models import ModelSlot

            config = self._config
            self._models = ModelSlot(
                self._locations,
                config.cache,
                config.device,
                config.torch_threads,
                trust_remote_code=config.trust_remote_code,
            )
        return self._models.get(ref)

    def coder(self) -> "CoderSlot":
        if self._coder is None:
            from activation.latents_run import CoderSlot

            self._coder = CoderSlot()
        return self._coder

    def coders(self) -> "CoderShelf":
        if self._coders is None:
            from activation.fidelity_run import CoderShelf

            self._coders = CoderShelf()
        return self._coders
