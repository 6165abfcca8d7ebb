"""What a run holds at its peak is what was worked out beforehand, and what is refused by it."""

import threading
from pathlib import Path

import torch
from dragoman.folder import FolderArtifact
from sae_trainer.coder_kind import CoderKind
from sae_trainer.config import Config
from sae_trainer.core.footprint import Footprint, footprint
from sae_trainer.core.run_length import run_of
from sae_trainer.spec import CoderSpec

from tests.support.local_run import run_local
from tests.unit.sae_trainer.activations_folder import write_activations

D_MODEL, TOKENS = 256, 3072
CONFIG = Config(torch_threads=1, device="cpu", shuffle_bytes=TOKENS * D_MODEL * 2)


def spec_of(source: FolderArtifact, d_sae: int) -> CoderSpec:
    return CoderSpec.model_validate({"activations_id": source.id, "d_sae": d_sae, "k": 8, "batch_tokens": 512})


def held(spec: CoderSpec) -> Footprint:
    return footprint(spec, run_of(spec, D_MODEL, TOKENS), D_MODEL, D_MODEL, CONFIG.shuffle_bytes)


def test_the_peak_is_weights_optimiser_three_batches_and_the_shuffle_buffer(tmp_path: Path) -> None:
    x = torch.randn(TOKENS, D_MODEL, generator=torch.Generator().manual_seed(0))
    source = write_activations(tmp_path / "a", x.split(1024))
    run_local(CoderKind(CONFIG), spec_of(source, 64), {"activations": source}, tmp_path / "small")  # loads code
    spec = spec_of(source, 8192)
    expected = held(spec)
    assert expected.weights > 64 * 2**20
    assert (expected.batches, expected.shuffle) == (3 * 512 * D_MODEL * 4, TOKENS * D_MODEL * 2)
    before, peak, ended = _anonymous_bytes(), [0], threading.Event()
    watch = threading.Thread(target=_watch, args=(peak, ended))
    watch.start()
    try:
        run_local(CoderKind(CONFIG), spec, {"activations": source}, tmp_path / "large")
    finally:
        ended.set()
        watch.join()
    grown = peak[0] - before
    assert expected.weights / 2 < grown < expected.total, f"{grown / 2**20:.0f} MiB, {expected}"


def _watch(peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(0.002):
        peak[0] = max(peak[0], _anonymous_bytes())


def _anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
