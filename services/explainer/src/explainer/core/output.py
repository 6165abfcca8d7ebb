"""The output-centric explainer: what the latent makes the model say (Gur-Arieh et al. 2501.08319).

Evidence is VocabProj (the decoder row through the unembedding), TokenChange (tokens that move when the latent is turned
up), or both.
"""

from collections.abc import Sequence

from explainer.core.evidence import Evidence, OutputEvidence
from explainer.core.example import name
from explainer.core.prompt import Prompt, answer
from explainer.core.reply import TAG

VERSION = "output-1"

PROJECTED = 25
"""At most this many tokens of either end of VocabProj are shown."""
CHANGED = 10
"""At most this many tokens that rise or fall are shown (the paper's number)."""

_INSTRUCTIONS = (
    "A unit of a language model changes which token comes next. You are shown tokens that it makes likelier and tokens "
    "that it makes less likely, the strongest first, some of them pieces of words. Many are noise: look for what "
    "several have in common. Say in one short phrase what the unit makes the model say.\n"
    f"Your reply is one line that begins with {TAG}"
)
_SHOTS: Sequence[tuple[OutputEvidence, str]] = (
    (
        OutputEvidence(
            (" her", " she", " herself", "she", " hers", "Her"),
            (" his", " him", " himself"),
            (" she", " her", " Mrs"),
            (" he", " his"),
        ),
        "feminine pronouns and titles",
    ),
    (
        OutputEvidence(
            (" Tuesday", " Friday", "day", " Monday", " noon"),
            (" the", "ing", " tree"),
            (" Friday", " Monday", " next"),
            (" and", " of"),
        ),
        "days of the week",
    ),
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for tokens of either end. Shots have the lines that the question has."""
    asked = lines(evidence.output)
    kept = {line.split(":")[0] for line in asked}
    turns = [
        ("\n".join(line for line in lines(shot) if line.split(":")[0] in kept), answer(said)) for shot, said in _SHOTS
    ]
    return Prompt(_INSTRUCTIONS, turns, "\n".join(asked), ("\n",))


def lines(output: OutputEvidence) -> Sequence[str]:
    """Returns one line for each kind of evidence that there is."""
    named = (
        ("Promoted directly", output.promoted, PROJECTED),
        ("Suppressed directly", output.suppressed, PROJECTED),
        ("Likelier in texts", output.raised, CHANGED),
        ("Less likely in texts", output.lowered, CHANGED),
    )
    return [f"{what}: {', '.join(name(t) for t in tokens[:count])}" for what, tokens, count in named if tokens]
