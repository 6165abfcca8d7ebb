"""Vectors of texts from an OpenAI-compatible embeddings endpoint, and what scorers ask of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from dragoman.errors import FailedPrecondition
from dragoman.llm import Embedding, Endpoint, Failure, LLMClient, ResponseCache, settled_items
from dragoman.llm.token_count import count_tokens
from jaxtyping import Float

from scorer.core.judgement import ANSWERED, Verdict
from scorer.core.nearness import nearness
from scorer.core.requests import Nearness, Request
from scorer.spec import EmbedderRef

_REQUESTS = 64
"""Requests whose texts are embedded before the first of them is answered."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A text that an embedder has read."""

    vector: Float[np.ndarray, " d"]
    """Of length 1."""
    tokens: int


class Embedder(Protocol):
    """Says how near texts are."""

    def resolve(self, embedder: EmbedderRef) -> EmbedderRef:
        """Fills in what the endpoint has.

        Raises FailedPrecondition when none is configured, Unavailable when it cannot be reached, InvalidSpec for no
        such model.
        """
        ...

    def verdicts(self, requests: Sequence[Request], embedder: EmbedderRef) -> Iterator[tuple[int, Verdict]]:
        """Answers Nearness requests; yields index and verdict."""
        ...

    def embedded(self, texts: Sequence[str], embedder: EmbedderRef) -> dict[str, Embedded]:
        """Returns the texts that could be embedded."""
        ...

    def count(self, texts: Sequence[str], embedder: EmbedderRef) -> Sequence[int] | None:
        """Returns the tokens of each text as the embedder would read it, None where it cannot tell."""
        ...


class EndpointEmbedder:
    """Implements `Embedder`. Connects only when it is asked something."""

    def __init__(self, endpoint: Endpoint, cache: ResponseCache | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def resolve(self, embedder: EmbedderRef) -> EmbedderRef:
        """See Embedder.resolve."""
        if not self._endpoint.url:
            raise FailedPrecondition(
                "no embeddings endpoint is configured, and what was asked for needs one; set DRAGOMAN_EMBED_URL to the "
                "address of an OpenAI-compatible one (`dragoman up` starts one)",
                reason="NO_EMBEDDER",
            )
        return embedder.model_copy(update={"model": self._endpoint.resolve(embedder.model, "embedder.model")})

    def verdicts(self, requests: Sequence[Request], embedder: EmbedderRef) -> Iterator[tuple[int, Verdict]]:
        """See Embedder.verdicts. A text that several requests share is embedded, and billed, once."""
        known: dict[str, Embedding | Failure] = {}
        wanted = cast("Sequence[Nearness]", requests)
        with self._endpoint.client(embedder.model, self._cache) as client:
            for first in range(0, len(wanted), _REQUESTS):
                some = wanted[first : first + _REQUESTS]
                fresh = _embedded(client, [t for request in some for t in request.texts if t not in known])
                known |= fresh
                bills = {text: reply.usage.prompt for text, reply in fresh.items() if isinstance(reply, Embedding)}
                for index, request in enumerate(some, first):
                    yield index, _verdict(request, known, sum(bills.pop(text, 0) for text in set(request.texts)))

    def embedded(self, texts: Sequence[str], embedder: EmbedderRef) -> dict[str, Embedded]:
        """See Embedder.embedded."""
        with self._endpoint.client(embedder.model, self._cache) as client:
            found = _embedded(client, texts)
        known = {text: reply for text, reply in found.items() if isinstance(reply, Embedding)}
        return {text: Embedded(unit(reply), reply.usage.prompt) for text, reply in known.items()}

    def count(self, texts: Sequence[str], embedder: EmbedderRef) -> Sequence[int] | None:
        """See Embedder.count."""
        return count_tokens(self._endpoint, embedder.model, texts)


def _embedded(client: LLMClient, texts: Sequence[str]) -> dict[str, Embedding | Failure]:
    distinct = list(dict.fromkeys(texts))
    return {distinct[index]: reply for index, reply in settled_items(distinct, client.embed_many)}


def unit(embedding: Embedding) -> Float[np.ndarray, " d"]:
    """Returns the vector with length 1; zeros stay zeros."""
    vector = np.asarray(embedding.vector, np.float64)
    return vector / (float(np.linalg.norm(vector)) or 1.0)


def _verdict(request: Nearness, known: dict[str, Embedding | Failure], tokens: int) -> Verdict:
    found = [known[text] for text in request.texts]
    failed = next((reply for reply in found if isinstance(reply, Failure)), None)
    if failed is not None:
        return Verdict(failed.kind.value, prompt_tokens=tokens)
    vectors = np.stack([unit(reply) for reply in found if isinstance(reply, Embedding)])
    near = vectors[1 : 1 + len(request.near)]
    return Verdict(ANSWERED, value=nearness(vectors[0], near, vectors[1 + len(near) :]), prompt_tokens=tokens)
