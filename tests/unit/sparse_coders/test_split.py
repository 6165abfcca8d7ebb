"""Steps that two processes share, over gloo, are those of one: whatever is divided among them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sparse_coders import ARCHITECTURES, CoderTrainer, InvalidOption, SparseCoder, StepReport, TrainerOptions
from sparse_coders.group import Group
from sparse_coders.split import Split, check_shard, divided_names, joined_state, shard_of, shard_of_state
from torch import Tensor

from tests.unit.sparse_coders.test_coder_trainer import X, made, options_of, resampling, target

RANKS = 2
BY = ("data", "latents")


def together(work: Callable[[Group], Any]) -> list[Any]:
    """Returns what the members of one gloo group return; each is a thread, as gloo does not mind."""
    store: Any = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]

    def member(rank: int) -> Any:
        processes: Any = dist.ProcessGroupGloo(store, rank, RANKS, timedelta(seconds=20))
        return work(Group(processes))

    with ThreadPoolExecutor(RANKS) as pool:
        return list(pool.map(member, range(RANKS)))


def first(architecture: str, form: str, seed: int = 0) -> SparseCoder:
    """Returns a coder of which some latents of either half are dead from the start."""
    coder = made(architecture, form, seed)
    bias = coder.get_parameter("b_gate" if architecture == "gated" else "b_enc").data
    bias[5:9], bias[40:47] = -1e3, -1e3
    return coder


def trainer_in(group: Group, by: str, architecture: str, form: str, options: TrainerOptions, seed: int) -> CoderTrainer:
    coder = first(architecture, form, seed)
    if by == "latents":
        return CoderTrainer(shard_of(coder, group.rank, group.size), options, Split(latents=group))
    return CoderTrainer(coder, options, Split(tokens=group))


def steps(trainer: CoderTrainer, batches: list[Tensor], form: str) -> list[StepReport]:
    return [trainer.step(x, target(x, form), 3e-3) for x in batches]


def check(by: str, architecture: str, form: str, options: TrainerOptions) -> list[StepReport]:
    """Two members train, hand over their state half way to others, and end where one alone does."""
    batches, names = list(X.split(100)), divided_names(made(architecture, form))
    alone = CoderTrainer(first(architecture, form), options)
    reports = steps(alone, batches, form)
    alone.finish()

    def first_half(group: Group) -> tuple[list[StepReport], dict[str, Tensor]]:
        trainer = trainer_in(group, by, architecture, form, options, seed=0)
        return steps(trainer, batches[:6], form), trainer.state()

    def second_half(group: Group) -> tuple[list[StepReport], dict[str, Tensor]]:
        trainer = trainer_in(group, by, architecture, form, options, seed=9)
        trainer.load_state(shard_of_state(whole, names, group.rank, RANKS) if by == "latents" else whole)
        said = steps(trainer, batches[6:], form)
        trainer.finish()
        return said, trainer.state()

    begun = together(first_half)
    whole = joined_state([state for _, state in begun], names) if by == "latents" else begun[0][1]
    second = together(second_half)
    for (begin, _), (end, _) in zip(begun, second, strict=True):
        torch.testing.assert_close(values(begin + end), values(reports), rtol=1e-4, atol=1e-5)
    ended = joined_state([state for _, state in second], names) if by == "latents" else second[0][1]
    for name, value in alone.state().items():
        assert ended[name].shape == value.shape, name
    for name, value in alone.coder.named_parameters():
        torch.testing.assert_close(ended[f"weights.{name}"], value.detach(), rtol=1e-3, atol=1e-4)
    return reports


def values(reports: list[StepReport]) -> Tensor:
    return torch.tensor([[r.loss, r.fvu, r.l0, r.dead_fraction] for r in reports], dtype=torch.float64)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_as_in_one_process(architecture: str, by: str) -> None:
    options = options_of(architecture, max_grad_norm=0.5, ema_decay=0.9, **resampling(architecture))
    reports = check(by, architecture, "autoencoder", options)
    assert max(report.dead_fraction for report in reports) > 0.1


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize(
    ("architecture", "form", "other"),
    [
        ("topk", "skip transcoder", {"multi_topk": True, "optimiser": "schedule_free"}),
        ("gated", "transcoder", {"optimiser": "signum", "frozen": "decoder"}),
        ("jumprelu", "skip transcoder", {"l0_coefficient": 1e-2}),
    ],
)
def test_other_forms_and_options_train_as_in_one_process(
    architecture: str, form: str, other: dict[str, Any], by: str
) -> None:
    check(by, architecture, form, options_of(architecture, **other))


def test_what_is_strongest_is_chosen_among_all() -> None:
    every = torch.tensor([[5.0, 1.0, 3.0], [4.0, 3.0, -1.0]])
    chosen = together(lambda group: group.strongest(every[group.rank], 3))
    assert [mask.tolist() for mask in chosen] == [[True, False, True], [True, False, False]]
    uneven = together(lambda group: group.strongest(every[group.rank, : 1 + group.rank], 2))
    assert [mask.tolist() for mask in uneven] == [[True], [True, False]]


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (3, TrainerOptions(), "d_sae is 64, no multiple of the 3 processes"),
        (32, TrainerOptions(), "4 latents fire for a token, but each of 32 processes has 2"),
        (2, TrainerOptions(optimiser="muon"), "muon orthogonalises whole matrices; divide the tokens"),
    ],
)
def test_latents_that_cannot_be_divided(size: int, options: TrainerOptions, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        check_shard(made("topk"), options, size)
