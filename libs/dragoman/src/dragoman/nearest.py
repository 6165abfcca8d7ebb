"""What the user may have meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """Returns the choices that look most like a name, best first; none when nothing is alike."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]


def suggestion(name: str, choices: Iterable[str], all_up_to: int = 24) -> str:
    """Returns a sentence naming the nearest choices, and all of them while they are few.

    >>> suggestion("max_token", ["max_tokens", "seed"])
    "did you mean 'max_tokens'? The choices are max_tokens, seed"
    """
    names = list(choices)
    alike = nearest(name, names)
    if not names:
        return "there are none to choose from"
    listed = f"the choices are {', '.join(names)}" if len(names) <= all_up_to else ""
    if not alike:
        return listed or f"none of the {len(names)} choices is alike"
    meant = "did you mean " + " or ".join(repr(n) for n in alike) + "?"
    return f"{meant} {listed[0].upper()}{listed[1:]}" if listed else meant
