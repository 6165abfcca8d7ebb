"""Whether tokens and a coder belong together: the coder must have been trained on tokens of the same policy."""

from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec
from hooked_models.token_checks import check_policy
from latent_cache.token_policy import policy_of


def check_coder_policy(tokens: InputInfo, coder: InputInfo, field_name: str = "coder_id") -> None:
    """Raises InvalidSpec that says what differs, when a coder was trained on tokens of another policy.

    An imported coder says nothing of its tokens: then there is nothing to check.
    """
    policy = check_policy(tokens)
    trained_on: Any = coder.manifest.statistics.get("token_policy") if coder.manifest is not None else None
    if policy is None or trained_on is None:
        return
    differing = policy_of(trained_on).differences(policy)
    if differing:
        raise InvalidSpec(
            f"{coder.id} was trained on tokens of another policy than those of {tokens.id}: {', '.join(differing)} "
            "(the coder's first); make tokens with the coder's policy",
            field=field_name,
            reason="TOKEN_POLICY_MISMATCH",
        )
