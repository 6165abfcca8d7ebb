"""Worked examples of windows, for every explainer that shows windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from explainer.core.prompt import answer, question_text


@dataclass(frozen=True, slots=True)
class Shot:
    """Windows, each with the strengths of its marked tokens, all marked tokens, and what they have in common."""

    windows: Sequence[tuple[str, str]]
    tokens: str
    explanation: str

    def turn(self, strengths: bool = True) -> tuple[str, str]:
        """Returns question and answer, with the strengths or without."""
        windows = [(text, listed if strengths else "") for text, listed in self.windows]
        return question_text(windows, self.tokens), answer(self.explanation)


WEATHER = Shot(
    (
        ("rain and<< wind>> all night; in the morning the<< storm>> had passed", "(wind 6, storm 10)"),
        ("a cold<< fog>> lay over the harbour until noon", "(fog 8)"),
    ),
    "storm, fog, wind",
    "weather",
)
INSTITUTIONS = Shot(
    (
        ("studied law at the University<< of>> Vienna before he joined the Bank<< of>>", "(of 10, of 8)"),
        ("a member of the Department<< of>> Trade and the Board<< of>> Health", "(of 9, of 9)"),
    ),
    "of",
    "the word 'of' inside names of institutions",
)
NEGATION = Shot(
    (
        ("the doctor said that he could<< not>> walk, and<< nobody>> knew", "(not 8, nobody 7)"),
        ("there was<< no>> bread left, and she had<< never>> been so", "(no 9, never 10)"),
    ),
    "never, no, not, nobody",
    "negation",
)
PAST = Shot(
    (
        ("they<< walked>> along the river and<< talked>> until it was late", "(walked 9, talked 7)"),
        ("when she<< opened>> the door he<< turned>> to the window", "(opened 10, turned 8)"),
    ),
    "opened, walked, turned, talked",
    "verbs in the past tense",
)
QUOTATION = Shot(
    (
        ('he said:<< ">>I will go," and she said:<< ">>Stay."', '(" 9, " 10)'),
        ('asked the judge.<< ">>Nothing," said the thief', '(" 8)'),
    ),
    '"',
    "the quotation mark that opens direct speech",
)
ALL = (WEATHER, INSTITUTIONS, NEGATION, PAST, QUOTATION)
