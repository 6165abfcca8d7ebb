"""The models of one host. Imports no torch: a server makes it too."""

from pathlib import Path
from typing import TYPE_CHECKING

from dragoman.store import Store

from hooked_models.description import Descriptions
from hooked_models.locations import Locations
from hooked_models.model_ref import ModelRef
from hooked_models.model_refs import ModelRefs

if TYPE_CHECKING:
    from hooked_models.models import LoadedModel, ModelSlot


class ModelHost:
    """Where models lie, what is known of them, and, in a process that does tasks, the one in memory."""

    def __init__(
        self,
        cache: Path,
        store: Store | None,
        *,
        device: str,
        threads: int,
        trust_remote_code: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        """`memory_bytes`: of the largest worker; None: not known. The others as in `ModelSlot`.

        Without a store, s3:// sources are refused.
        """
        self.locations = Locations(cache, store)
        self.descriptions = Descriptions(cache, self.locations)
        self.refs = ModelRefs(
            self.locations, self.descriptions, trust_remote_code=trust_remote_code, memory_bytes=memory_bytes
        )
        self._settings = (cache, device, threads)
        self._trust = trust_remote_code
        self._slot: ModelSlot | None = None

    def load(self, ref: ModelRef) -> "LoadedModel":
        """Returns a model, loaded now unless it is the one in memory; imports torch on first use.

        Raises UserTaskError.
        """
        if self._slot is None:
            from hooked_models.models import ModelSlot

            self._slot = ModelSlot(self.locations, *self._settings, trust_remote_code=self._trust)
        return self._slot.get(ref)
