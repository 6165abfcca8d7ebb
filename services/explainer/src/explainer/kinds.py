"""The job kinds of this service."""

from dragoman.kinds import AnyKind
from dragoman.llm import StoreResponseCache
from dragoman.store import Store

from explainer.config import Config
from explainer.explanations_kind import ExplanationsKind
from explainer.llm_writer import LlmWriter
from explainer.nla_client import NlaClient


def build(config: Config, store: Store) -> list[AnyKind]:
    """Returns the kinds with what they need of the world. Connects to nothing."""
    replies = StoreResponseCache(store.objects)
    writer, verbaliser = LlmWriter(config.engine, replies), NlaClient(config.verbaliser, replies)
    return [ExplanationsKind(writer, store, verbaliser, config.engine.price)]
