"""The tasks of the `effects` kind: choose latents, measure what changing them does, join the tables."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.kinds import Context, Part, Progress
from hooked_models.models import LoadedModel
from jaxtyping import Float, Float64
from latent_cache import LatentCache
from latent_cache.latent_choice import chosen_latents
from torch import Tensor

from activation.core.next_token import kl_divergence, movers
from activation.effects_bench import Bench, Group, Strengths
from activation.effects_prompts import Prompt, Prompts
from activation.effects_tables import FILES, TABLES, join, table_bytes
from activation.effects_work import (
    Arm,
    Work,
    counts_of,
    effect_row,
    name_of,
    prepare,
    put_in_order,
    strength_columns,
    write_logits,
    write_prompts,
)
from activation.spec import EffectsSpec

SELECTION = "selection.json"


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
    for number, (name, file) in enumerate(FILES.items()):
        yield Progress(number, len(FILES), "tables")
        path = context.scratch / file
        mine = (part for stage in context.parts.values() for part in stage if part.name.startswith(f"{name}-"))
        count = join((context.own.read(part.name) for part in mine), TABLES[name], path)
        yield Part(file, path=path, row_count=count)


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
    work = prepare(spec, Bench(spec, model, coder, hookpoints), tokens, index, by_latent)
    try:
        with work.bench.occurrences:
            yield from _measured(work, by_latent, prompts.bos_token)
    except ValueError as error:
        raise UserTaskError(f"{context.inputs['latents'].id}: {error}", reason="HOOKPOINT_UNUSABLE") from error
    write_logits(work, model, coder, index, by_latent)
    metadata = counts_of(work, index, by_latent)
    for name, schema in TABLES.items():
        rows = work.tables[name]
        part = f"{name}-{context.task.index:05d}.parquet"
        known = metadata if name == "effects" else {}
        yield Part(part, data=table_bytes(rows, schema), row_count=len(rows), metadata=known, keep=False)


def _measured(work: Work, by_latent: Mapping[int, Sequence[Prompt]], bos: int | None) -> Iterator[Progress]:
    slot_of = {latent: slot for slot, latent in enumerate(work.latents)}
    prompts = [prompt for latent in work.latents for prompt in by_latent[latent]]
    for group in work.bench.groups(prompts, slot_of, bos):
        work.groups.append(group)
        yield Progress(0, 1, "passes", f"{len(work.groups)} groups of prompts read")
    write_prompts(work)
    for group in work.groups:
        yield from _continue(work, group, "clean", None, None)
    arms = yield from _arms(work)
    for arm in arms:
        yield from _measure_arm(work, arm)
    put_in_order(work)


def _arms(work: Work) -> Generator[Progress, None, list[Arm]]:
    spec = work.spec
    if spec.kl_targets:
        search = yield from _searched(work)
        return [Arm(target, search[:, i]) for i, target in enumerate(spec.kl_targets)]
    multiples = spec.strengths if spec.intervention != "zero" else (float("nan"),)
    return [Arm(None, np.full(len(work.latents), multiple)) for multiple in multiples]


def _searched(work: Work) -> Generator[Progress, None, Float64[np.ndarray, "latents targets"]]:
    searching = work.bench.search(work.groups, work.maxima)
    while True:
        try:
            step = next(searching)
        except StopIteration as over:
            return over.value.found
        yield work.progress(f"searching strengths, step {step}")


def _measure_arm(work: Work, arm: Arm) -> Iterator[Progress]:
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
        yield work.progress(f"measuring {name_of(work, arm)}")
        yield from _continue(work, group, "steered", arm, (reading, logits))
    for slot, by_prompt in enumerate(kl):
        values = [value for _, value in sorted(by_prompt.items())]
        log_probs, logits = (total[slot, : work.vocabulary] / len(values) for total in sums)
        work.tables["effects"].append(
            effect_row(work, arm, slot, values, movers(log_probs, logits, work.spec.top_tokens))
        )


def _continue(
    work: Work,
    group: Group,
    name: str,
    arm: Arm | None,
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
        said = strength_columns(work, arm, slot) if arm is not None else {"latent": prompt.latent}
        said.pop("strength_multiple", None)
        row = {**said, "prompt": prompt.number, "arm": name, "tokens": tokens, "text": work.text(tokens)}
        work.tables["continuations"].append(row)


def _check_finite(work: Work, group: Group, logits: Float[Tensor, "batch vocab"], strengths: Strengths) -> None:
    wrong = torch.nonzero(~torch.isfinite(logits.sum(-1, dtype=torch.float64))).reshape(-1)
    if len(wrong):
        line = int(wrong[0])
        raise UserTaskError(
            f"latent {group.prompts[line].latent} at strength {strengths[group.slots[line]]:g} makes the model's "
            "logits NaN or infinite; use smaller strengths or a model of a wider dtype",
            reason="ACTIVATION_NOT_FINITE",
        )
