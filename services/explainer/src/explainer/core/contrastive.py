"""An explainer that sees where the latent is silent, too: what do the first windows have that the others lack?

Delphi's ContrastiveExplainer is the model; the counter-examples here are silent windows with the same tokens, or those
of neighbours (core/counters.py).
"""

from collections.abc import Sequence

from explainer.core.evidence import Evidence
from explainer.core.example import Example, marked_text, one_line
from explainer.core.prompt import Prompt, answer, question
from explainer.core.reply import TAG
from explainer.core.shot import INSTITUTIONS, NEGATION, Shot

VERSION = "contrastive-1"

_STRENGTHS = "; after each of these fragments they are listed with their strength, from 1 (weak) to 10 (strong)"
_SHOTS: tuple[tuple[Shot, Sequence[str]], ...] = (
    (
        INSTITUTIONS,
        ("the roof of the house was covered with leaves", "a cup of tea and a piece of cake for each of them"),
    ),
    (NEGATION, ("he could walk again after a week", "everybody knew that there was bread in the kitchen")),
)
_STOP = ("\n- ", "\nActive:", "\nMarked tokens:")


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first, and counter-examples."""
    strengths = evidence.show_strengths
    turns = [(_with(shot.turn(strengths)[0], silent), answer(shot.explanation)) for shot, silent in _SHOTS]
    asked = _with(question(evidence.examples, strengths), [_plain(counter) for counter in evidence.counters])
    return Prompt(_instructions(strengths), turns, asked, _STOP)


def _instructions(strengths: bool) -> str:
    return (
        "You are shown two lists of fragments of text. In those under 'Active' one unit of a language model is active; "
        f"the tokens on which it is active stand between << and >>{_STRENGTHS if strengths else ''}. In those under "
        "'Silent' it is not active anywhere, though they may look alike. Say in one short phrase what the marked "
        "tokens have in common that the silent fragments do not have. Do not list the fragments.\n"
        f"Your reply is one line that begins with {TAG}"
    )


def _with(active: str, silent: Sequence[str]) -> str:
    """Puts the silent windows between the active ones and the line of marked tokens, which stays the last."""
    windows, tokens = active.rsplit("\nMarked tokens: ", 1)
    listed = "\n".join(f"- {text}" for text in silent) or "(none)"
    return f"Active:\n{windows}\nSilent:\n{listed}\nMarked tokens: {tokens}"


def _plain(example: Example) -> str:
    """The text of a silent window, which has nothing to mark."""
    return one_line(marked_text(example))
