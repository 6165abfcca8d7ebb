"""Where a service's language model is, from the environment, and the rules that all of its users share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

from dragoman.errors import DragomanError, InvalidSpec
from dragoman.llm.cache import ResponseCache
from dragoman.llm.client import LLMClient
from dragoman.llm.engine import models
from dragoman.llm.price import Price
from dragoman.llm.prompt import Prompt, Sampling
from dragoman.llm.reply import Completion, Failure, FailureKind
from dragoman.llm.retry import LLMTimeout, RetryPolicy
from dragoman.nearest import suggestion
from dragoman.telemetry import register_secret

_DEFAULT_URL = "http://127.0.0.1:8090"
_SHORTEST_TIMEOUT = 0.001

_Item = TypeVar("_Item")
_Reply = TypeVar("_Reply")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine is and how hard to push it. Connects only when it is asked something."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    """Used where a spec names none; empty means the first that the engine serves."""
    concurrency: int = 4
    """Requests in flight at once."""
    timeout: float = 600.0
    """Seconds for one reply."""
    variable: str = "DRAGOMAN_LLM"
    """How the names of its settings begin, for messages."""
    price: Price | None = None
    """Of a million tokens, where the operator tells it."""

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], prefix: str, concurrency: int, timeout: float, role: str = "LLM"
    ) -> Self:
        """Reads DRAGOMAN_LLM_URL, _API_KEY and _MODEL, `<prefix>_LLM_CONCURRENCY` and `<prefix>_LLM_TIMEOUT_S`.

        The key is kept out of every later log line. `concurrency` and `timeout` (seconds) hold where nothing is set.
        `role` EMBED reads the same of an embeddings endpoint, which has no default address. Prices: `Price.from_env`.

        Raises:
            InvalidSpec: a concurrency below 1, a timeout not above 0, what is no number, or half of a price.
        """
        variable = f"DRAGOMAN_{role}"
        api_key = environ.get(f"{variable}_API_KEY") or None
        register_secret(api_key or "")
        return cls(
            url=environ.get(f"{variable}_URL") or (_DEFAULT_URL if role == "LLM" else ""),
            api_key=api_key,
            model=environ.get(f"{variable}_MODEL", ""),
            concurrency=round(_number(environ, f"{prefix}_{role}_CONCURRENCY", concurrency, low=1.0)),
            timeout=_number(environ, f"{prefix}_{role}_TIMEOUT_S", timeout, low=_SHORTEST_TIMEOUT),
            variable=variable,
            price=Price.from_env(environ, variable, replies=role == "LLM"),
        )

    def resolve(self, wanted: str, field: str = "llm.model") -> str:
        """Returns the model to use: the wanted one, or where that is empty this endpoint's, or the first served.

        `field` of a spec has the name.

        Raises:
            InvalidSpec: the engine does not serve it (UNKNOWN_MODEL); the message names the nearest that it serves.
            Unavailable, FailedPrecondition: as `dragoman.llm.engine.models`.
        """
        served = models(self.url, self.api_key, variable=self.variable)
        model = wanted or self.model or (served[0] if served else "")
        if model not in served:
            raise InvalidSpec(
                f"the language-model engine does not serve {model!r}; {suggestion(model, served)}",
                field=field,
                reason="UNKNOWN_MODEL",
            )
        return model

    def client(self, model: str, cache: ResponseCache | None = None) -> LLMClient:
        """Returns a client of one model. The caller closes it."""
        return LLMClient(
            self.url,
            model,
            api_key=self.api_key,
            max_concurrency=self.concurrency,
            timeout=self.timeout,
            # A reply that took all its time is tried once more, for half as long.
            retry=RetryPolicy(deadline=1.5 * self.timeout),
            cache=cache,
            price=self.price,
        )

    def served(self) -> tuple[bool, str]:
        """Returns whether the engine answers, and which models it serves or why it does not answer."""
        try:
            return True, f"served: {', '.join(models(self.url, self.api_key, variable=self.variable))}"
        except DragomanError as error:
            return False, error.message

    def trouble(self) -> str:
        """Returns why the engine cannot be used now, empty when it can."""
        available, detail = self.served()
        return "" if available else detail


def settled(
    client: LLMClient, prompts: Sequence[Prompt], sampling: Sampling
) -> Iterator[tuple[int, Completion | Failure]]:
    """Yields (index of the prompt, its reply) as `LLMClient.complete_many`, once for every prompt.

    A prompt that times out while others are answered is a `Failure` of its own, of kind TIMEOUT. Each one that was
    still waiting then is asked once more, alone.

    Raises:
        LLMTimeout: no prompt was answered, so that the engine is at fault and the task is worth another try later.
        UserTaskError, LLMUnavailable: as `LLMClient.complete_many`.
    """
    yield from settled_items(prompts, lambda some: client.complete_many(some, sampling))


def settled_items(
    items: Sequence[_Item], ask: Callable[[Sequence[_Item]], Iterator[tuple[int, _Reply | Failure]]]
) -> Iterator[tuple[int, _Reply | Failure]]:
    """The same for any items and a call that puts some of them to an engine."""
    waiting = set(range(len(items)))
    try:
        for index, reply in ask(items):
            waiting.discard(index)
            yield index, reply
    except LLMTimeout:
        if len(waiting) == len(items):
            raise
        for index in sorted(waiting):
            yield index, _alone(items[index], ask)


def _alone(item: _Item, ask: Callable[[Sequence[_Item]], Iterator[tuple[int, _Reply | Failure]]]) -> _Reply | Failure:
    try:
        [(_, reply)] = ask([item])
    except LLMTimeout:
        return Failure(FailureKind.TIMEOUT, "the engine gave no reply in time, though it answered others")
    return reply


def _number(environ: Mapping[str, str], name: str, default: float, low: float) -> float:
    raw = environ.get(name) or str(default)
    try:
        value = float(raw)
    except ValueError:
        value = low - 1.0
    if not low <= value < float("inf"):
        raise InvalidSpec(f"{raw!r} is no number from {low:g}; unset it for the default, {default:g}", field=name)
    return value
