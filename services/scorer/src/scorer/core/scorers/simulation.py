"""Simulation: how strongly does the latent fire on each token? (Bills et al. 2023; 2410.13928, section 4.)"""

from scorer.core.examples import Example
from scorer.core.measures import SIMULATED
from scorer.core.prompts import shown
from scorer.core.prompts_simulation import DIGITS, simulation_head, simulation_prefix
from scorer.core.requests import Request
from scorer.core.requests import Simulation as SimulationRequest
from scorer.core.scorers.method import LOGPROBS, Pieces
from scorer.core.scorers.plain_windows import PlainWindows


class Simulation(PlainWindows):
    """The windows of detection; for each token the expected value of the number that the engine would give it.

    All at once: no number is told, so that one pass over a prompt that echoes gives all of them; where an engine does
    not echo, the same numbers are asked for one by one. Token by token: the likeliest number of each token is told with
    those after it.
    """

    prefix = simulation_prefix()
    form = SIMULATED
    choices = len(DIGITS)
    needs = frozenset({LOGPROBS})

    def __init__(self, name: str, fed_back: bool) -> None:
        self.name = name
        self.version = f"{name}-1"
        self._fed_back = fed_back

    def request(self, example: Example, explanation: str, pieces: Pieces) -> Request:
        """See Method.request."""
        head = simulation_head(self.prefix, shown(explanation))
        return SimulationRequest(head, tuple(pieces(example.window)), self._fed_back)
