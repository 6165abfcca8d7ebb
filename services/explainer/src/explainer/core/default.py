"""The default explainer: marked windows with strengths, worked examples, a short answer (Paulo et al. 2410.13928).

Any change of what a model reads is a new VERSION: it is part of the identity of the explanations.
"""

from explainer.core.evidence import Evidence
from explainer.core.prompt import Prompt, question
from explainer.core.reply import TAG
from explainer.core.shot import ALL

VERSION = "default-1"

_INSTRUCTIONS = (
    "You are shown fragments of text in which one unit of a language model is active. The tokens on which it is active "
    "stand between << and >>; after each fragment they are listed with their strength, from 1 (weak) to 10 (strong). "
    "Say in one short phrase what the marked tokens have in common: a meaning, a role in the sentence, a form, or what "
    "stands before or after them. Strong tokens matter more than weak ones. Do not list the fragments.\n"
    f"Your reply is one line that begins with {TAG}"
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first."""
    return Prompt(_INSTRUCTIONS, [shot.turn() for shot in ALL], question(evidence.examples))
