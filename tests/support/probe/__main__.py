"""`python -m probe`: the shell around the probe and the empty kind."""

import sys

from dragoman.service import ServiceDefinition, main

from probe.asking import AskKind
from probe.kinds import EmptyKind, ProbeKind

DEFINITION = ServiceDefinition(
    name="probe",
    package="probe",
    build_kinds=lambda store: [ProbeKind(), EmptyKind(), AskKind()],
    add_servicers=lambda server, desk: None,
    service_names=(),
)

if __name__ == "__main__":
    sys.exit(main(DEFINITION))
