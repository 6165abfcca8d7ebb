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
    scores = ScoresKind(LlmJudge(config.engine, cache), store, embedder, config.price)
    return [scores, ScorecardKind(store), TextsKind(EngineWriter(config.engine, cache)), TriageKind(store, embedder)]
