"""Input and output evidence in one prompt: the "raw" ensemble of Gur-Arieh et al. 2501.08319, the best of theirs."""

from collections.abc import Sequence

from explainer.core.evidence import Evidence, OutputEvidence
from explainer.core.output import lines
from explainer.core.prompt import Prompt, answer, question
from explainer.core.reply import TAG
from explainer.core.shot import NEGATION, WEATHER, Shot

VERSION = "ensemble-1"

_STRENGTHS = ", listed with their strength, from 1 (weak) to 10 (strong), after each fragment"
_SHOTS: Sequence[tuple[Shot, OutputEvidence, str]] = (
    (WEATHER, OutputEvidence((" rain", " storm", " clouds", "y"), (" law",), (" rain", " snow"), (" he",)), "weather"),
    (
        NEGATION,
        OutputEvidence((" any", " anything", " ever", " longer"), (" some",), (" any", " at"), (" always",)),
        "negation, followed by words such as 'any'",
    ),
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for windows, given strongest first, and the tokens that the latent moves."""
    strengths = evidence.show_strengths
    asked = _with(question(evidence.examples, strengths), lines(evidence.output))
    kept = {line.split(":")[0] for line in lines(evidence.output)}
    turns: list[tuple[str, str]] = []
    for shot, output, said in _SHOTS:
        shown = [line for line in lines(output) if line.split(":")[0] in kept]
        turns.append((_with(shot.turn(strengths)[0], shown), answer(said)))
    return Prompt(_instructions(strengths), turns, asked)


def _instructions(strengths: bool) -> str:
    return (
        "You are shown two kinds of evidence about one unit of a language model. First, fragments of text in which it "
        f"is active: the tokens on which it is active stand between << and >>{_STRENGTHS if strengths else ''}. Then, "
        "tokens that it makes likelier or less likely to come next; many of these are noise. Say in one short phrase "
        "what the unit stands for: what it is active on, and, where that is clear, what it makes the model say.\n"
        f"Your reply is one line that begins with {TAG}"
    )


def _with(windows: str, output: Sequence[str]) -> str:
    """Puts the output evidence before the line of marked tokens, which stays the last."""
    shown, tokens = windows.rsplit("\nMarked tokens: ", 1)
    return "\n".join([shown, *output, f"Marked tokens: {tokens}"])
