"""What scorers of texts that were written have in common, by whomever they were written: no silent windows."""

from scorer.core.scorers.method import Counts, Least


class Texts:
    """As many texts to be answered yes as other scorers have active windows; those to be answered no come with them."""

    choices = 2
    label_free = False
    negative_types = frozenset[str]()
    rivals = 0
    least = Least()

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return 0
