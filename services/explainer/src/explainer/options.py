"""Which options each explainer has, their defaults, and what is wrong with those that a spec gives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from dragoman.errors import Violation
from dragoman.ids import Json

OPTIONS = (
    "example_count",
    "sampling",
    "show_strengths",
    "counter_count",
    "counter_source",
    "effects_id",
    "output_evidence",
    "kl_target",
    "explanations_id",
    "texts",
    "nla",
    "llm",
    "token_budget",
    "cost_budget",
    "dry_run",
)
"""The fields of a spec that not every explainer has. Empty, zero, false and null mean "not given"."""

_MODEL = frozenset({"llm", "token_budget", "cost_budget", "dry_run"})


@dataclass(frozen=True, slots=True)
class Form:
    """What a spec may say to one explainer."""

    defaults: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Written out where a spec does not give them."""
    fixed: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Part of what the explainer is: written out, and no other value may be given."""
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    llm: Mapping[str, Json] | None = None
    """Defaults of the language model; None: asks none."""
    least_examples: int = 1
    """With fewer windows it cannot do what it does."""

    @property
    def options(self) -> frozenset[str]:
        """Every option that may be given."""
        asked = frozenset[str]() if self.llm is None else _MODEL
        return frozenset(self.defaults) | frozenset(self.fixed) | self.required | self.optional | asked


_SHORT: Mapping[str, Json] = {"max_tokens": 64}
_LONG: Mapping[str, Json] = {"max_tokens": 512}
_WINDOWS: Mapping[str, Json] = {"example_count": 20, "sampling": "quantiles"}
_STRENGTHS: Mapping[str, Json] = {**_WINDOWS, "show_strengths": True}
_COUNTERS: Mapping[str, Json] = {"example_count": 15, "counter_count": 5, "counter_source": "same_tokens"}
_OUTPUT: Mapping[str, Json] = {"output_evidence": "both"}
_TOP5: Mapping[str, Json] = {"example_count": 5, "sampling": "top"}

FORMS: Mapping[str, Form] = {
    "default": Form(_STRENGTHS, llm=_SHORT),
    "no_activations": Form(_WINDOWS, llm=_SHORT),
    "chain_of_thought": Form(_STRENGTHS, llm=_LONG),
    "contrastive": Form({**_STRENGTHS, **_COUNTERS}, llm=_SHORT),
    "hypotheses": Form(
        {**_COUNTERS, **_STRENGTHS, "counter_count": 10}, llm={"max_tokens": 128}, least_examples=2
    ),  # of two windows one is shown, and one is tested on
    "max_act": Form({"example_count": 10, "sampling": "top"}, llm=_SHORT),
    "output": Form(_OUTPUT, required=frozenset({"effects_id"}), optional=frozenset({"kl_target"}), llm=_SHORT),
    "ensemble": Form(
        {**_STRENGTHS, **_OUTPUT}, required=frozenset({"effects_id"}), optional=frozenset({"kl_target"}), llm=_SHORT
    ),
    "nla": Form({**_TOP5, "nla": {}}, llm=_SHORT),
    "eleuther_acts_top5": Form(fixed={**_TOP5, "show_strengths": True}, llm={**_LONG, "temperature": 0.7}),
    "acts_top5": Form(fixed=_TOP5),
    "other_latent": Form(required=frozenset({"explanations_id"})),
    "generic": Form(),
    "random": Form(),
    "oracle": Form(required=frozenset({"texts"})),
}
"""By explainer."""


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a spec's fields with every default of its explainer written out, so that leaving one out and giving it
    are one job. `default` without strengths is `no_activations`, and becomes it. The rest is left to validation.
    """
    values = {name: value for name, value in given.items() if value is not None}
    if values.get("explainer", "default") == "default" and values.get("show_strengths") is False:
        values["explainer"] = "no_activations"
        del values["show_strengths"]
    form = FORMS.get(str(values.get("explainer", "default")))  # a list, say, is for the check of its type to refuse
    if form is None:
        return values
    values = {**form.defaults, **form.fixed, **values}
    llm: Any = values.get("llm", {})
    if form.llm is not None and isinstance(llm, Mapping):
        values["llm"] = {**form.llm, **llm}
    texts: Any = values.get("texts", ())
    if values.get("explainer") == "oracle" and not values.get("selection") and isinstance(texts, list | tuple):
        values["selection"] = {"latents": [_latent_of(text) for text in cast("list[object]", texts)]}
    return values


def _latent_of(text: Any) -> Any:
    """The latent of one of `texts`, before or after its validation; what it is, is checked there."""
    return text.get("latent") if isinstance(text, Mapping) else getattr(text, "latent", None)


def option_violations(explainer: str, values: Mapping[str, Any]) -> Iterator[Violation]:
    """Yields the options of a spec that its explainer does not have, must have, or has fixed."""
    form = FORMS[explainer]
    for name in OPTIONS:
        given = values[name] is not None if name == "show_strengths" else bool(values[name])
        if given and name not in form.options:
            yield Violation(name, f"explainer {explainer} has no {name}; {_who_has(name)}")
        if not given and name in form.required:
            yield Violation(name, f"explainer {explainer} needs {name}")
    count = values["example_count"]
    if count is not None and count < form.least_examples:
        said = f"explainer {explainer} can do nothing with {count}; expected {form.least_examples} or more"
        yield Violation("example_count", said)
    for name, value in form.fixed.items():
        if values[name] != value:
            yield Violation(name, f"explainer {explainer} has {name} {value} by definition, not {values[name]}")


def _who_has(name: str) -> str:
    having = [explainer for explainer, form in FORMS.items() if name in form.options]
    if name in _MODEL:
        return f"it asks no language model: leave {name} out"
    return f"leave it out, or take {' or '.join(having)}"
