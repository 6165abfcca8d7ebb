"""Does the tasks of an overlap. Imports torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sparse_coders
import torch
from dragoman.artifacts import Artifact
from dragoman.host_memory import host_memory_bytes
from dragoman.ids import Json, derived_seed
from dragoman.kinds import Context, Part, Progress
from jaxtyping import Float
from safetensors.numpy import load, save
from torch import Tensor

from sae_trainer.coder_artifact import coder_folder
from sae_trainer.config import Config
from sae_trainer.core.chart import bar_chart, page
from sae_trainer.core.matching import Matching
from sae_trainer.core.shared_latents import match_directions, null_figures, overlap_of, shared
from sae_trainer.device import prepared_device
from sae_trainer.overlap_kind import SUMMARY_PART, check_fits
from sae_trainer.overlap_spec import OverlapSpec

_MATRIX: Mapping[str, Literal["W_enc", "W_dec"]] = {"encoder": "W_enc", "decoder": "W_dec"}


def match_latents(context: Context, config: Config) -> Iterator[Progress | Part]:
    """Matches the encoder or the decoder rows of both coders, or those of one with random directions."""
    coder, other = context.inputs["coder"], context.inputs["other"]
    check_fits(coder.manifest.statistics, other.manifest.statistics, host_memory_bytes())
    device = prepared_device(config)
    of, null = str(context.task.payload["of"]), int(str(context.task.payload["null"]))
    first = _matrix(coder, of, context.scratch / "coder").to(device)
    second = _matrix(other, of, context.scratch / "other").to(device)
    if null >= 0:
        second = _random_like(second, derived_seed(context.job_id, "null", null, of))
    steps = match_directions(first, second)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            found: Matching = end.value
            break
        yield Progress(step.done, step.total, "latents", f"{of}: {step.message}")
    data = save({name: np.ascontiguousarray(value) for name, value in vars(found).items()})
    yield Part(_part_name(of, null), data=data, keep=False)


def summarise(spec: OverlapSpec, context: Context) -> Iterator[Progress | Part]:
    """Counts what both coders share and yields the overlap."""
    encoder, decoder = _stored(context, -1)
    nulls = [overlap_of(*_stored(context, null), spec.threshold) for null in range(spec.null_count)]
    figures = asdict(overlap_of(encoder, decoder, spec.threshold))
    statistics: dict[str, Json] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in figures.items()
    }
    statistics |= {**null_figures(nulls)}
    yield Progress(1, 2, "steps", "writing")
    both = shared(encoder, decoder, spec.threshold)
    other_both = np.zeros(len(encoder.other_nearest), bool)
    other_both[encoder.match[both]] = True
    columns = {f"{of}_{name}": getattr(m, name) for of, m in _named(encoder, decoder) for name in ("match", "cosine")}
    yield _table("latents.parquet", context.scratch, columns | _nearest(encoder, decoder, "") | {"shared": both})
    other = _nearest(encoder, decoder, "other_") | {"shared": other_both}
    yield _table("other_latents.parquet", context.scratch, other)
    shown = {name: value for name, value in statistics.items() if not isinstance(value, dict)}
    yield Part("overlap.html", data=page("Overlap", _drawn(encoder, decoder), shown))
    document = json.dumps(statistics, indent=2, sort_keys=True, allow_nan=False).encode()
    yield Part(SUMMARY_PART, data=document, metadata=statistics)


def _matrix(artifact: Artifact, of: str, folder: Path) -> Float[Tensor, "d_sae d"]:
    return sparse_coders.load_matrix(coder_folder(artifact, folder), _MATRIX[of])


def _random_like(x: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "n d"]:
    """Returns directions that are equally likely everywhere: Gaussian rows, to be scaled to norm 1."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed % 2**63)).to(x.device)


def _part_name(of: str, null: int) -> str:
    return f"{of}.safetensors" if null < 0 else f"{of}-null-{null}.safetensors"


def _stored(context: Context, null: int) -> tuple[Matching, Matching]:
    encoder, decoder = (Matching(**load(context.own.read(_part_name(of, null)))) for of in ("encoder", "decoder"))
    return encoder, decoder


def _named(encoder: Matching, decoder: Matching) -> tuple[tuple[str, Matching], tuple[str, Matching]]:
    return ("encoder", encoder), ("decoder", decoder)


def _nearest(encoder: Matching, decoder: Matching, side: str) -> dict[str, np.ndarray]:
    return {
        f"{of}_{name}": getattr(m, f"{side}{name}")
        for of, m in _named(encoder, decoder)
        for name in ("nearest", "nearest_cosine")
    }


def _drawn(encoder: Matching, decoder: Matching) -> list[str]:
    """Returns a histogram of the cosines of each matching."""
    edges = [float(edge) for edge in np.linspace(-1, 1, 41)]
    charts: list[str] = []
    for of, matching in _named(encoder, decoder):
        counts, _ = np.histogram(np.clip(matching.cosine[matching.match >= 0], -1, 1), edges)
        charts.append(bar_chart(f"latents by their {of}'s cosine with its partner", "cosine", edges, counts.tolist()))
    return charts


def _table(name: str, folder: Path, columns: dict[str, np.ndarray]) -> Part:
    """Writes a row a latent; a partner or neighbour that there is not is null."""
    count = len(next(iter(columns.values())))
    table = {"latent": pa.array(range(count), pa.int32())}
    for column, values in columns.items():
        if values.dtype.kind == "i":
            table[column] = pa.array(values, pa.int32(), mask=values < 0)
        else:
            table[column] = pa.array(values, pa.bool_() if values.dtype.kind == "b" else pa.float32())
    pq.write_table(pa.table(table), folder / name)
    return Part(name, folder / name, row_count=count)
