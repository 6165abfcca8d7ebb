"""An explainer that thinks first: words, what they share, then the answer (Paulo et al. 2410.13928, "CoT")."""

from explainer.core.evidence import Evidence
from explainer.core.prompt import Prompt, question
from explainer.core.reply import TAG
from explainer.core.shot import INSTITUTIONS, WEATHER, Shot

VERSION = "chain_of_thought-1"

_STRENGTHS = " After each fragment they are listed with their strength, from 1 (weak) to 10 (strong)."
_TASK = (
    " Write three lines. Words: the marked tokens that matter most. Shared: what they, and the text before and after "
    "them, have in common in several fragments. Then, in one short phrase, your explanation. Do not list the "
    f"fragments.\nYour last line begins with {TAG}"
)
_MARKS = (
    "You are shown fragments of text in which one unit of a language model is active. The tokens on which it is active "
    "stand between << and >>."
)
_THOUGHTS: tuple[tuple[Shot, str, str], ...] = (
    (WEATHER, "storm, fog, wind", "all are nouns for what the weather does; the rest of each fragment is of any kind"),
    (
        INSTITUTIONS,
        "of",
        "always the same word, and always inside a name of an institution: University, Bank, Department, Board",
    ),
)
_STOP = ("\nMarked tokens:",)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first."""
    strengths = evidence.show_strengths
    turns: list[tuple[str, str]] = []
    for shot, words, shared in _THOUGHTS:
        asked, answered = shot.turn(strengths)
        turns.append((asked, f"Words: {words}\nShared: {shared}\n{answered}"))
    instructions = _MARKS + (_STRENGTHS if strengths else "") + _TASK
    return Prompt(instructions, turns, question(evidence.examples, strengths), _STOP)
