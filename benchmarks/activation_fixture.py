"""What benchmarks of the activation service share: SmolLM2-135M, its layer 9, a real stack with tokens and coders."""

import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sparse_coders
import torch
from dragoman.artifacts import Manifest
from dragoman.client import Addresses, Client
from dragoman.ids import Json, artifact_id
from dragoman.kinds import Part
from dragoman.models import convert_gguf, pull
from dragoman.stack import Ports, Stack, default_home
from dragoman.store import Store, StoreConfig
from jaxtyping import Float, Int64
from latent_cache.token_rows import TokenRows
from torch import Tensor, nn

MODEL = "smollm2-135m-instruct"
CORPUS = "sotu"
HOOKPOINT = "model.layers.9"
CTX_LEN, BATCH_ROWS, D_MODEL, K = 256, 8, 576, 32


class _Done(Exception):
    pass


def say(line: str) -> None:
    """Tells the one who waits."""
    print(line, file=sys.stderr, flush=True)


@dataclass
class LiveService:
    """NATS, an object store and the activation service with its worker, as `dragoman up` starts them."""

    stack: Stack
    client: Client
    store: Store
    model: Path

    def run(self, kind: str, spec: Mapping[str, Any]) -> Manifest:
        """Submits a job and returns what it committed."""
        job = self.client.wait(self.client.submit(kind, spec).id, 900)
        if job.state != "SUCCEEDED":
            raise RuntimeError(f"{kind} is {job.state}: {job.failure}")
        return self.client.manifest(job.id)

    def tokens(self, document_count: int) -> Manifest:
        """Tokenises speeches into rows."""
        source = pull(CORPUS, default_home({}))
        spec = {
            "source": str(source),
            "tokenizer": str(self.model),
            "ctx_len": CTX_LEN,
            "max_documents": document_count,
        }
        return self.run("tokens", spec)

    def rows(self, tokens_id: str, count: int) -> Int64[Tensor, "count pos"]:
        """Returns the first train rows of a tokens artifact."""
        rows = TokenRows(self.store.artifact(tokens_id)).tokens(np.arange(count))
        return torch.from_numpy(rows.astype(np.int64))

    def put_coder(self, coder: sparse_coders.TopKCoder) -> str:
        """Commits a coder that nobody trained, so that the service takes it for one of its own."""
        spec = {"benchmark": "random weights", "d_sae": coder.d_sae, "k": coder.k}
        id_ = artifact_id("coder", 1, spec)
        with tempfile.TemporaryDirectory() as folder:
            sparse_coders.save(coder, folder)
            names = [sparse_coders.CONFIG_FILE, sparse_coders.WEIGHTS_FILE]
            parts = [self.store.put_part(id_, Part(name, path=Path(folder) / name), 0, 0) for name in names]
        statistics: dict[str, Json] = {
            "architecture": "topk", "d_model": coder.d_model, "d_out": coder.d_model, "d_sae": coder.d_sae,
            "k": coder.k, "hookpoint": HOOKPOINT, "output_hookpoint": HOOKPOINT, "transcoder": False,
            "model": {"source": str(self.model), "fingerprint": "", "weights": "trained", "dtype": "float32"},
        }  # fmt: skip
        self.store.commit(Manifest(id_, "coder", 1, spec, {}, parts, statistics))
        return id_


@contextmanager
def live_service(threads: int) -> Generator[LiveService]:
    """Starts a stack of its own in a temporary home, its worker with so many threads."""
    with tempfile.TemporaryDirectory() as home:
        gguf = pull(MODEL, default_home({}))
        model = convert_gguf(gguf, Path(home) / "model")
        # The lock of a laptop's stack keeps two workers from computing at a time.
        environ = {
            "ACTIVATION_TORCH_THREADS": str(threads),
            "DRAGOMAN_MACHINE_LOCK": "",
            "OMP_NUM_THREADS": str(threads),
        }
        stack = Stack(Path(home) / "stack", None, Ports.free(), services=["activation"], environ=environ, say=say)
        with stack, Client(Addresses({"activation": stack.ports.address("activation")})) as client:
            told = stack.environment()
            config = StoreConfig(
                told["DRAGOMAN_S3_ENDPOINT"], told["DRAGOMAN_S3_ACCESS_KEY"], told["DRAGOMAN_S3_SECRET_KEY"],
                told["DRAGOMAN_S3_BUCKET"],
            )  # fmt: skip
            yield LiveService(stack, client, Store(config), model)


def load_base(folder: Path) -> Any:
    """Returns the model without its unembedding, in float32."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    model.config.use_cache = False
    return model.eval()


@torch.inference_mode()
def truncated_forward(model: nn.Module, ids: Int64[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The bare forward pass, stopped as soon as the hookpoint has its output."""
    found: list[Tensor] = []

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)
        raise _Done

    handle = model.get_submodule(HOOKPOINT.removeprefix("model.")).register_forward_hook(hook)
    try:
        model(input_ids=ids)
    except _Done:
        pass
    finally:
        handle.remove()
    return found[0]
