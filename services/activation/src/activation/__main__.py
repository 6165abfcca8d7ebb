"""`python -m activation [serve|work]`: the activation service."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from dragoman.service import Capability, ServiceDefinition, main

from activation.config import Config
from activation.kinds import build
from activation.servicer import SERVICE_NAME, add_servicers


def definition() -> ServiceDefinition:
    """Returns what makes this service different from the others."""
    return ServiceDefinition(
        name="activation",
        package="activation",
        build_kinds=lambda store: build(Config.from_env(os.environ), store),
        add_servicers=add_servicers,
        service_names=(SERVICE_NAME,),
        capabilities=_capabilities,
        software={name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy")},
    )


def _capabilities() -> Sequence[Capability]:
    gguf = find_spec("gguf") is not None
    trust = Config.from_env(os.environ).trust_remote_code
    return (
        Capability("gguf", gguf, "GGUF files are dequantised once a host" if gguf else "install the package gguf"),
        Capability(
            "trust_remote_code",
            trust,
            "code that comes with a model is run where a spec asks for it"
            if trust
            else "code that comes with a model is not run; the operator may set ACTIVATION_TRUST_REMOTE_CODE=1",
        ),
    )


if __name__ == "__main__":
    sys.exit(main(definition()))
