"""The default explainer: marked windows with strengths, worked examples, a short answer (Paulo et al. 2410.13928).

Any change of what a model reads is a new VERSION: it is part of the identity of the explanations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from explainer.core.example import Example
from explainer.core.prompt import Prompt, answer, question, question_text
from explainer.core.reply import TAG

VERSION = "default-1"

_INSTRUCTIONS = (
    "You are shown fragments of text in which one unit of a language model is active. The tokens on which it is active "
    "stand between << and >>; after each fragment they are listed with their strength, from 1 (weak) to 10 (strong). "
    "Say in one short phrase what the marked tokens have in common: a meaning, a role in the sentence, a form, or what "
    "stands before or after them. Strong tokens matter more than weak ones. Do not list the fragments.\n"
    f"Your reply is one line that begins with {TAG}"
)


@dataclass(frozen=True, slots=True)
class _Shot:
    windows: Sequence[tuple[str, str]]
    tokens: str
    explanation: str


_SHOTS = (
    _Shot(
        (
            ("rain and<< wind>> all night; in the morning the<< storm>> had passed", "(wind 6, storm 10)"),
            ("a cold<< fog>> lay over the harbour until noon", "(fog 8)"),
        ),
        "storm, fog, wind",
        "weather",
    ),
    _Shot(
        (
            ("studied law at the University<< of>> Vienna before he joined the Bank<< of>>", "(of 10, of 8)"),
            ("a member of the Department<< of>> Trade and the Board<< of>> Health", "(of 9, of 9)"),
        ),
        "of",
        "the word 'of' inside names of institutions",
    ),
    _Shot(
        (
            ("the doctor said that he could<< not>> walk, and<< nobody>> knew", "(not 8, nobody 7)"),
            ("there was<< no>> bread left, and she had<< never>> been so", "(no 9, never 10)"),
        ),
        "never, no, not, nobody",
        "negation",
    ),
    _Shot(
        (
            ("they<< walked>> along the river and<< talked>> until it was late", "(walked 9, talked 7)"),
            ("when she<< opened>> the door he<< turned>> to the window", "(opened 10, turned 8)"),
        ),
        "opened, walked, turned, talked",
        "verbs in the past tense",
    ),
    _Shot(
        (
            ('he said:<< ">>I will go," and she said:<< ">>Stay."', '(" 9, " 10)'),
            ('asked the judge.<< ">>Nothing," said the thief', '(" 8)'),
        ),
        '"',
        "the quotation mark that opens direct speech",
    ),
)


def prompt(examples: Sequence[Example]) -> Prompt:
    """Returns the prompt for windows, given strongest first."""
    shots = [(question_text(shot.windows, shot.tokens), answer(shot.explanation)) for shot in _SHOTS]
    return Prompt(_INSTRUCTIONS, shots, question(examples))
