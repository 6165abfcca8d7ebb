"""Keeping secrets out of whatever is told: log lines, statuses, failures, progress."""

import contextlib
import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_SECRETS: set[str] = set()
_SHORTEST_SECRET = 6
_SECRET_NAMES = ("_PASSWORD", "_API_KEY", "_SECRET_KEY", "_TOKEN")
_OURS = ("DRAGOMAN_", "EXPLAINER_", "OTEL_")
"""How the names of variables begin that may hold addresses with passwords in them."""


def register_secret(value: str) -> None:
    """Keeps a value out of every later log line, wherever it comes from. Too short values are let be."""
    if len(value) >= _SHORTEST_SECRET:
        _SECRETS.update({value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]})


def register_secrets(environ: Mapping[str, str]) -> None:
    """Registers passwords, keys and tokens, known by their variables' names, and passwords inside addresses."""
    for name, value in environ.items():
        if name.endswith(_SECRET_NAMES):
            register_secret(value)
        elif name.startswith(_OURS) and "@" in value:
            for url in value.split(","):
                with contextlib.suppress(ValueError):
                    register_secret(urlsplit(url.strip()).password or "")


def redact(line: str) -> str:
    """Blots out every secret in one pass, the longest first: what stands for a secret is not looked at again."""
    if not _SECRETS:
        return line
    return re.sub("|".join(re.escape(s) for s in sorted(_SECRETS, key=len, reverse=True)), "[secret]", line)
