"""Prompts of simulation and surprisal.

Simulation: the tokens of a fragment, one a line, a tab, and how strongly the description applies there, 0 to 9 (Bills
et al. 2023 go to 10, which is two tokens). A number that is not told is "?": it begins with no letter, so that no
tokenizer joins it to the tab.
"""

from collections.abc import Sequence

DIGITS = tuple("0123456789")
UNKNOWN = "?"

_SIMULATION_TASK = (
    "Each item has a description and the tokens of a fragment of text, one a line. After each token stands how "
    "strongly the description applies to it: 0 not at all, 9 most strongly."
)
_SIMULATION_SHOTS: Sequence[tuple[str, Sequence[tuple[str, int | None]]]] = (
    (
        "names of months and days",
        ((" was", 0), (" moved", None), (" from", 0), (" Monday", 9), (" to", None), (" the", None), (" second", 1),
         (" week", 2), (" of", None), (" March", 8), (",", 0), (" when", 0)),
    ),
    (
        "negation and denial",
        ((" he", None), (" could", 1), (" not", 9), (" say", 0), (" why", None), (",", None), (" and", None),
         (" nobody", 7), (" asked", None), (";", 0), (" it", 0), (" was", None), (" never", 9)),
    ),
    (
        "words about cooking and food",
        ((" the", None), (" parliament", None), (" voted", None), (" to", None), (" raise", 0), (" the", None),
         (" tax", None), (" on", None), (" imported", 0), (" beef", 6), (" and", None), (" steel", 0)),
    ),
)  # fmt: skip
"""None: the number is not told. Without such lines here, a model that sees only them later says nothing else."""
_GENERIC = "Various unrelated sentences."
_SURPRISAL_SHOTS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "Names of months and days",
        (
            " the meeting was moved from Monday to the second week of March, when",
            " on a Sunday in June the whole family went down to the lake and",
        ),
    ),
    (
        _GENERIC,
        (
            " the river rises in the hills and runs for forty miles before it",
            " could not say why he had come, and nobody asked him; it was",
        ),
    ),
    (
        "Animals, especially horses",
        (
            " of the stable, where two grey mares stood and the old dog slept",
            " a flock of sheep came down from the hills, and behind them a",
        ),
    ),
)


def simulation_prefix() -> str:
    """Returns what every simulation prompt begins with."""
    worked = "".join(
        simulation_head("", description) + "".join(_told(text, value) for text, value in tokens) + "\n"
        for description, tokens in _SIMULATION_SHOTS
    )
    return f"{_SIMULATION_TASK}\n\n{worked}"


def _told(text: str, value: int | None) -> str:
    return token_line(text, UNKNOWN if value is None else str(value))


def simulation_head(prefix: str, explanation: str) -> str:
    """Returns a prompt up to its first token."""
    return f"{prefix}Description: {explanation}\n"


def token_line(text: str, value: str) -> str:
    """Returns a token with its number, or UNKNOWN."""
    return f"{token_question(text)}{value}\n"


def token_question(text: str) -> str:
    """Returns a token's line up to its number."""
    return f"{text.replace(chr(13), '').replace(chr(10), chr(92) + 'n').replace(chr(9), ' ')}\t"


def surprisal_prefix() -> str:
    """Returns what every surprisal prompt begins with."""
    return "".join(
        f"Description: {description}\nText:{text}\n\n" for description, texts in _SURPRISAL_SHOTS for text in texts
    )


def surprisal_prompt(prefix: str, explanation: str) -> str:
    """Returns a prompt up to the text; without an explanation, that of nothing in particular."""
    return f"{prefix}Description: {explanation or _GENERIC}\nText:"
