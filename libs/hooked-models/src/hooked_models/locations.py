"""Where models and tokenizers lie, and their bytes on this host.

A source is a folder or a GGUF file of this machine, an s3:// uri of either, or a hub id.
"""

import fcntl
import hashlib
import re
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.ids import canonical_json
from dragoman.nearest import suggestion
from dragoman.source_policy import Sources
from dragoman.store import Store

from hooked_models.fingerprints import JsonCache, combined, file_sums
from hooked_models.hub import Hub
from hooked_models.sources import S3, SourceFile, list_allowed, list_source

CONFIG_FILE = "config.json"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


@dataclass(frozen=True, slots=True)
class FileSet:
    """Which files of a folder make up what a spec refers to."""

    noun: str
    patterns: Sequence[str]
    """Of names without folders. Their sums are the fingerprint."""
    needed: Sequence[str]
    """One file must match each of these."""
    missing: str
    """What to say when one does not."""
    companions: Sequence[str] = ()
    """Fetched too, but no part of the fingerprint."""
    shape: Sequence[str] = (CONFIG_FILE,)
    """What is fetched to describe it without its weights."""


MODEL = FileSet(
    "model",
    (CONFIG_FILE, "*.safetensors", "*.safetensors.index.json"),
    (CONFIG_FILE, "*.safetensors"),
    "a model is a folder with config.json and .safetensors weights as `save_pretrained` writes it, or a .gguf file "
    "(.bin and .pt files are pickles and are not loaded)",
)
MODEL_WITH_CODE = replace(MODEL, patterns=(*MODEL.patterns, "*.py"), shape=(CONFIG_FILE, "*.py"))
"""A model that may run the code beside it: then the code decides what it computes."""
TOKENIZER = FileSet(
    "tokenizer",
    (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.*",
        "merges.txt",
        "*.model",
    ),
    ("[tv]*",),
    "a tokenizer is a folder with tokenizer.json as `save_pretrained` writes it, or a .gguf file",
    (CONFIG_FILE,),
)


@dataclass(frozen=True, slots=True)
class Located:
    """A source in its canonical form: absolute path, or hub id with its commit; and the sum of its files."""

    source: str
    revision: str | None
    fingerprint: str


