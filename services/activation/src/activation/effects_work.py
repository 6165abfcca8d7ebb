"""One task of the `effects` kind: its latents, their prompts, and the rows of its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from dragoman.artifacts import Artifact
from dragoman.ids import Json
from dragoman.kinds import Progress
from hooked_models.models import LoadedModel
from jaxtyping import Float, Float64
from latent_cache import LatentIndex, TokenRows
from torch import Tensor, nn

from activation.core.next_token import Movers
from activation.core.vocabulary_projection import final_norm, projection
from activation.effects_bench import Bench, Group, Strengths
from activation.effects_prompts import Prompt
from activation.effects_tables import TABLES
from activation.spec import EffectsSpec

Rows = list[dict[str, Any]]


@dataclass
class Work:
    """One task: its latents with prompts, and the rows of its tables."""

    spec: EffectsSpec
    bench: Bench
    token_rows: TokenRows
    vocabulary: int
    latents: list[int]
    ranks: Mapping[int, int]
    maxima: Strengths
    groups: list[Group] = field(default_factory=list[Group])
    tables: dict[str, Rows] = field(default_factory=lambda: {name: [] for name in TABLES})
    done: int = 0

    def text(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens, special ones shown."""
        return self.token_rows.tokenizer().decode(list(tokens), skip_special_tokens=False)

    def texts(self, tokens: Sequence[int]) -> list[str]:
        """Returns the text of each token by itself."""
        return [self.text([token]) for token in tokens]

    def progress(self, message: str, passes: int = 1) -> Progress:
        """Counts passes; the most there can be is what all steps of the search take."""
        spec = self.spec
        arms = len(spec.strengths) or len(spec.kl_targets) or 1
        most = 1 + spec.search_steps * len(spec.kl_targets) + arms + (arms + 1) * spec.new_tokens
        self.done += passes
        total = max(1, most * len(self.groups))
        return Progress(min(self.done, total), total, "passes", message)


@dataclass(frozen=True, slots=True)
class Arm:
    """One strength, or one KL target, of every latent of the task. `multiples` is NaN for an intervention without."""

    kl_target: float | None
    multiples: Float64[np.ndarray, " latents"]


def prepare(
    spec: EffectsSpec,
    bench: Bench,
    tokens: Artifact,
    index: LatentIndex,
    by_latent: Mapping[int, Sequence[Prompt]],
) -> Work:
    """Returns a task before its prompts are read; `by_latent` is in the selection's order."""
    statistics: Any = tokens.manifest.statistics
    ranking = index.ranking()
    rank_of = np.empty(len(ranking), np.int64)
    rank_of[ranking] = np.arange(len(ranking))
    latents = [latent for latent, prompts in by_latent.items() if prompts]
    return Work(
        spec,
        bench,
        TokenRows(tokens),
        int(statistics["vocab_size"]),
        latents,
        {latent: int(rank_of[latent]) for latent in by_latent},
        index.max_activation[latents].astype(np.float64),
    )


def strength_columns(work: Work, arm: Arm, slot: int) -> dict[str, Any]:
    """Returns what an arm does to one latent; null where the intervention has no strength."""
    multiple = float(arm.multiples[slot])
    known = not np.isnan(multiple)
    return {
        "latent": work.latents[slot],
        "kl_target": arm.kl_target,
        "strength": multiple * float(work.maxima[slot]) if known else None,
        "strength_multiple": multiple if known else None,
    }


def _is_converged(spec: EffectsSpec, arm: Arm, kl: float) -> bool | None:
    """Whether the KL that was measured is the one that was asked for; None where none was."""
    if arm.kl_target is None:
        return None
    return bool(abs(kl - arm.kl_target) <= spec.kl_tolerance * arm.kl_target * (1 + 1e-6))


def effect_row(
    work: Work, arm: Arm, slot: int, kl_by_prompt: list[float], moved: tuple[Movers, Movers]
) -> dict[str, Any]:
    """Returns a row of the table of effects; `moved`: the tokens raised and lowered."""
    kl = float(np.mean(kl_by_prompt))
    return {
        **strength_columns(work, arm, slot),
        "rank": work.ranks[work.latents[slot]],
        "intervention": work.spec.intervention,
        "kl": kl,
        "converged": _is_converged(work.spec, arm, kl),
        "prompt_count": len(kl_by_prompt),
        "kl_by_prompt": kl_by_prompt,
        **_mover_columns(work, "raised", moved[0]),
        **_mover_columns(work, "lowered", moved[1]),
    }


