"""The questions put to a judge: a fixed few-shot prefix, then the explanation, then the window.

Everything up to the window is the same for all of a latent's questions, and everything up to the explanation for all
of a method's, so an engine with a prefix cache reads little more than the window. The order in which the two answers
are named stands in the tail for the same reason. Few-shot, because small judges echo a zero-shot question; the worked
examples have as many yes as no, and as many of each under either order.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from latent_cache.render import marked

ANSWERS = ("Yes", "No")
LONGEST_EXPLANATION = 400
"""Characters of an explanation that a judge is shown."""

_ORDERS = ("Yes/No:", "No/Yes:")

_Shot = tuple[str, str, int, str]

_DETECTION_TASK = (
    "Each item has a description and a fragment of text. Say whether the description fits something in the fragment."
)
_DETECTION_SHOTS: Sequence[_Shot] = (
    ("names of months and days", " meeting was moved from Monday to the second week of March, when", 0, "Yes"),
    ("names of months and days", " she had never seen so many ships in the harbour, and the wind was", 1, "No"),
    (
        "the word 'of' in names of institutions",
        " studied law at the University of Vienna before he joined the Bank of",
        1,
        "Yes",
    ),
    ("words about cooking and food", " the parliament voted to raise the tax on imported steel and", 0, "No"),
    ("negation and denial", " he could not say why, and nobody asked him; it was never", 0, "Yes"),
    ("the second half of compound words", " it is as true today as it was then that most of us", 1, "No"),
    ("animals, especially horses", " of the stable, where two grey mares stood and the old dog slept", 1, "Yes"),
    (
        "quotation marks that open direct speech",
        " the river rises in the hills and runs for forty miles before it",
        0,
        "No",
    ),
)

_FUZZING_TASK = (
    "Each item has a description and a fragment of text in which some tokens stand between << and >>. "
    "Say whether the description fits the marked tokens."
)
_FUZZING_SHOTS: Sequence[_Shot] = (
    ("names of months and days", " meeting was moved from<< Monday>> to the second week of<< March>>, when", 0, "Yes"),
    ("names of months and days", " the<< third>> Sunday in June the<< children>> went down to the lake", 1, "No"),
    (
        "the word 'of' in names of institutions",
        " studied law at the University<< of>> Vienna before he joined the Bank<< of>>",
        1,
        "Yes",
    ),
    ("words about cooking and food", " he<< stirred>> the soup and asked<< whether>> there was any bread", 0, "No"),
    ("negation and denial", " he could<< not>> say why, and<< nobody>> asked him; it was<< never>>", 0, "Yes"),
    ("animals, especially horses", " of the<< stable, where>> two grey mares stood and the old dog", 1, "No"),
    ("the second half of compound words", " the fire<<works>> were over and the moon<<light>> lay on the", 1, "Yes"),
    ("numbers and quantities", " at least forty of the<< letters>> were<< lost>> when the two ships", 0, "No"),
)


def detection_prefix() -> str:
    """Returns what every detection prompt begins with."""
    return _prefix(_DETECTION_TASK, _DETECTION_SHOTS)


def fuzzing_prefix() -> str:
    """Returns what every fuzzing prompt begins with."""
    return _prefix(_FUZZING_TASK, _FUZZING_SHOTS)


def question(prefix: str, explanation: str, text: str, order: int) -> str:
    """Returns a whole prompt, to be answered with one of ANSWERS. `order` is 0 or 1: which answer is named first."""
    return f"{prefix}{_item(_shown(explanation), text, order)}"


def plain_text(pieces: Sequence[str]) -> str:
    """Returns a window, given the text of each token, on one line."""
    return _one_line("".join(pieces))


def marked_text(pieces: Sequence[str], marks: Bool[np.ndarray, " pos"]) -> str:
    """Returns a window on one line with each run of marked tokens between << and >>."""
    return _one_line(marked(pieces, marks))


def _prefix(task: str, shots: Sequence[_Shot]) -> str:
    worked = "".join(f"{_item(description, text, order)} {answer}\n\n" for description, text, order, answer in shots)
    return f"{task}\n\n{worked}"


def _item(description: str, text: str, order: int) -> str:
    return f"Description: {description}\nText:{text}\n{_ORDERS[order]}"


def _shown(explanation: str) -> str:
    return " ".join(explanation.split())[:LONGEST_EXPLANATION]


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "\\n")
