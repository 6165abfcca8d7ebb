"""Where a run's activations come from, stored or streamed, and in which order. Imports torch."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from dragoman.ids import derived_seed
from dragoman.kinds import Context, Progress
from hooked_models.core.rows import RowTable, rows_from_start
from hooked_models.model_ref import ModelRef
from hooked_models.models import LoadedModel

from sae_trainer.config import Config
from sae_trainer.core.token_order import Piece, TokenOrder
from sae_trainer.shards import ShardReader
from sae_trainer.source import Source, source_pair
from sae_trainer.spec import CoderSpec, StreamedActivations
from sae_trainer.streamed_reader import StreamedReader, passages_of
from sae_trainer.window_filler import Reader

LoadModel = Callable[[ModelRef], LoadedModel]


@dataclass(frozen=True, slots=True)
class Feed:
    """The activations of one or more hookpoints, token by token the same."""

    sources: Mapping[str, Source]
    """By hookpoint, as specs name it."""
    reader: Reader
    order: TokenOrder
    buffer_bytes: int
    model_bytes: int = 0

    def pair(self, spec: CoderSpec) -> tuple[Source, Source]:
        """Returns what a coder reads and what it gives; twice the same for an autoencoder."""
        reads = self.sources[spec.hookpoint]
        return reads, self.sources[spec.output_hookpoint] if spec.transcoder else reads


def stored_feed(spec: CoderSpec, context: Context, config: Config) -> Feed:
    """Returns the shards of an activations artifact."""
    artifact = context.inputs["activations"]
    reads, gives = source_pair(artifact.manifest, spec.hookpoint, spec.output_hookpoint)
    sources = {spec.hookpoint: reads, spec.output_hookpoint: gives} if spec.transcoder else {spec.hookpoint: reads}
    item_bytes = _item_bytes(str(artifact.manifest.statistics.get("dtype")))
    token_bytes = sum(source.d_model for source in sources.values()) * item_bytes
    seed = derived_seed(context.job_id, spec.seed, "order")
    order = TokenOrder(reads.shard_sizes, max(1, config.shuffle_bytes // token_bytes), seed)
    return Feed(sources, ShardReader(artifact, reads, gives), order, _buffer_bytes(order, token_bytes))


def streamed_feed(
    streamed: StreamedActivations, hookpoints: Sequence[str], context: Context, load: LoadModel
) -> Generator[Progress, None, Feed]:
    """Returns what a model gives at some hookpoints, by their full names; yields signs of life."""
    tokens = context.inputs["tokens"]
    ((first, end),) = rows_from_start(RowTable.of(tokens.manifest.statistics), streamed.split, streamed.max_tokens)
    yield Progress(0, end - first, "rows", "loading the model")
    model = load(streamed.model)
    passages = yield from passages_of(tokens, first, end, streamed.batch_size)
    reader = StreamedReader(tokens, passages, model, hookpoints, streamed.dtype or streamed.model.dtype)
    sizes = tuple(passage.token_count for passage in passages)
    # One token of the first passage that has any tells the widths, and whether each hookpoint has a vector per token.
    probe = next(reader.chunks(Piece(next(i for i, size in enumerate(sizes) if size), 0, 1)))
    token_bytes = sum(rows.shape[1] * rows.element_size() for rows in probe.values())
    order = TokenOrder(sizes, streamed.shuffle_tokens, derived_seed(streamed.tokens_id, streamed.seed, "order"))
    sources = {name: Source(name, rows.shape[1], sizes) for name, rows in probe.items()}
    model_bytes = sum(p.numel() * p.element_size() for p in model.whole.parameters())
    return Feed(sources, reader, order, _buffer_bytes(order, token_bytes), model_bytes)


def _buffer_bytes(order: TokenOrder, token_bytes: int) -> int:
    return min(order.capacity, order.epoch_tokens) * token_bytes


def _item_bytes(dtype: str) -> int:
    """Returns the bytes of one stored activation; 4 when the artifact does not say."""
    return 2 if dtype in {"bfloat16", "float16"} else 4
