"""`python -m scorer`, `python -m scorer serve`, `python -m scorer work`."""

import os
from collections.abc import Sequence

from dragoman.service import Capability, ServiceDefinition, main

from scorer.config import Config
from scorer.kinds import build
from scorer.servicer import SERVICE_NAME, add_servicers


def definition() -> ServiceDefinition:
    """What makes this service differ from the others."""
    return ServiceDefinition(
        name="scorer",
        package="scorer",
        build_kinds=lambda store: build(Config.from_env(os.environ), store),
        add_servicers=add_servicers,
        service_names=(SERVICE_NAME,),
        capabilities=_capabilities,
        checks={"language model": lambda: Config.from_env(os.environ).engine.trouble()},
    )


def _capabilities() -> Sequence[Capability]:
    return [Capability("judge", *Config.from_env(os.environ).engine.served())]


if __name__ == "__main__":
    raise SystemExit(main(definition()))
