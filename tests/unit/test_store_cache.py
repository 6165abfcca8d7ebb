"""The cache of downloaded parts: its bound, its promise to readers, and what a killed process leaves."""

import subprocess
import sys
from pathlib import Path

import pytest
from dragoman.part_cache import PartCache


class _Reader:
    pass


def _fetch(cache: PartCache, reader: object, name: str, size: int = 10) -> Path:
    def write(path: Path) -> int:
        path.write_bytes(name.encode().ljust(size))
        return size

    return cache.get(reader, name * 8, f"folder/{name}.bin", write)


def test_a_part_is_fetched_once(tmp_path: Path) -> None:
    cache, reader = PartCache(100, tmp_path), _Reader()
    first = _fetch(cache, reader, "a")
    again = cache.get(reader, "a" * 8, "folder/a.bin", lambda path: pytest.fail("fetched twice"))
    assert first == again
    assert first.name == "a.bin"


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = PartCache(25, tmp_path)
    a, b = _fetch(cache, _Reader(), "a"), _fetch(cache, _Reader(), "b")
    assert _fetch(cache, _Reader(), "a") == a
    c = _fetch(cache, _Reader(), "c")
    assert (a.exists(), b.exists(), c.exists()) == (True, False, True)
    assert cache.size_bytes == 20


def test_a_living_reader_keeps_its_files(tmp_path: Path) -> None:
    cache, reader = PartCache(15, tmp_path), _Reader()
    held = [_fetch(cache, reader, name) for name in "abc"]
    assert all(path.exists() for path in held)
    del reader
    last = _fetch(cache, _Reader(), "d")
    assert not any(path.exists() for path in held)
    assert last.exists()


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    cache, reader = PartCache(100, tmp_path), _Reader()

    def fail(path: Path) -> int:
        path.write_bytes(b"half")
        raise OSError("the line broke")

    with pytest.raises(OSError, match="the line broke"):
        cache.get(reader, "a" * 8, "a.bin", fail)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [".lock"]
    assert _fetch(cache, reader, "a").read_bytes() == b"a".ljust(10)


_OTHER = """
import os, sys
from pathlib import Path
from dragoman.part_cache import PartCache
cache, reader = PartCache(100, Path(sys.argv[1])), object
path = cache.get(reader, "x" * 8, "x.bin", lambda path: path.write_bytes(b"x"))
print(path, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ending", ["ended", "killed"])
def test_files_go_with_their_process(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-c", _OTHER, str(tmp_path), ending]
    left = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    assert left.exists() == (ending == "killed")
    mine = _fetch(PartCache(100, tmp_path), _Reader(), "a")
    assert mine.exists()
    assert not left.exists(), "the next process removes what a killed one left"


def test_a_living_process_keeps_its_folder(tmp_path: Path) -> None:
    reader = _Reader()
    mine = _fetch(PartCache(100, tmp_path), reader, "a")
    subprocess.run([sys.executable, "-c", _OTHER, str(tmp_path), "ended"], check=True, capture_output=True)
    assert mine.exists()
