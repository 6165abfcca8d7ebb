"""An explainer that tests what it supposes (after SAGE, 2511.20820): propose, test, refine, test again.

Half of the windows are shown, and three hypotheses asked for. Each is tested on windows that were not shown, activating
and silent ones mixed and unmarked: the model says which of them fit, the recorded activations say which should. The
best hypothesis is refined with its mistakes, and the better of the two is the explanation. SAGE has new texts written
and run through the subject model; here texts are those whose activations are recorded.
"""

import re
from collections.abc import Sequence

import numpy as np

from explainer.core.dialogue import Dialogue, Heard, read
from explainer.core.evidence import Evidence
from explainer.core.example import Example, marked_text, one_line
from explainer.core.prompt import Prompt, answer, question
from explainer.core.reply import LONGEST, TAG, Reply
from explainer.core.shot import INSTITUTIONS, NEGATION, Shot

VERSION = "hypotheses-1"

PROPOSED = 3
CALLS = 1 + PROPOSED + 2
"""Prompts of one latent at most: a proposal, the tests, a refinement, its test."""

_HYPOTHESIS, _FITS = "[HYPOTHESIS]:", "[FITS]:"
_ASSUMED_WORDS = 40  # of a hypothesis, for counting beforehand
_PROPOSE = (
    "You are shown fragments of text in which one unit of a language model is active. The tokens on which it is active "
    "stand between << and >>{strengths}. Say what the marked tokens have in common, in three different short phrases: "
    "for example their meaning, their role or form, and what stands before or after them.\n"
    f"Your reply is three lines, each of which begins with {_HYPOTHESIS}"
)
_STRENGTHS = "; after each fragment they are listed with their strength, from 1 (weak) to 10 (strong)"
_PROPOSALS: Sequence[tuple[Shot, Sequence[str]]] = (
    (INSTITUTIONS, ("the word 'of' inside names of institutions", "the word 'of'", "a preposition before a capital")),
    (NEGATION, ("negation", "words such as 'not' before or after a verb", "statements that something is missing")),
)
_TEST = (
    "You are given a description and numbered texts. Say which texts have something in them that fits the "
    f"description.\nYour reply is one line that begins with {_FITS} and lists their numbers, or says none."
)
_TESTS = (
    (
        ("negation", ("The road was wide and new.", "She had never seen the sea.", "Nobody answered him.")),
        "2, 3",
    ),
    (("days of the week", ("He sang in the garden.", "They bought bread.")), "none"),
)
_REFINE = (
    "A description says on what one unit of a language model is active, but it fails on the texts below. In some the "
    "unit is active, on the tokens between << and >>, though the description does not fit; in others it is silent, "
    "though the description fits. Write a better description: one short phrase.\n"
    f"Your reply is one line that begins with {TAG}"
)
_REFINED = (
    ("Description: weather", ("a<< storm>> of applause met the singer",), ("it was warm and sunny all day",)),
    "storms, also in a figure of speech",
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the first prompt, which asks for hypotheses on every other window."""
    strengths = evidence.show_strengths
    turns = [(shot.turn(strengths)[0], _lines(said)) for shot, said in _PROPOSALS]
    instructions = _PROPOSE.format(strengths=_STRENGTHS if strengths else "")
    shown = question(evidence.examples[::2], strengths)
    return Prompt(instructions, turns, shown, ("\n- ", "\nMarked tokens:"))


def dialogue(evidence: Evidence) -> Dialogue:
    """Proposes, tests, refines and tests again; the reason of what comes out says how it did in its test."""
    texts = _tested(evidence)
    [heard] = yield [prompt(evidence)]
    proposed = _hypotheses(heard)
    if not proposed:
        return _nothing(heard)
    verdicts = yield [_test(hypothesis, texts) for hypothesis in proposed]
    scored = [_score(verdict, texts) for verdict in verdicts]
    best = max(range(len(proposed)), key=lambda i: (scored[i], -i))
    [heard] = yield [_refinement(proposed[best], _fitting(verdicts[best]), texts)]
    refined = read(heard).explanation
    if refined is None:
        return _chosen(proposed[best], scored[best], texts)
    [verdict] = yield [_test(refined, texts)]
    score = _score(verdict, texts)
    return _chosen(refined, score, texts) if score > scored[best] else _chosen(proposed[best], scored[best], texts)


def assumed(evidence: Evidence) -> Sequence[Prompt]:
    """Returns the prompts of a dialogue that takes every turn, with hypotheses of 40 words that fit no text."""
    said = "word " * _ASSUMED_WORDS
    replies = [
        _lines([f"{said}{number}" for number in range(PROPOSED)]),
        *[f"{_FITS} none"] * PROPOSED,
        answer(said),
        f"{_FITS} none",
    ]
    asked: list[Prompt] = []
    talk = dialogue(evidence)
    turn = next(talk)
    try:
        while True:
            asked += turn
            turn = talk.send([Heard(replies.pop(0)) for _ in turn])
    except StopIteration:
        return asked


def _tested(evidence: Evidence) -> Sequence[Example]:
    """Returns windows that were not shown, mixed by seed: no more activating ones than there are silent ones."""
    held = evidence.examples[1::2][: max(1, len(evidence.counters))]
    texts = [*held, *evidence.counters]
    order = np.random.Generator(np.random.PCG64(evidence.seed)).permutation(len(texts))
    return [texts[i] for i in order]


def _hypotheses(heard: Heard) -> Sequence[str]:
    """Returns at most three different hypotheses; one where the model gave an explanation instead."""
    if heard.failure:
        return ()
    found = re.findall(r"\[\s*hypothesis\s*\d*\s*\]\s*:?\s*(.+)", heard.text, re.IGNORECASE)
    cleaned = [text.strip(" \t*_`\"'")[:LONGEST] for text in found]
    different = list(dict.fromkeys(text for text in cleaned if any(c.isalnum() for c in text)))
    explanation = None if different else read(heard).explanation
    return [explanation] if explanation else different[:PROPOSED]


def _nothing(heard: Heard) -> Reply:
    """How a dialogue ends that began without a hypothesis."""
    reply = read(heard)
    said = f"the reply has no line that begins with {_HYPOTHESIS}"
    return reply if reply.outcome != "unparsable" or heard.failure else Reply("unparsable", None, said)


def _test(hypothesis: str, texts: Sequence[Example]) -> Prompt:
    turns = [(_numbered(of, shown), f"{_FITS} {fits}") for (of, shown), fits in _TESTS]
    plain = [one_line("".join(example.texts)).strip() for example in texts]
    return Prompt(_TEST, turns, _numbered(hypothesis, plain), ("\n",))


def _numbered(description: str, texts: Sequence[str]) -> str:
    lines = [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
    return "\n".join([f"Description: {description}", *lines])


def _fitting(heard: Heard) -> frozenset[int] | None:
    """Returns the numbers, from 0, of the texts that were said to fit; None where the reply cannot be read."""
    found = re.search(r"\[\s*fits\s*\]\s*:?(.*)", heard.text, re.IGNORECASE)
    if heard.failure or found is None:
        return None
    return frozenset(int(number) - 1 for number in re.findall(r"\d+", found[1]))


def _score(heard: Heard, texts: Sequence[Example]) -> float:
    """Returns the balanced accuracy of a test: 0.5 for a reply that says nothing."""
    fits = _fitting(heard)
    if fits is None:
        return 0.5
    right = [(i in fits) == _active(example) for i, example in enumerate(texts)]
    of = [[r for r, example in zip(right, texts, strict=True) if _active(example) is kind] for kind in (True, False)]
    shares = [sum(each) / len(each) for each in of if each]
    return sum(shares) / len(shares) if shares else 0.5


def _active(example: Example) -> bool:
    return bool(example.activations.max() > 0)


def _refinement(hypothesis: str, fits: frozenset[int] | None, texts: Sequence[Example]) -> Prompt:
    """Asks for a better description of what a hypothesis failed on; of all texts where it failed on none."""
    wrong = [example for i, example in enumerate(texts) if fits is not None and (i in fits) != _active(example)]
    failed = wrong or texts
    active = [marked_text(example) for example in failed if _active(example)]
    silent = [marked_text(example) for example in failed if not _active(example)]
    shot, better = _REFINED
    return Prompt(_REFINE, [(_lists(*shot), answer(better))], _lists(f"Description: {hypothesis}", active, silent))


def _lists(description: str, active: Sequence[str], silent: Sequence[str]) -> str:
    named = (("Active, but it does not fit:", active), ("Silent, but it fits:", silent))
    return "\n".join([description, *(line for what, texts in named if texts for line in (what, *texts))])


def _lines(hypotheses: Sequence[str]) -> str:
    return "\n".join(f"{_HYPOTHESIS} {hypothesis}" for hypothesis in hypotheses)


def _chosen(explanation: str, score: float, texts: Sequence[Example]) -> Reply:
    reason = f"balanced accuracy {score:.2f} in its own test on {len(texts)} train windows"
    return Reply("explained", explanation, reason)
