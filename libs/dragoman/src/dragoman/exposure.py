"""Whether a server may listen where it is told to, as it is told to."""

import logging

from dragoman.errors import FailedPrecondition
from dragoman.loopback import is_loopback
from dragoman.rpc.server import ServerConfig

_LOG = logging.getLogger(__name__)


def check_exposure(server: ServerConfig, *, insecure: bool, plaintext: bool) -> None:
    """Refuses a server that asks nobody who calls, or whose tokens could be read on the way, unless it was asked for.

    Args:
        server: Where it listens, and what it asks.
        insecure: It may ask nobody: on loopback only.
        plaintext: It may do without TLS elsewhere: something before it ends TLS, or its network is closed.

    Raises:
        FailedPrecondition: what is missing, and the names of the settings.
    """
    local = is_loopback(server.address.rpartition(":")[0])
    asks = server.principals is not None or (server.tls is not None and server.tls.client_ca is not None)
    if not asks and not insecure:
        raise _refused(
            "would ask nobody who calls: set DRAGOMAN_PRINCIPALS, DRAGOMAN_TOKEN or DRAGOMAN_TLS_CLIENT_CA; or, on "
            "loopback, ask for that by DRAGOMAN_INSECURE=1"
        )
    if not asks and not local:
        raise _refused(
            f"would ask nobody who calls. DRAGOMAN_INSECURE is for loopback only, and {server.address} is not: listen "
            "on 127.0.0.1"
        )
    if server.tls is None and not local and not plaintext:
        raise _refused(
            f"would send tokens and results over {server.address} in plain text: set DRAGOMAN_TLS_CERTIFICATE and "
            "DRAGOMAN_TLS_KEY; or, where something before this server ends TLS, say so by DRAGOMAN_PLAINTEXT=1"
        )
    if not asks:
        _LOG.warning("INSECURE: every user of this machine may submit jobs and read everything")
    elif server.tls is None and not local:
        _LOG.warning("PLAINTEXT: whoever is on the way can read tokens and results")


def _refused(why: str) -> FailedPrecondition:
    return FailedPrecondition(f"the server does not start: it {why}", reason="INSECURE")
