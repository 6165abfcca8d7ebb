"""Whether an address is this machine's own."""

import ipaddress


def is_loopback(host: str) -> bool:
    """True for localhost and for loopback addresses; never for a name that only looks like one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
