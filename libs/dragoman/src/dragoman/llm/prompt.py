"""What is asked: a prompt, how to sample, and the request body both make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation to continue. Put what prompts share first: engines reuse a common prefix."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, user: str, *, system: str | None = None, turns: Sequence[tuple[str, str]] = ()) -> Self:
        """A system text, few-shot (user, assistant) turns, and the user's last words."""
        messages = [Message("system", system)] if system is not None else []
        for asked, answered in turns:
            messages += [Message("user", asked), Message("assistant", answered)]
        return cls((*messages, Message("user", user)))


Prompt = ChatPrompt | str
"""A conversation, or raw text for a base model to go on with."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens.

    max_tokens: at most so many new tokens. temperature: 0 takes the likeliest token.
    top_logprobs: candidates of each position to return with their log-probabilities, 0 to 20.
    json_schema: constrain the reply to this JSON schema.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    json_schema: Mapping[str, Any] | None = None

    @property
    def deterministic(self) -> bool:
        """Whether the same request should give the same reply, so that it may be answered from a cache."""
        return self.temperature == 0.0 or self.seed is not None


def path_of(prompt: Prompt) -> str:
    """The API's path for this kind of prompt."""
    return "completions" if isinstance(prompt, str) else "chat/completions"


def body_of(model: str, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    """The request's JSON body in OpenAI's form."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.json_schema is not None:
        schema = {"name": "reply", "schema": dict(sampling.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body | _prompt_fields(prompt, sampling.top_logprobs)


def _prompt_fields(prompt: Prompt, top_logprobs: int) -> dict[str, Any]:
    if isinstance(prompt, str):
        return {"prompt": prompt} | ({"logprobs": top_logprobs} if top_logprobs else {})
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return {"messages": messages} | ({"logprobs": True, "top_logprobs": top_logprobs} if top_logprobs else {})
