"""Conversations to text, by a tokenizer's chat template."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]


class UnusableConversation(ValueError):
    """A value is no conversation, or one that the template refuses; says why."""


class ChatTemplate:
    """A Jinja template as transformers runs it: `messages` and the special tokens by name, no generation prompt.

    Unlike there, a template is not told the date, so that the same conversation is always the same text.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """`special_tokens`: what `bos_token`, `eos_token` and so on stand for in the template."""
        self._source = source
        self._special_tokens = dict(special_tokens)

    @property
    def sha256(self) -> str:
        """Of the template and the special tokens that it is given."""
        said = json.dumps([self._source, self._special_tokens], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def render(self, value: object) -> str:
        """Returns the text of a conversation, special tokens written out. Raises UnusableConversation."""
        messages = _messages(value)
        try:
            return self._template.render(messages=messages, add_generation_prompt=False, **self._special_tokens)
        except (TemplateError, TypeError, KeyError) as error:
            raise UnusableConversation(f"the chat template refuses it: {error}") from error

    def writes(self, token: str) -> bool:
        """True when the text of a conversation starts with a token, as far as one of a single message tells."""
        try:
            return self.render([{"role": "user", "content": "a"}]).startswith(token)
        except UnusableConversation:
            return False

    @cached_property
    def _template(self) -> Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        functions: dict[str, Any] = environment.globals
        functions["raise_exception"] = _refuse
        try:
            return environment.from_string(self._source)
        except TemplateError as error:
            raise UnusableConversation(f"the chat template cannot be read: {error}") from error


def _messages(value: object) -> Sequence[Message]:
    if not isinstance(value, list) or not value:
        kind = "an empty list" if value == [] else type(value).__name__
        raise UnusableConversation(f"it is {kind}; expected a list of messages, each with role and content")
    messages: list[Any] = value
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise UnusableConversation(f"message {number} is {type(message).__name__}; expected role and content")
        for name in ("role", "content"):
            held: Any = message.get(name)  # pyright: ignore[reportUnknownMemberType]
            if not isinstance(held, str):
                said = "missing" if held is None else type(held).__name__
                raise UnusableConversation(f"message {number}: {name} is {said}; expected a string")
    return messages


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
