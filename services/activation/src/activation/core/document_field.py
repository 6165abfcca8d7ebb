"""The field of a JSONL or Parquet document that holds its text, or a conversation that becomes one."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from activation.core.chat import ChatTemplate, UnusableConversation


@dataclass(frozen=True, slots=True)
class DocumentField:
    """A field by name; with a template its value is a conversation."""

    name: str
    template: ChatTemplate | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What the text of a document depends on besides its file."""
        return (self.name,) if self.template is None else (self.name, self.template.sha256)

    def text(self, value: object) -> str:
        """Returns the text of a value. Raises ValueError that says what it is instead."""
        if self.template is not None:
            try:
                return self.template.render(value)
            except UnusableConversation as error:
                raise ValueError(f"field {self.name!r} holds no usable conversation: {error}") from error
        if not isinstance(value, str):
            raise ValueError(f"field {self.name!r} is {type(value).__name__}; expected a string")
        return value

    def column_problem(self, kind: Any) -> str | None:
        """Returns what is wrong with an Arrow type, None for nothing."""
        types: Any = pa.types
        if self.template is not None:
            lists = types.is_list(kind) or types.is_large_list(kind)
            return None if lists else f"column {self.name!r} is {kind}; expected a list of messages"
        strings = types.is_string(kind) or types.is_large_string(kind)
        return None if strings else f"column {self.name!r} is {kind}; expected string"
