"""The tasks of the `effects` kind: choose latents, measure what changing them does, join the tables."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.ids import Json
from dragoman.kinds import Context, Part, Progress
from jaxtyping import Float, Float64
from latent_cache import LatentCache, LatentIndex, TokenRows
from torch import Tensor

from activation.core.latent_choice import chosen_latents
from activation.core.next_token import Movers, kl_divergence, movers
from activation.core.vocabulary_projection import final_norm, projection
from activation.effects_bench import Bench, Group, Strengths
from activation.effects_prompts import Prompt, Prompts
from activation.effects_tables import TABLES, join, table_bytes
from activation.models import LoadedModel
from activation.spec import EffectsSpec

SELECTION = "selection.json"

Rows = list[dict[str, Any]]


def select(spec: EffectsSpec, context: Context) -> Iterator[Progress | Part]:
    """Writes which latents are looked at, as an intermediate part."""
    index = LatentCache(context.inputs["latents"]).index
    counts = {
        "all": index.firing_count,
        "train": index.firing_count_train,
        "test": index.firing_count_test,
    }[spec.split]
    enough = counts >= (spec.prompt_count if spec.prompts == "activating" else 1)
    choice = spec.selection
    chosen = chosen_latents(index.ranking(), enough, choice.latents, choice.ranks, choice.count)
    if not chosen:
        places = f"in {spec.prompt_count} places" if spec.prompts == "activating" else "once"
        raise UserTaskError(
            f"no latent of {context.inputs['latents'].id} fires {places} of split {spec.split!r}; "
            "name latents, or use a smaller prompt_count or another split",
            reason="NO_LATENTS",
        )
    yield Part(SELECTION, data=json.dumps(chosen).encode(), row_count=len(chosen), keep=False)


def write(spec: EffectsSpec, context: Context) -> Iterator[Progress | Part]:
    """Joins the tables of all tasks, in the selection's order."""
    for number, (name, schema) in enumerate(TABLES.items()):
        yield Progress(number, len(TABLES), "tables")
        path = context.scratch / f"{name}.parquet"
        mine = (part for stage in context.parts.values() for part in stage if part.name.startswith(f"{name}-"))
        count = join((context.own.read(part.name) for part in mine), schema, path)
        yield Part(path.name, path=path, row_count=count)


@dataclass
class _Work:
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
        return self.token_rows.tokenizer().decode(list(tokens), skip_special_tokens=False)

    def texts(self, tokens: Sequence[int]) -> list[str]:
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
class _Arm:
    """One strength, or one KL target, of every latent of the task. `multiples` is NaN for an intervention without."""

    kl_target: float | None
    multiples: Float64[np.ndarray, " latents"]


