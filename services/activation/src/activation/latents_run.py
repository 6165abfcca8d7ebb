"""The encoding tasks of the `latents` kind: model and coder in one streaming pass."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from dragoman.artifacts import Artifact
from dragoman.errors import UserTaskError
from dragoman.kinds import Context, Part, Progress
from hooked_models.batches import batches
from hooked_models.core.forward import Batch
from hooked_models.models import LoadedModel
from jaxtyping import Float
from latent_cache.token_rows import TokenRows
from sparse_coders import CONFIG_FILE, WEIGHTS_FILE, MalformedCoder, SparseCoder, UnsupportedCoder, frozen, load
from torch import Tensor

from activation.core.entries import EncodedEntries, FoundActivations, place_table
from activation.encoded_part import write_encoded
from activation.spec import LatentsSpec


class CoderSlot:
    """Holds the coder of the last task."""

    def __init__(self) -> None:
        self._id = ""
        self._coder: SparseCoder | None = None

    def get(self, artifact: Artifact, context: Context, device: Any) -> SparseCoder:
        """Returns the coder of an artifact. Raises UserTaskError when it cannot be loaded."""
        if self._coder is None or self._id != artifact.id:
            folder = context.scratch / "coder"
            folder.mkdir()
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copyfile(artifact.download(name), folder / name)
            try:
                self._coder = frozen(load(folder, device=device))
            except (MalformedCoder, UnsupportedCoder) as error:
                raise UserTaskError(f"{artifact.id}: {error}", reason="CODER_UNUSABLE") from error
            self._id = artifact.id
        return self._coder


def encode(spec: LatentsSpec, context: Context, model: LoadedModel, slot: CoderSlot) -> Iterator[Progress | Part]:
    """Runs a row range through model and coder; writes its entries, sorted by latent, as an intermediate part."""
    first, end = (int(str(context.task.payload[key])) for key in ("first", "end"))
    coder = slot.get(context.inputs["coder"], context, model.device)
    hookpoint = model.full_name(str(context.inputs["coder"].manifest.statistics["hookpoint"]))
    rows = TokenRows(context.inputs["tokens"], whole_shards=True)
    tokens, documents = rows.tokens(np.arange(first, end)), rows.documents(np.arange(first, end))
    total, done = int((documents >= 0).sum()), 0
    found = FoundActivations()
    for batch in batches(model, [hookpoint], tokens, documents, first, spec.batch_size):
        acts, indices = coder.encode(batch.activations[hookpoint])
        _check_finite(acts, batch, context.inputs["coder"].id)
        places = (batch.rows - first) * rows.ctx_len + batch.positions
        found.add(acts.float().cpu().numpy(), indices.cpu().numpy(), places)
        done += len(batch)
        yield Progress(done, total, "tokens", f"rows {first} to {end}")
    table = place_table(tokens, documents, spec.window_length)
    ordered = found.by_latent(table, coder.d_sae)
    train_rows = max(0, min(end, rows.train_row_count) - first)
    train_tokens = int((documents[:train_rows] >= 0).sum())
    counts = {"train_token_count": train_tokens, "test_token_count": total - train_tokens}
    metadata = {"hookpoint": hookpoint, "first_row": first, **counts}
    yield _part(context, ordered, metadata)


def _check_finite(acts: Float[Tensor, "n k"], batch: Batch, coder_id: str) -> None:
    """The model's activations are finite; a coder of large weights may still overflow."""
    wrong = torch.nonzero(~torch.isfinite(acts.sum(-1, dtype=torch.float64))).reshape(-1)
    if len(wrong):
        raise UserTaskError(
            f"{coder_id} gives NaN or infinite activations at {len(wrong)} tokens, "
            f"first in row {batch.rows[int(wrong[0])]}; its weights do not fit this model's activations",
            reason="ACTIVATION_NOT_FINITE",
        )


def _part(context: Context, ordered: EncodedEntries, metadata: dict[str, Any]) -> Part:
    name = f"encoded-{context.task.index:05d}.safetensors"
    path = context.scratch / name
    # A task that was queued by an older planner does not say how the latents are cut into shards.
    per_shard = context.task.payload.get("latents_per_shard", len(ordered.offsets) - 1)
    write_encoded(path, ordered, int(str(per_shard)))
    return Part(name, path=path, row_count=len(ordered), metadata=metadata, keep=False)
