"""Client of any OpenAI-compatible language-model engine: bounded, retrying, counted, replayable."""

from dragoman.llm.abilities import Abilities
from dragoman.llm.account import Account
from dragoman.llm.cache import ResponseCache, StoreResponseCache, request_key
from dragoman.llm.client import LLMClient
from dragoman.llm.echo import Echo, EchoedToken
from dragoman.llm.endpoint import Endpoint, settled, settled_items
from dragoman.llm.engine import EngineInfo, probe
from dragoman.llm.prompt import ChatPrompt, Message, Prompt, Sampling
from dragoman.llm.reply import Answer, Completion, Failure, FailureKind, TokenLogprob, Usage
from dragoman.llm.retry import LLMTimeout, LLMUnavailable, RetryPolicy
from dragoman.llm.vectors import Embedding

__all__ = [
    "Abilities",
    "Account",
    "Answer",
    "ChatPrompt",
    "Completion",
    "Echo",
    "EchoedToken",
    "Embedding",
    "Endpoint",
    "EngineInfo",
    "Failure",
    "FailureKind",
    "LLMClient",
    "LLMTimeout",
    "LLMUnavailable",
    "Message",
    "Prompt",
    "ResponseCache",
    "RetryPolicy",
    "Sampling",
    "StoreResponseCache",
    "TokenLogprob",
    "Usage",
    "probe",
    "request_key",
    "settled",
    "settled_items",
]