def _mover_columns(work: Work, direction: str, found: Movers) -> dict[str, Any]:
    return {
        f"{direction}_tokens": found.tokens,
        f"{direction}_texts": work.texts(found.tokens),
        f"{direction}_log_prob_changes": found.log_prob_changes,
        f"{direction}_logit_changes": found.logit_changes,
    }


def write_prompts(work: Work) -> None:
    """Writes one row for each prompt."""
    for group in work.groups:
        for prompt, activation in zip(group.prompts, group.activations.tolist(), strict=True):
            work.tables["prompts"].append(
                {
                    "latent": prompt.latent,
                    "prompt": prompt.number,
                    "row": prompt.row,
                    "start": prompt.start,
                    "tokens": prompt.tokens.tolist(),
                    "text": work.text(prompt.tokens.tolist()),
                    "activation": activation,
                    "cached_activation": prompt.cached_activation,
                }
            )


def put_in_order(work: Work) -> None:
    """Sorts the rows by latent as selected, then prompt; arms stay in the order in which they ran."""
    place = {latent: slot for slot, latent in enumerate(work.latents)}
    for rows in work.tables.values():
        rows.sort(key=lambda row: (place[row["latent"]], row.get("prompt", 0)))


def write_logits(
    work: Work, model: LoadedModel, coder: Any, index: LatentIndex, by_latent: Mapping[int, Sequence[Prompt]]
) -> None:
    """Writes one row for each selected latent: what became of it, and which tokens its direction stands for."""
    norm = final_norm(model.base, work.bench.unembedding, model.device)
    reason = _why_no_projection(norm, coder.W_dec.shape[1])
    for latent, prompts in by_latent.items():
        columns: dict[str, Any] = {}
        if norm is not None and reason is None:
            logits = projection(norm, work.bench.unembedding, coder.W_dec[[latent]])[0, : work.vocabulary]
            columns = {**_end(work, "top", logits, True), **_end(work, "bottom", logits, False)}
        work.tables["logits"].append(
            {
                "latent": latent,
                "rank": work.ranks[latent],
                "firing_count": int(index.firing_count[latent]),
                "max_activation": float(index.max_activation[latent]),
                "outcome": _outcome(index, latent, prompts),
                "prompt_count": len(prompts),
                **columns,
                "reason": reason,
            }
        )


def _why_no_projection(norm: nn.Module | None, width: int) -> str | None:
    if norm is None:
        return "no norm was found between the residual stream and the unembedding"
    expected = next((parameter.shape[-1] for parameter in norm.parameters()), width)
    return None if width == expected else f"directions have {width} dimensions, the residual stream has {expected}"


def _end(work: Work, name: str, logits: Float[Tensor, " vocab"], descending: bool) -> dict[str, Any]:
    tokens = torch.sort(logits, descending=descending, stable=True).indices[: work.spec.top_tokens]
    ids = tokens.tolist()
    return {f"{name}_tokens": ids, f"{name}_texts": work.texts(ids), f"{name}_logits": logits[tokens].tolist()}


def _outcome(index: LatentIndex, latent: int, prompts: Sequence[Prompt]) -> str:
    if index.firing_count[latent] == 0:
        return "dead"
    return "measured" if prompts else "no_prompts"


def counts_of(work: Work, index: LatentIndex, by_latent: Mapping[int, Sequence[Prompt]]) -> dict[str, Json]:
    """Returns what the summary of the job adds up."""
    outcomes = [_outcome(index, latent, prompts) for latent, prompts in by_latent.items()]
    converged: dict[str, Json] = {
        f"{target:g}": sum(bool(row["converged"]) for row in work.tables["effects"] if row["kl_target"] == target)
        for target in work.spec.kl_targets
    }
    return {
        **{name: outcomes.count(name) for name in ("measured", "dead", "no_prompts")},
        "prompts": len(work.tables["prompts"]),
        "converged": converged,
        "prefix_reuse": work.bench.prefixes.reuses,
    }


def name_of(work: Work, arm: Arm) -> str:
    """Returns an arm in words, for progress."""
    if arm.kl_target is not None:
        return f"KL {arm.kl_target:g}"
    return work.spec.intervention if np.isnan(arm.multiples).all() else f"strength {arm.multiples[0]:g}"
