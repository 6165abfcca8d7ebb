"""The stream: each token of an epoch once, in batches that a thread reads ahead within the buffer."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from dragoman.errors import UserTaskError
from dragoman.folder import FolderArtifact
from sae_trainer.activation_stream import ActivationStream, Loading
from sae_trainer.core.token_order import TokenOrder
from sae_trainer.shards import ShardReader
from sae_trainer.source import source_pair
from sae_trainer.window_filler import Rows
from torch import Tensor

from tests.unit.sae_trainer.activations_folder import HOOKPOINT, OUTPUT, write_activations

SIZES = (300, 100, 250, 350)


def numbered(tmp_path: Path) -> FolderArtifact:
    """Token t is t in all of its dimensions, and -2 t at the output hookpoint."""
    x = torch.arange(1000.0).repeat(3, 1).T
    y = torch.arange(1000.0).mul(-2).repeat(2, 1).T
    return write_activations(tmp_path / "a", x.split(SIZES), targets=y.split(SIZES))


def stream_of(artifact: FolderArtifact, capacity: int, output: str = "") -> ActivationStream:
    reads, gives = source_pair(artifact.manifest, HOOKPOINT, output)
    return ActivationStream(ShardReader(artifact, reads, gives), TokenOrder(SIZES, capacity, seed=5))


def taken(items: Iterator[Loading | Rows], count: int) -> Tensor:
    """The numbers of the next so many batches' tokens."""
    found: list[Tensor] = []
    while len(found) < count:
        item = next(items)
        if not isinstance(item, Loading):
            x = item[HOOKPOINT]
            assert bool((x == x[:, :1]).all())
            found.append(x[:, 0])
    return torch.cat(found)


@pytest.mark.parametrize("capacity", [64, 500, 999, 1000, 5000])
def test_each_epoch_has_each_token_once_and_resumes_anywhere(tmp_path: Path, capacity: int) -> None:
    artifact = numbered(tmp_path)
    with stream_of(artifact, capacity) as stream:
        straight = taken(stream.batches(0, 50), 60)
        assert [sorted(epoch.tolist()) for epoch in straight.split(1000)] == [list(range(1000))] * 3
        assert torch.equal(taken(stream.batches(700, 70), 10), straight[700:1400]), "back to the first epoch"
    for position in (350, 1000, 1999):
        with stream_of(artifact, capacity) as stream:
            assert torch.equal(taken(stream.batches(position, 40), 20), straight[position : position + 800])


@pytest.mark.parametrize("capacity", [300, 5000])
def test_a_transcoder_reads_both_hookpoints_of_the_same_tokens(tmp_path: Path, capacity: int) -> None:
    with stream_of(numbered(tmp_path), capacity, OUTPUT) as stream:
        said = zip(stream.batches(0, 100), range(40), strict=False)
        batches = [item for item, _ in said if not isinstance(item, Loading)]
    assert len(batches) > 15
    for batch in batches:
        x, y = batch[HOOKPOINT], batch[OUTPUT]
        assert (x.shape, y.shape) == ((100, 3), (100, 2))
        assert torch.equal(y[:, 1], -2 * x[:, 2])


def test_what_cannot_be_read_is_told_where_it_is_waited_for_and_the_thread_ends(tmp_path: Path) -> None:
    x = torch.ones(1000, 3)
    x[620, 1] = torch.nan
    artifact = write_activations(tmp_path / "a", x.split(SIZES))
    before = threading.active_count()
    with pytest.raises(UserTaskError, match="not finite"), stream_of(artifact, 200) as stream:
        for _ in stream.batches(0, 100):
            pass
    assert threading.active_count() == before
