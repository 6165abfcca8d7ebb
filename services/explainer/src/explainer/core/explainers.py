"""The table of explainers: what a spec may name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from explainer.core import (
    chain_of_thought,
    contrastive,
    default,
    ensemble,
    hypotheses,
    max_act,
    no_activations,
    output,
    plain,
    verbalised,
)
from explainer.core.dialogue import Dialogue, single
from explainer.core.evidence import Evidence
from explainer.core.example import MARK_THRESHOLD
from explainer.core.prompt import Prompt

EVIDENCE_THRESHOLD = 0.6
"""Share of a window's maximum above which the published baseline `eleuther_acts_top5` marks a token."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """A way to an explanation: a prompt for a language model, or a text of its own. One of the two is None."""

    version: str
    """Of the prompts and of how replies are read, or of the text."""
    prompt: Callable[[Evidence], Prompt] | None = None
    """The first prompt, and the only one where there is no `dialogue`."""
    text: Callable[[Evidence], str] | None = None
    mark_threshold: float = MARK_THRESHOLD
    dialogue: Callable[[Evidence], Dialogue] | None = None
    assumed: Callable[[Evidence], Sequence[Prompt]] | None = None
    """Of a dialogue: prompts as long as those that it may put, for counting beforehand."""

    def begin(self, evidence: Evidence) -> Dialogue:
        """Starts the dialogue on a latent, for an explainer with a prompt."""
        assert self.prompt is not None, f"{self.version} asks nothing"
        return single(self.prompt(evidence)) if self.dialogue is None else self.dialogue(evidence)

    def planned(self, evidence: Evidence) -> Sequence[Prompt]:
        """Returns the prompts to count beforehand, for an explainer with a prompt."""
        assert self.prompt is not None, f"{self.version} asks nothing"
        return [self.prompt(evidence)] if self.assumed is None else self.assumed(evidence)


EXPLAINERS: Mapping[str, Explainer] = {
    "default": Explainer(default.VERSION, default.prompt),
    "no_activations": Explainer(no_activations.VERSION, no_activations.prompt),
    "chain_of_thought": Explainer(chain_of_thought.VERSION, chain_of_thought.prompt),
    "contrastive": Explainer(contrastive.VERSION, contrastive.prompt),
    "max_act": Explainer(max_act.VERSION, max_act.prompt),
    "output": Explainer(output.VERSION, output.prompt),
    "ensemble": Explainer(ensemble.VERSION, ensemble.prompt),
    "nla": Explainer(verbalised.VERSION, verbalised.prompt),
    "hypotheses": Explainer(
        hypotheses.VERSION, hypotheses.prompt, dialogue=hypotheses.dialogue, assumed=hypotheses.assumed
    ),
    "eleuther_acts_top5": Explainer("eleuther_acts_top5-1", chain_of_thought.prompt, mark_threshold=EVIDENCE_THRESHOLD),
    "acts_top5": Explainer(plain.TOP_VERSION, text=plain.strongest_texts),
    "other_latent": Explainer(plain.OTHER_VERSION, text=plain.given),
    "generic": Explainer(plain.GENERIC_VERSION, text=plain.generic),
    "random": Explainer(plain.RANDOM_VERSION, text=plain.given),
    "oracle": Explainer(plain.ORACLE_VERSION, text=plain.given),
}
