"""The default explainer without strengths: windows with marks alone (Paulo et al. 2410.13928, "no activations")."""

from explainer.core.evidence import Evidence
from explainer.core.prompt import Prompt, question
from explainer.core.reply import TAG
from explainer.core.shot import ALL

VERSION = "no_activations-1"

_INSTRUCTIONS = (
    "You are shown fragments of text in which one unit of a language model is active. The tokens on which it is active "
    "stand between << and >>. Say in one short phrase what the marked tokens have in common: a meaning, a role in the "
    "sentence, a form, or what stands before or after them. Do not list the fragments.\n"
    f"Your reply is one line that begins with {TAG}"
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first."""
    turns = [shot.turn(strengths=False) for shot in ALL]
    return Prompt(_INSTRUCTIONS, turns, question(evidence.examples, strengths=False))
