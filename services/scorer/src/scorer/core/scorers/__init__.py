"""The scorers, by name. A new one is a file here and a line in METHODS."""

from collections.abc import Mapping

from scorer.core.scorers.decile_intruder import DecileIntruder
from scorer.core.scorers.detection import Detection
from scorer.core.scorers.discrimination import Discrimination
from scorer.core.scorers.embedding import Embedding
from scorer.core.scorers.example_embedding import ExampleEmbedding
from scorer.core.scorers.faithfulness import Faithfulness
from scorer.core.scorers.fuzzing import Fuzzing, FuzzingSilent
from scorer.core.scorers.generation import Generation
from scorer.core.scorers.intervention import Intervention
from scorer.core.scorers.intruder import Intruder
from scorer.core.scorers.method import Counts, Drawn, Method
from scorer.core.scorers.output import Output
from scorer.core.scorers.simulation import Simulation
from scorer.core.scorers.surprisal import Surprisal

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Detection(),
        Fuzzing(),
        FuzzingSilent(),
        Intruder(),
        DecileIntruder(),
        Embedding(),
        ExampleEmbedding(),
        Simulation("simulation", fed_back=False),
        Simulation("simulation_token_by_token", fed_back=True),
        Surprisal(),
        Discrimination(),
        Intervention(),
        Faithfulness(),
        Output(),
        Generation(),
    )
}

__all__ = ["METHODS", "Counts", "Drawn", "Method"]
