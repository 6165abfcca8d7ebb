"""The models of this host, as the service's settings say. Imports no torch."""

from dragoman.host_memory import machine_memory_bytes
from dragoman.store import Store
from hooked_models.model_host import ModelHost

from sae_trainer.config import Config


def host_of(config: Config, store: Store | None) -> ModelHost:
    """Returns the models that coders may be streamed from; s3:// uris are read in `store`."""
    return ModelHost(
        config.cache.expanduser(),
        store,
        device=config.device,
        threads=config.torch_threads,
        trust_remote_code=config.trust_remote_code,
        memory_bytes=config.worker_memory_bytes or machine_memory_bytes(),
    )
