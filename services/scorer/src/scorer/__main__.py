"""`python -m scorer`, `python -m scorer serve`, `python -m scorer work`."""

import os
from collections.abc import Sequence

from dragoman.errors import DragomanError
from dragoman.llm.engine import models
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
    )


def _capabilities() -> Sequence[Capability]:
    engine = Config.from_env(os.environ).engine
    try:
        served = models(engine.url, engine.api_key)
    except DragomanError as error:
        return [Capability("judge", False, error.message)]
    return [Capability("judge", True, f"served: {', '.join(served)}")]


if __name__ == "__main__":
    raise SystemExit(main(definition()))
