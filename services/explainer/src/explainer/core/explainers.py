"""The table of explainers: what a spec may name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from explainer.core import (
    chain_of_thought,
    contrastive,
    default,
    ensemble,
    max_act,
    no_activations,
    output,
    plain,
    verbalised,
)
from explainer.core.evidence import Evidence
from explainer.core.example import MARK_THRESHOLD
from explainer.core.prompt import Prompt

EVIDENCE_THRESHOLD = 0.6
"""Share of a window's maximum above which the published baseline `eleuther_acts_top5` marks a token."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """A way to an explanation: a prompt for a language model, or a text of its own. One of the two is None."""

    version: str
    """Of the prompt and of how the reply is read, or of the text."""
    prompt: Callable[[Evidence], Prompt] | None = None
    text: Callable[[Evidence], str] | None = None
    mark_threshold: float = MARK_THRESHOLD


EXPLAINERS: Mapping[str, Explainer] = {
    "default": Explainer(default.VERSION, default.prompt),
    "no_activations": Explainer(no_activations.VERSION, no_activations.prompt),
    "chain_of_thought": Explainer(chain_of_thought.VERSION, chain_of_thought.prompt),
    "contrastive": Explainer(contrastive.VERSION, contrastive.prompt),
    "max_act": Explainer(max_act.VERSION, max_act.prompt),
    "output": Explainer(output.VERSION, output.prompt),
    "ensemble": Explainer(ensemble.VERSION, ensemble.prompt),
    "nla": Explainer(verbalised.VERSION, verbalised.prompt),
    "eleuther_acts_top5": Explainer("eleuther_acts_top5-1", chain_of_thought.prompt, mark_threshold=EVIDENCE_THRESHOLD),
    "acts_top5": Explainer(plain.TOP_VERSION, text=plain.strongest_texts),
    "other_latent": Explainer(plain.OTHER_VERSION, text=plain.given),
    "generic": Explainer(plain.GENERIC_VERSION, text=plain.generic),
    "random": Explainer(plain.RANDOM_VERSION, text=plain.given),
    "oracle": Explainer(plain.ORACLE_VERSION, text=plain.given),
}
