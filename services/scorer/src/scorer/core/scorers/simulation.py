"""Simulation: how strongly does the latent fire on each token? (Bills et al. 2023; 2410.13928, section 4.)"""

from scorer.core.examples import NEAR, NEIGHBOUR, Example
from scorer.core.measures import SIMULATED
from scorer.core.prompts import shown
from scorer.core.prompts_simulation import DIGITS, simulation_head, simulation_prefix
from scorer.core.requests import Request
from scorer.core.requests import Simulation as SimulationRequest
from scorer.core.scorers.detection import labelled, random_needed
from scorer.core.scorers.method import LOGPROBS, Counts, Drawn, Pieces


class Simulation:
    """The windows of detection; for each token the expected value of the number that the engine would give it.

    All at once: no number is told, so that one pass over a prompt that echoes gives all of them; where an engine does
    not echo, the same numbers are asked for one by one. Token by token: the likeliest number of each token is told with
    those after it.
    """

    prefix = simulation_prefix()
    form = SIMULATED
    choices = len(DIGITS)
    needs = frozenset({LOGPROBS})
    label_free = False
    negative_types = frozenset({NEIGHBOUR, NEAR})
    rivals = 0

    def __init__(self, name: str, fed_back: bool) -> None:
        self.name = name
        self.version = f"{name}-1"
        self._fed_back = fed_back

    def active_needed(self, counts: Counts) -> int:
        """See Method.active_needed."""
        return counts.active

    def silent_needed(self, counts: Counts, null_count: int) -> int:
        """See Method.silent_needed."""
        return random_needed(counts)

    def examples(self, drawn: Drawn, counts: Counts, seed: int) -> list[Example]:
        """See Method.examples."""
        return labelled(drawn)

    def null_examples(self, drawn: Drawn, counts: Counts, seed: int, count: int) -> list[Example]:
        """See Method.null_examples."""
        return []

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        head = simulation_head(self.prefix, shown(explanation))
        return SimulationRequest(head, tuple(pieces(example.window)), self._fed_back)