class Locations:
    """Finds sources and fetches their files into a folder of this host."""

    def __init__(self, cache: Path, store: Store | None) -> None:
        self._cache = cache
        self._json = JsonCache(cache / "fingerprints")
        self._store = store

    def locate(self, source: str, revision: str | None, files: FileSet, field_name: str) -> Located:
        """Returns where a source is. Raises InvalidSpec for `field_name`, or Unavailable when the hub is away."""
        if is_hub_id(source):
            Sources.policy.check_repository(source, field_name)
            hub = Hub(field_name)
            commit = hub.commit(source, revision)
            sums = hub.sums(source, commit, files.patterns)
            _check_complete(source, list(sums), files, field_name)
            return Located(source, commit, combined(sums.items()))
        if not source.startswith(S3):
            source = str(_existing(source, files, field_name))
        found = self._list(source, files, field_name)
        sums = file_sums(self._json, found, source)
        return Located(source, None, combined(sums.items()))

    def fetch(self, located: Located, files: FileSet, *, config_only: bool = False) -> Path:
        """Returns a local folder, or GGUF file, with the files (or only with those that tell its shape).

        Raises UserTaskError when the bytes are not those of the fingerprint any more.
        """
        patterns = files.shape if config_only else [*files.patterns, *files.companions]
        if located.revision is not None:
            path = self._snapshot(located, located.revision, files, patterns, config_only)
        elif located.source.startswith(S3):
            path = self._mirror(located.source, patterns, files.noun)
        else:
            path = Path(located.source)
            for file in _top_level(path):
                Sources.policy.check_path(Path(file.where), files.noun)
        if not config_only:
            self._check_unchanged(path, located, files)
        return path

    def _list(self, source: str, files: FileSet, field_name: str) -> list[SourceFile]:
        everything = list_allowed(source, self._store, field_name=field_name)
        if source.endswith(".gguf") and len(everything) == 1:
            return list(everything)
        found = [f for f in everything if _wanted(f.name, files.patterns)]
        _check_complete(source, [f.name for f in found], files, field_name)
        return found

    def _mirror(self, uri: str, patterns: Sequence[str], noun: str) -> Path:
        """Copies the objects of a uri into a folder named by their stamps."""
        everything = list_allowed(uri, self._store, field_name=noun)
        found = [f for f in everything if uri.endswith(".gguf") or _wanted(f.name, patterns)]
        key = hashlib.sha256(canonical_json([uri, [[f.name, f.size_bytes, f.stamp] for f in found]])).hexdigest()[:32]
        with made_once(self._cache / "objects" / key) as folder:
            for file in found if folder else ():
                assert folder is not None
                with file.open() as stream, (folder / file.name).open("wb") as copy:
                    shutil.copyfileobj(stream, copy, 8 << 20)
        final = self._cache / "objects" / key
        return final / found[0].name if uri.endswith(".gguf") else final

    def _snapshot(
        self, located: Located, commit: str, files: FileSet, patterns: Sequence[str], config_only: bool
    ) -> Path:
        """Returns the files of a commit, which never change: asks the hub only for what is not here yet."""
        hub = Hub(files.noun)
        known = hub.known(located.source, commit, patterns)
        if known is not None:
            complete = (
                all(any(known.glob(pattern)) for pattern in files.shape)
                if config_only
                else self._sum(known, files) == located.fingerprint
            )
            if complete:
                return known
        return hub.snapshot(located.source, commit, patterns)

    def _sum(self, path: Path, files: FileSet) -> str:
        found = [f for f in _top_level(path) if path.is_file() or _wanted(f.name, files.patterns)]
        return combined(file_sums(self._json, found, str(path)).items())

    def _check_unchanged(self, path: Path, located: Located, files: FileSet) -> None:
        now = self._sum(path, files)
        if now != located.fingerprint:
            raise UserTaskError(
                f"the {files.noun} {located.source} changed since the job was submitted: its sha256 is {now[:12]}..., "
                f"the spec says {located.fingerprint[:12]}...; submit the job again",
                reason="SOURCE_CHANGED",
            )


@contextmanager
def made_once(final: Path) -> Generator[Path | None]:
    """Gives an empty folder to fill, which then becomes `final`; None when `final` is there already.

    Processes of one host take turns, so that the work is done once; a folder that was not filled never becomes `final`.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / f"{final.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            yield None
            return
        folder = Path(tempfile.mkdtemp(dir=final.parent, prefix=f"{final.name}."))
        try:
            yield folder
            folder.rename(final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def is_hub_id(source: str) -> bool:
    """True for a source that can only be a name on the hub: nothing of that name is on this machine."""
    return bool(_HUB_ID.match(source)) and not source.endswith(".gguf") and not Path(source).expanduser().exists()


def _existing(source: str, files: FileSet, field_name: str) -> Path:
    path = Path(source).expanduser().absolute()
    Sources.policy.check_path(path, field_name)
    if path.exists():
        return path
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = f"; in {path.parent} {suggestion(path.name, beside)}" if beside else ""
    raise InvalidSpec(
        f"there is no {files.noun} {source!r} on the server's machine{hint}; {files.missing}",
        field=field_name,
        reason="MODEL_NOT_FOUND",
    )


def _top_level(path: Path) -> list[SourceFile]:
    files = [path] if path.is_file() else [p for p in sorted(path.iterdir()) if p.is_file()]
    return [f for p in files for f in list_source(str(p), None, field_name="source")]


def _check_complete(source: str, names: Sequence[str], files: FileSet, field_name: str) -> None:
    if not all(any(fnmatch(n, pattern) for n in names) for pattern in files.needed):
        raise InvalidSpec(
            f"{source} holds no {files.noun} that can be loaded: {files.missing}",
            field=field_name,
            reason="MODEL_NOT_FOUND",
        )
