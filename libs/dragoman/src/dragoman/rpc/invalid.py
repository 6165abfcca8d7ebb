"""A pydantic ValidationError in the words of a spec: one violation a field, unknown names with the nearest ones."""

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from dragoman.errors import InvalidSpec, Violation
from dragoman.nearest import suggestion


def invalid_spec(error: ValidationError, model: type[BaseModel] | None = None) -> InvalidSpec:
    """Returns the InvalidSpec of a failed validation.

    Args:
        error: What pydantic raised.
        model: The model that was validated; with it, unknown fields name the nearest known ones.
    """
    found = error.errors(include_url=False, include_context=False)
    return InvalidSpec([Violation(_path(each["loc"]), _description(each, model)) for each in found])


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _description(each: Any, model: type[BaseModel] | None) -> str:
    location: tuple[int | str, ...] = each["loc"]
    match each["type"]:
        case "extra_forbidden":
            return _unknown(str(location[-1]), _model_at(model, location[:-1]))
        case "missing":
            return "is required"
        case "value_error" | "assertion_error":
            return each["msg"].split(", ", 1)[1]
        case _:
            shown = repr(each["input"])
            return f"{each['msg']}, got {shown if len(shown) <= 80 else shown[:77] + '...'}"


def _unknown(name: str, model: type[BaseModel] | None) -> str:
    if model is None:
        return f"there is no field {name!r}"
    return f"{model.__name__} has no field {name!r}; {suggestion(name, model.model_fields)}"


def _model_at(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Follows a path through nested models; list positions and union tags change nothing."""
    for step in location:
        if model is not None and isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the first model in an annotation such as `Sequence[RunRef] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
