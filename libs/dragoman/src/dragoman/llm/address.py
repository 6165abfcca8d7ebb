"""Where an engine is, and how to speak to it."""

import httpx


def api_root(base_url: str) -> str:
    """The address with exactly one `/v1` at its end."""
    return base_url.rstrip("/").removesuffix("/v1") + "/v1"


def auth_headers(api_key: str | None) -> dict[str, str]:
    """The header that carries the key, if there is one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, which no proxy of the environment can reach."""
    host = httpx.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")
