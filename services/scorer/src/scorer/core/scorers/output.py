"""Output: which of three sets of texts was written with this latent turned up? (2501.08319, "output metric".)"""

from collections.abc import Sequence

from latent_cache import Window

from scorer.core.examples import STEERED, Example, Shown
from scorer.core.measures import TRIALS
from scorer.core.prompts_steered import SETS, output_prefix, output_question
from scorer.core.requests import Choice, Request
from scorer.core.scorers.method import Counts, Drawn, Least, Pieces
from scorer.core.scorers.steered_texts import SteeredTexts, written_marks, written_text

TEXTS = 3
"""Texts in a set, as published."""


class Output(SteeredTexts):
    """The latent's steered texts beside those of two other latents at the same KL after the same prompts.

    The same three sets make three trials, with the latent's own in each place once and the order of the others kept: a
    judge of places has accuracy 1/3 and AUROC 0.5 exactly. In the null a third latent's explanation is shown.
    """

    name = "output"
    version = "output-rotated-1"
    prefix = output_prefix()
    form = TRIALS
    choices = len(SETS)
    rivals = 2
    """Latents whose texts stand beside its own in a trial."""
    least = Least(active=len(SETS), null=len(SETS))

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed. A set of texts for each group of trials."""
        return counts.active // len(SETS) * TEXTS

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        others = list(drawn.rivals.values())
        found: list[Example] = []
        for group in range(len(drawn.active) // TEXTS if len(others) > 1 else 0):
            texts = slice(group * TEXTS, (group + 1) * TEXTS)
            beside = [others[(2 * group + i) % len(others)][texts] for i in range(len(SETS) - 1)]
            for place in range(len(SETS)):
                sets = [*beside[:place], drawn.active[texts], *beside[place:]]
                found.append(_trial(drawn, sets, place, 1 + group * len(SETS) + place))
        return found

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        texts = ["".join(written_text(pieces, other.window, other.marks)) for other in example.company]
        sets = [texts[first : first + TEXTS] for first in range(0, len(texts), TEXTS)]
        return Choice(output_question(self.prefix, explanation, sets), SETS)


def _trial(drawn: Drawn, sets: Sequence[Sequence[Window]], place: int, series: int) -> Example:
    company = tuple(
        Shown(window, written_marks(window, drawn.written), -1, near=number == place)
        for number, windows in enumerate(sets)
        for window in windows
    )
    own = sets[place][0]
    return Example(drawn.latent, own, STEERED, True, -1, written_marks(own, drawn.written), company, place, series)
