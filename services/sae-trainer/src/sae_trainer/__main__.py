"""`python -m sae_trainer [serve|work]`: the service's processes."""

import os
from importlib.metadata import version
from typing import get_args

from dragoman.service import Capability, ServiceDefinition, main

from sae_trainer.config import Config
from sae_trainer.core.architectures import Architecture
from sae_trainer.kinds import build
from sae_trainer.servicer import SERVICE_NAME, add_servicers


def definition() -> ServiceDefinition:
    """Returns what makes this service differ from another."""
    return ServiceDefinition(
        name="sae-trainer",
        package="sae_trainer",
        build_kinds=lambda store: build(Config.from_env(os.environ), store),
        add_servicers=add_servicers,
        service_names=(SERVICE_NAME,),
        capabilities=lambda: (Capability("architectures", True, ", ".join(get_args(Architecture))),),
        software={name: version(name) for name in ("torch", "dragoman-sparse-coders", "dragoman-sae-trainer")},
    )


if __name__ == "__main__":
    raise SystemExit(main(definition()))
