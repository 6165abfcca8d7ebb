"""How the rows of a tokens artifact were made: BOS, packing, chat template, which positions count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dragoman.errors import FailedPrecondition

POLICY_VERSION = 1


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a model saw in a row, and what of it counts as an activation."""

    bos_token_id: int | None
    """The id with which each row starts; None for none."""
    packing: str
    """"packed", "document" or "truncated"."""
    chat_template: str | None
    """sha256 of the template by which conversations were rendered; None for plain text."""
    counts_special_tokens: bool
    """True when special tokens inside documents count as activations. BOS of a row and padding never do."""

    def differences(self, other: "TokenPolicy") -> list[str]:
        """Returns in words what differs: this one first, then the other."""
        fields = ("bos_token_id", "packing", "chat_template", "counts_special_tokens")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in fields]
        return [f"{name} {_word(mine)} against {_word(theirs)}" for name, mine, theirs in pairs if mine != theirs]


def token_policy(statistics: Mapping[str, Any], artifact_id: str) -> TokenPolicy:
    """Reads and checks the policy of a tokens artifact; every reader of token rows calls it.

    Args:
        statistics: of the manifest of a tokens artifact.
        artifact_id: named in errors.

    Raises:
        FailedPrecondition: the policy is of a version not known here, or says of BOS what the rows do not.
    """
    given: Any = statistics.get("token_policy")
    if given is None:  # tokens of version 1: plain text, packed; no special token was ever counted out
        return TokenPolicy(_bos(statistics.get("bos_token_id")), "packed", None, True)
    if given["version"] != POLICY_VERSION:
        raise FailedPrecondition(
            f"the token policy of {artifact_id} is of version {given['version']}; this reads version {POLICY_VERSION}: "
            "use the release of Dragoman that made these tokens, or make them again",
            reason="TOKEN_POLICY_UNKNOWN",
        )
    policy = policy_of(given)
    if bool(statistics["has_bos"]) != (policy.bos_token_id is not None):
        raise FailedPrecondition(
            f"the manifest of {artifact_id} contradicts itself: has_bos is {statistics['has_bos']}, "
            f"its token policy has bos_token_id {_word(policy.bos_token_id)}; make the tokens again",
            reason="TOKEN_POLICY_INCONSISTENT",
        )
    return policy


def policy_of(given: Mapping[str, Any]) -> TokenPolicy:
    """Reads a policy as manifests hold it under `token_policy`, also of artifacts made from tokens."""
    return TokenPolicy(
        _bos(given["bos_token_id"]),
        str(given["packing"]),
        None if given["chat_template"] is None else str(given["chat_template"]),
        bool(given["counts_special_tokens"]),
    )


def _bos(value: Any) -> int | None:
    return None if value is None else int(value)


def _word(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)[:16]
