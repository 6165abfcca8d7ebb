"""The questions put to a judge: a fixed few-shot prefix, then the explanation, then the window.

Everything up to the window is the same for all of a latent's questions, and everything up to the explanation for all
of a method's, so an engine with a prefix cache reads little more than the window. Few-shot, because small judges echo
a zero-shot question; the worked examples have as many yes as no.

Neither answer is named before the other: nothing but "Answer:" follows the window. Naming them ("Yes/No:" or
"No/Yes:", permuted by example) moved p_yes of Qwen2.5-Coder-1.5B by 0.3 with the order, noise that took its AUROC on 64
made-up fragments from 0.82 to 0.62. Fuzzing repeats the marked tokens under the window: without that line the same
judge told right from wrong marks on 48 fragments with AUROC 0.57, with it 0.86.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from latent_cache.render import CLOSE, OPEN, marked

LONGEST_EXPLANATION = 400
"""Characters of an explanation that a judge is shown."""

_MARKED = re.compile(f"{OPEN}(.*?){CLOSE}")

_Shot = tuple[str, str, str]
"""Description, text, right answer."""

_DETECTION_TASK = (
    "Each item has a description and a fragment of text. Say whether the description fits something in the fragment."
)
_DETECTION_SHOTS: Sequence[_Shot] = (
    ("names of months and days", " meeting was moved from Monday to the second week of March, when", "Yes"),
    ("names of months and days", " she had never seen so many ships in the harbour, and the wind was", "No"),
    (
        "the word 'of' in names of institutions",
        " studied law at the University of Vienna before he joined the Bank of",
        "Yes",
    ),
    ("words about cooking and food", " the parliament voted to raise the tax on imported steel and", "No"),
    ("negation and denial", " he could not say why, and nobody asked him; it was never", "Yes"),
    ("the second half of compound words", " it is as true today as it was then that most of us", "No"),
    ("animals, especially horses", " of the stable, where two grey mares stood and the old dog slept", "Yes"),
    (
        "quotation marks that open direct speech",
        " the river rises in the hills and runs for forty miles before it",
        "No",
    ),
)

_FUZZING_TASK = (
    "Each item has a description and a fragment of text in which some tokens stand between << and >>. "
    "Say whether the description fits the marked tokens."
)
_FUZZING_SHOTS: Sequence[_Shot] = (
    ("names of months and days", " meeting was moved from<< Monday>> to the second week of<< March>>, when", "Yes"),
    ("names of months and days", " the<< third>> Sunday in June the<< children>> went down to the lake", "No"),
    (
        "the word 'of' in names of institutions",
        " studied law at the University<< of>> Vienna before he joined the Bank<< of>>",
        "Yes",
    ),
    ("words about cooking and food", " he<< stirred>> the soup and asked<< whether>> there was any bread", "No"),
    ("negation and denial", " he could<< not>> say why, and<< nobody>> asked him; it was<< never>>", "Yes"),
    ("animals, especially horses", " of the<< stable, where>> two grey mares stood and the old dog", "No"),
    ("the second half of compound words", " the fire<<works>> were over and the moon<<light>> lay on the", "Yes"),
    ("numbers and quantities", " at least forty of the<< letters>> were<< lost>> when the two ships", "No"),
)


def detection_prefix() -> str:
    """Returns what every detection prompt begins with."""
    return _prefix(_DETECTION_TASK, _DETECTION_SHOTS)


def fuzzing_prefix() -> str:
    """Returns what every fuzzing prompt begins with."""
    shots = [(description, _with_marks_repeated(text), answer) for description, text, answer in _FUZZING_SHOTS]
    return _prefix(_FUZZING_TASK, shots)


def question(prefix: str, explanation: str, text: str) -> str:
    """Returns a whole prompt, to be answered with one of ANSWERS."""
    return f"{prefix}{_item(shown(explanation), text)}"


def plain_text(pieces: Sequence[str]) -> str:
    """Returns a window, given the text of each token, on one line."""
    return one_line("".join(pieces))


def marked_line(pieces: Sequence[str], marks: Bool[np.ndarray, " pos"]) -> str:
    """Returns a window on one line with each run of marked tokens between << and >>."""
    return one_line(marked(pieces, marks))


def marked_text(pieces: Sequence[str], marks: Bool[np.ndarray, " pos"]) -> str:
    """Returns a window on one line with each run of marked tokens between << and >>, and a line that repeats them."""
    return _with_marks_repeated(one_line(marked(pieces, marks)))


def _with_marks_repeated(text: str) -> str:
    return f"{text}\nMarked: {', '.join(run.strip() for run in _MARKED.findall(text))}"


def _prefix(task: str, shots: Sequence[_Shot]) -> str:
    worked = "".join(f"{_item(description, text)} {answer}\n\n" for description, text, answer in shots)
    return f"{task}\n\n{worked}"


def _item(description: str, text: str) -> str:
    return f"Description: {description}\nText:{text}\nAnswer:"


def shown(explanation: str) -> str:
    """Returns an explanation as it is shown: one line, not too long."""
    return " ".join(explanation.split())[:LONGEST_EXPLANATION]


def one_line(text: str) -> str:
    """Returns a text without line breaks of its own."""
    return text.replace("\r", "").replace("\n", "\\n")