def measure(
    spec: EffectsSpec,
    context: Context,
    model: LoadedModel,
    coder: Any,
    tokens: Artifact,
    hookpoints: tuple[str, str],
) -> Iterator[Progress | Part]:
    """Measures a group of the selected latents; writes its part of each table."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    chosen: list[int] = json.loads(context.own.read(SELECTION))[first:end]
    index = LatentCache(context.inputs["latents"]).index
    prompts = Prompts(spec, context.inputs["latents"], tokens)
    by_latent = {latent: prompts.of(latent) for latent in chosen}
    work = _work(spec, Bench(spec, model, coder, hookpoints), tokens, index, by_latent)
    try:
        with work.bench.occurrences:
            yield from _measured(work, by_latent, prompts.bos_token)
    except ValueError as error:
        raise UserTaskError(f"{context.inputs['latents'].id}: {error}", reason="HOOKPOINT_UNUSABLE") from error
    _write_logits(work, model, coder, index, by_latent)
    metadata = _counts(work, index, by_latent)
    for name, schema in TABLES.items():
        rows = work.tables[name]
        part = f"{name}-{context.task.index:05d}.parquet"
        known = metadata if name == "effects" else {}
        yield Part(part, data=table_bytes(rows, schema), row_count=len(rows), metadata=known, keep=False)


def _work(
    spec: EffectsSpec,
    bench: Bench,
    tokens: Artifact,
    index: LatentIndex,
    by_latent: Mapping[int, Sequence[Prompt]],
) -> _Work:
    statistics: Any = tokens.manifest.statistics
    ranking = index.ranking()
    rank_of = np.empty(len(ranking), np.int64)
    rank_of[ranking] = np.arange(len(ranking))
    latents = [latent for latent, prompts in by_latent.items() if prompts]
    return _Work(
        spec,
        bench,
        TokenRows(tokens),
        int(statistics["vocab_size"]),
        latents,
        {latent: int(rank_of[latent]) for latent in by_latent},
        index.max_activation[latents].astype(np.float64),
    )


def _measured(work: _Work, by_latent: Mapping[int, Sequence[Prompt]], bos: int | None) -> Iterator[Progress]:
    slot_of = {latent: slot for slot, latent in enumerate(work.latents)}
    prompts = [prompt for latent in work.latents for prompt in by_latent[latent]]
    for group in work.bench.groups(prompts, slot_of, bos):
        work.groups.append(group)
        yield Progress(0, 1, "passes", f"{len(work.groups)} groups of prompts read")
    _write_prompts(work)
    for group in work.groups:
        yield from _continue(work, group, "clean", None, None)
    arms = yield from _arms(work)
    for arm in arms:
        yield from _measure_arm(work, arm)
    _in_order(work)


def _arms(work: _Work) -> Generator[Progress, None, list[_Arm]]:
    spec = work.spec
    if spec.kl_targets:
        search = yield from _searched(work)
        return [_Arm(target, search[:, i]) for i, target in enumerate(spec.kl_targets)]
    multiples = spec.strengths if spec.intervention != "zero" else (float("nan"),)
    return [_Arm(None, np.full(len(work.latents), multiple)) for multiple in multiples]


def _searched(work: _Work) -> Generator[Progress, None, Float64[np.ndarray, "latents targets"]]:
    searching = work.bench.search(work.groups, work.maxima)
    while True:
        try:
            step = next(searching)
        except StopIteration as over:
            return over.value.found
        yield work.progress(f"searching strengths, step {step}")


def _measure_arm(work: _Work, arm: _Arm) -> Iterator[Progress]:
    """Changes every latent of the task in its own prompts; one row for each latent in the table of effects."""
    strengths = np.nan_to_num(arm.multiples, nan=0.0) * work.maxima
    sums: list[Tensor] = []
    kl: list[dict[int, float]] = [{} for _ in work.latents]
    for group in work.groups:
        edits = work.bench.edits(group, strengths)
        reading, logits = work.bench.read(group, edits)
        _check_finite(work, group, logits, strengths)
        clean_log_probs, log_probs = group.clean.log_softmax(-1), logits.log_softmax(-1)
        if not sums:
            sums = [torch.zeros(len(work.latents), logits.shape[1], device=logits.device) for _ in range(2)]
        slots = torch.from_numpy(group.slots).to(logits.device)
        sums[0].index_add_(0, slots, log_probs - clean_log_probs)
        sums[1].index_add_(0, slots, logits - group.clean)
        found = kl_divergence(clean_log_probs, log_probs).tolist()
        for prompt, slot, value in zip(group.prompts, group.slots.tolist(), found, strict=True):
            kl[slot][prompt.number] = value
        yield work.progress(f"measuring {_name(work, arm)}")
        yield from _continue(work, group, "steered", arm, (reading, logits))
    for slot, by_prompt in enumerate(kl):
        values = [value for _, value in sorted(by_prompt.items())]
        means = [total[slot, : work.vocabulary] / len(values) for total in sums]
        raised, lowered = movers(means[0], means[1], work.spec.top_tokens)
        work.tables["effects"].append(
            {
                **_strength(work, arm, slot),
                "rank": work.ranks[work.latents[slot]],
                "intervention": work.spec.intervention,
                "kl": float(np.mean(values)),
                "converged": _converged(work.spec, arm, float(np.mean(values))),
                "prompt_count": len(values),
                "kl_by_prompt": values,
                **_mover_columns(work, "raised", raised),
                **_mover_columns(work, "lowered", lowered),
            }
        )


def _strength(work: _Work, arm: _Arm, slot: int) -> dict[str, Any]:
    multiple = float(arm.multiples[slot])
    known = not np.isnan(multiple)
    return {
        "latent": work.latents[slot],
        "kl_target": arm.kl_target,
        "strength": multiple * float(work.maxima[slot]) if known else None,
        "strength_multiple": multiple if known else None,
    }


def _converged(spec: EffectsSpec, arm: _Arm, kl: float) -> bool | None:
    """Whether the KL that was measured is the one that was asked for; None where none was."""
    if arm.kl_target is None:
        return None
    return bool(abs(kl - arm.kl_target) <= spec.kl_tolerance * arm.kl_target * (1 + 1e-6))


def _mover_columns(work: _Work, direction: str, found: Movers) -> dict[str, Any]:
    return {
        f"{direction}_tokens": found.tokens,
        f"{direction}_texts": work.texts(found.tokens),
        f"{direction}_log_prob_changes": found.log_prob_changes,
        f"{direction}_logit_changes": found.logit_changes,
    }


def _continue(
    work: _Work,
    group: Group,
    name: str,
    arm: _Arm | None,
    known: tuple[Any, Float[Tensor, "batch vocab"]] | None,
) -> Iterator[Progress]:
    """Generates after the prompts of a group; without an arm, and so without what it has read, nothing is changed."""
    if not work.spec.new_tokens:
        return
    edits = None
    if arm is not None:
        edits = work.bench.edits(group, np.nan_to_num(arm.multiples, nan=0.0) * work.maxima)
    reading, logits = known if known is not None else work.bench.read(group, None)
    drawn: list[list[int]] = [[] for _ in group.prompts]
    for tokens in work.bench.go_on(group, reading, logits, edits):
        for own, token in zip(drawn, tokens.tolist(), strict=True):
            own.append(token)
        yield work.progress(f"generating, {name}")
    for prompt, slot, tokens in zip(group.prompts, group.slots.tolist(), drawn, strict=True):
        said = _strength(work, arm, slot) if arm is not None else {"latent": prompt.latent}
        said.pop("strength_multiple", None)
        row = {**said, "prompt": prompt.number, "arm": name, "tokens": tokens, "text": work.text(tokens)}
        work.tables["continuations"].append(row)


def _write_prompts(work: _Work) -> None:
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


def _in_order(work: _Work) -> None:
    """Sorts the rows by latent as selected, then prompt; arms stay in the order in which they ran."""
    place = {latent: slot for slot, latent in enumerate(work.latents)}
    for rows in work.tables.values():
        rows.sort(key=lambda row: (place[row["latent"]], row.get("prompt", 0)))


def _write_logits(
    work: _Work, model: LoadedModel, coder: Any, index: LatentIndex, by_latent: Mapping[int, Sequence[Prompt]]
) -> None:
    """Writes one row for each selected latent: what became of it, and which tokens its direction stands for."""
    norm = final_norm(model.base, work.bench.unembedding, model.device)
    width = next((p.shape[-1] for p in norm.parameters()), coder.d_out if hasattr(coder, "d_out") else 0) if norm else 0
    reason = None
    if norm is None:
        reason = "no norm was found between the residual stream and the unembedding"
    elif coder.W_dec.shape[1] != width:
        reason = f"directions have {coder.W_dec.shape[1]} dimensions, the residual stream has {width}"
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


def _end(work: _Work, name: str, logits: Float[Tensor, " vocab"], descending: bool) -> dict[str, Any]:
    tokens = torch.sort(logits, descending=descending, stable=True).indices[: work.spec.top_tokens]
    ids = tokens.tolist()
    return {f"{name}_tokens": ids, f"{name}_texts": work.texts(ids), f"{name}_logits": logits[tokens].tolist()}


def _outcome(index: LatentIndex, latent: int, prompts: Sequence[Prompt]) -> str:
    if index.firing_count[latent] == 0:
        return "dead"
    return "measured" if prompts else "no_prompts"


def _counts(work: _Work, index: LatentIndex, by_latent: Mapping[int, Sequence[Prompt]]) -> dict[str, Json]:
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


def _check_finite(work: _Work, group: Group, logits: Float[Tensor, "batch vocab"], strengths: Strengths) -> None:
    wrong = torch.nonzero(~torch.isfinite(logits.sum(-1, dtype=torch.float64))).reshape(-1)
    if len(wrong):
        line = int(wrong[0])
        raise UserTaskError(
            f"latent {group.prompts[line].latent} at strength {strengths[group.slots[line]]:g} makes the model's "
            "logits NaN or infinite; use smaller strengths or a model of a wider dtype",
            reason="ACTIVATION_NOT_FINITE",
        )


def _name(work: _Work, arm: _Arm) -> str:
    if arm.kl_target is not None:
        return f"KL {arm.kl_target:g}"
    return work.spec.intervention if np.isnan(arm.multiples).all() else f"strength {arm.multiples[0]:g}"
