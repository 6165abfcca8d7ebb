"""`python -m explainer`, `python -m explainer serve`, `python -m explainer work`."""

import os
from collections.abc import Sequence

from dragoman.service import Capability, ServiceDefinition, main

from explainer.config import Config
from explainer.kinds import build
from explainer.servicer import SERVICE_NAME, add_servicers


def definition() -> ServiceDefinition:
    """What makes this service differ from the others."""
    return ServiceDefinition(
        name="explainer",
        package="explainer",
        build_kinds=lambda store: build(Config.from_env(os.environ), store),
        add_servicers=add_servicers,
        service_names=(SERVICE_NAME,),
        capabilities=_capabilities,
        checks={"language model": lambda: Config.from_env(os.environ).engine.trouble()},
    )


def _capabilities() -> Sequence[Capability]:
    return [Capability("explainer model", *Config.from_env(os.environ).engine.served())]


if __name__ == "__main__":
    raise SystemExit(main(definition()))
