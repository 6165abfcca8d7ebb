"""The job kinds of this service."""

from dragoman.kinds import AnyKind
from dragoman.llm import StoreResponseCache
from dragoman.store import Store

from scorer.config import Config
from scorer.embedder import EndpointEmbedder
from scorer.llm_judge import LlmJudge
from scorer.scorecard_kind import ScorecardKind
from scorer.scores_kind import ScoresKind
from scorer.text_writer import EngineWriter
from scorer.texts_kind import TextsKind
from scorer.triage_kind import TriageKind


def build(config: Config, store: Store) -> list[AnyKind]:
    """Returns the kinds with what they need of the world. Connects to nothing."""
    cache = StoreResponseCache(store.objects)
    embedder = EndpointEmbedder(config.embedder, cache)
    judge, writer = LlmJudge(config.engine, cache), EngineWriter(config.engine, cache)
    scores = ScoresKind(judge, store, embedder, config.engine.price, config.embedder.price)
    return [scores, ScorecardKind(store), TextsKind(writer, store, config.engine.price), TriageKind(store, embedder)]
