"""The store against a real object store."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss, InvalidSpec, NotFound
from dragoman.kinds import Part
from dragoman.store import Store, manifest_key

ID = "words-" + "0" * 32


def _manifest(*parts: PartInfo, **statistics: int) -> Manifest:
    return Manifest(ID, "words", 1, {"k": 32}, {}, parts, statistics, commit_time="2026-01-01T00:00:00+00:00")


def _committed(store: Store, data: bytes = b"0123456789", name: str = "a/part.bin") -> Manifest:
    return store.commit(_manifest(store.put_part(ID, Part(name, data=data, row_count=3), 1, 2)))


# ------------------------------------------------------------------ artifacts


def test_an_artifact_from_parts_to_reader(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rows.safetensors"
    path.write_bytes(b"rows")
    rows = store.put_part(ID, Part("deep/rows-00000.safetensors", path=path, metadata={"first_row": 0}), 0, 0)
    path.unlink()
    sha = hashlib.sha256(b"rows").hexdigest()
    assert rows.key == f"artifacts/words/{ID}/deep/rows-00000-{sha[:16]}.safetensors"
    assert (rows.size_bytes, rows.sha256, rows.metadata) == (4, sha, {"first_row": 0})
    assert store.manifest(ID) is None
    manifest = store.commit(_manifest(rows, total=4))
    artifact = store.artifact(ID)
    assert artifact.manifest == manifest == store.manifest(ID)
    assert artifact.names() == ["deep/rows-00000.safetensors"]
    assert artifact.read("deep/rows-00000.safetensors") == b"rows"
    copy = artifact.download("deep/rows-00000.safetensors")
    assert copy.name == "rows-00000.safetensors"
    assert copy.read_bytes() == b"rows"
    assert artifact.download("deep/rows-00000.safetensors") == copy


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(store: Store, tmp_path: Path) -> None:
    data = os.urandom((12 << 20) + 7)
    (tmp_path / "big").write_bytes(data)
    size, sha256 = store.objects.put_file("big", tmp_path / "big")
    assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert store.objects.get_bytes("big") == data
    assert store.objects.get_file("big", tmp_path / "copy") == (size, sha256)
    assert store.objects.get_range("big", (5 << 20) - 3, 10) == data[(5 << 20) - 3 : (5 << 20) + 7]
    assert store.objects.abort_uploads("") == 0


def test_an_empty_part_is_a_part(store: Store) -> None:
    _committed(store, b"", "empty.json")
    assert store.artifact(ID).read("empty.json") == b""
    assert store.artifact(ID).download("empty.json").read_bytes() == b""
    assert store.artifact(ID).read_range("empty.json", 0, 0) == b""


def test_ranges(store: Store) -> None:
    _committed(store)
    artifact = store.artifact(ID)
    assert artifact.read_range("a/part.bin", 0, 1) == b"0"
    assert artifact.read_range("a/part.bin", 3, 7) == b"3456789"
    for offset, length in ((3, 8), (10, 1), (-1, 2)):
        with pytest.raises(DataLoss, match=r"outside .* \(10 bytes\)"):
            artifact.read_range("a/part.bin", offset, length)


def test_a_range_of_a_shortened_object_is_noticed(store: Store) -> None:
    manifest = _committed(store)
    store.objects.put_bytes(manifest.parts[0].key, b"0123")
    for offset, length in ((2, 5), (6, 2)):
        with pytest.raises(DataLoss, match=f"expected {length} bytes at {offset}"):
            store.artifact(ID).read_range("a/part.bin", offset, length)


def test_wrong_bytes_are_noticed(store: Store) -> None:
    manifest = _committed(store)
    store.objects.put_bytes(manifest.parts[0].key, b"0123456788")
    artifact = store.artifact(ID)
    for read in (artifact.read, artifact.download):
        with pytest.raises(DataLoss, match=f"is not what the manifest of {ID} promises: 10 bytes"):
            read("a/part.bin")
    store.objects.delete([manifest.parts[0].key])
    for read in (artifact.read, artifact.download):
        with pytest.raises(DataLoss, match=r"was removed from outside"):
            read("a/part.bin")


def test_unknown_artifacts_and_parts(store: Store) -> None:
    with pytest.raises(NotFound, match="no committed artifact words-0000"):
        store.artifact(ID)
    with pytest.raises(InvalidSpec, match="is not an artifact id"):
        store.artifact("../../etc")
    _committed(store)
    with pytest.raises(NotFound, match=r"has no part 'b'; it has a/part\.bin"):
        store.artifact(ID).read("b")


def test_twenty_committers_and_one_winner(store: Store) -> None:
    part = store.put_part(ID, Part("part.bin", data=b"0123456789"), 0, 0)
    start = threading.Barrier(20)

    def commit(number: int) -> Manifest:
        start.wait()
        return store.commit(_manifest(part, committer=number))

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(commit, range(20)))
    assert len({str(result.statistics) for result in results}) == 1
    assert results[0] == store.manifest(ID)


def test_twenty_conditional_writers_and_one_winner(store: Store) -> None:
    start = threading.Barrier(20)

    def write(number: int) -> bool:
        start.wait()
        return store.objects.put_if_absent("key", str(number).encode())

    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(write, range(20)))
    assert sum(won) == 1
    assert store.objects.get_bytes("key") == str(won.index(True)).encode()


def test_nothing_is_committed_without_its_parts(store: Store) -> None:
    part = store.put_part(ID, Part("part.bin", data=b"0123456789"), 0, 0)
    with pytest.raises(DataLoss, match="should be 11 bytes"):
        store.commit(_manifest(replace(part, size_bytes=11)))
    store.objects.delete([part.key])
    with pytest.raises(DataLoss, match="no such object"):
        store.commit(_manifest(part))
    assert store.manifest(ID) is None


def test_intermediates_are_read_before_the_commit_and_swept_after(store: Store) -> None:
    kept = store.put_part(ID, Part("kept.json", data=b"1"), 1, 0)
    passing = store.put_part(ID, Part("passing.json", data=b"2", keep=False), 0, 0)
    own = store.uncommitted(ID, [passing])
    assert own.read("passing.json") == b"2"
    assert own.download("passing.json").read_bytes() == b"2"
    manifest = store.commit(_manifest(kept))
    client = store.objects._client
    upload = client._create_multipart_upload(store.config.bucket, f"artifacts/words/{ID}/left", {})
    client._upload_part(store.config.bucket, f"artifacts/words/{ID}/left", b"x" * 9, None, upload, 1)
    assert store.sweep(ID, manifest) == 1
    assert {o.key for o in store.objects.list("artifacts/")} == {kept.key, manifest_key(ID)}
    assert client._list_multipart_uploads(store.config.bucket).uploads == []
    assert store.sweep(ID, None) == 0
    assert store.artifact(ID).read("kept.json") == b"1"


def test_a_cancelled_job_leaves_nothing(store: Store) -> None:
    store.put_part(ID, Part("kept.json", data=b"1"), 1, 0)
    assert store.sweep(ID, None) == 1
    assert store.objects.list("") == []


# ------------------------------------------------- checkpoints and receipts


def test_the_newest_checkpoint_wins(store: Store, tmp_path: Path) -> None:
    assert store.get_checkpoint(ID, "0-0", tmp_path) is None
    for step in (b"one", b"two", b"three"):
        (tmp_path / "state.safetensors").write_bytes(step)
        store.put_checkpoint(ID, "0-0", tmp_path / "state.safetensors")
    copy = store.get_checkpoint(ID, "0-0", tmp_path)
    assert copy is not None
    assert (copy.suffix, copy.read_bytes()) == (".safetensors", b"three")
    assert len(store.objects.list(f"checkpoints/{ID}/")) == 3, "two files, one pointer to them"
    assert store.get_checkpoint(ID, "0-1", tmp_path) is None


@pytest.mark.parametrize("loss", ["damaged", "gone"])
def test_the_checkpoint_before_stands_in_for_a_damaged_one(store: Store, tmp_path: Path, loss: str) -> None:
    known: set[str] = set()
    for step in (b"one", b"two", b"three"):
        (tmp_path / "state.json").write_bytes(step)
        store.put_checkpoint(ID, "0-0", tmp_path / "state.json")
        files = {listed.key for listed in store.objects.list(f"checkpoints/{ID}/0-0-")}
        [newest] = files - known
        known |= files
    if loss == "damaged":
        store.objects.put_bytes(newest, b"thr33")
    else:
        store.objects.delete([newest])
    copy = store.get_checkpoint(ID, "0-0", tmp_path)
    assert copy is not None
    assert copy.read_bytes() == b"two"
    (tmp_path / "state.json").write_bytes(b"three again")
    store.put_checkpoint(ID, "0-0", tmp_path / "state.json")
    copy = store.get_checkpoint(ID, "0-0", tmp_path)
    assert copy is not None
    assert copy.read_bytes() == b"three again"


def test_a_damaged_checkpoint_is_no_checkpoint(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"123")
    store.put_checkpoint(ID, "0-0", tmp_path / "state.json")
    [blob] = [o.key for o in store.objects.list("checkpoints/") if not o.key.endswith(".json")]
    store.objects.put_bytes(blob, b"124")
    assert store.get_checkpoint(ID, "0-0", tmp_path) is None
    store.objects.delete([blob])
    assert store.get_checkpoint(ID, "0-0", tmp_path) is None
    store.delete_checkpoints(ID)
    assert store.objects.list("checkpoints/") == []


def test_the_first_receipt_wins(store: Store) -> None:
    assert store.get_receipt(ID, "0-0") is None
    assert store.put_receipt(ID, "0-0", {"parts": [1]})
    assert not store.put_receipt(ID, "0-0", {"parts": [2]})
    assert store.put_receipt(ID, "0-1", {"parts": [3]})
    assert store.get_receipt(ID, "0-0") == {"parts": [1]}
    assert store.list_receipts(ID) == [{"parts": [1]}, {"parts": [3]}] == store.list_receipts(ID)
    store.delete_receipts(ID)
    assert store.list_receipts(ID) == []
    assert store.put_receipt(ID, "0-0", {"parts": [4]})
    assert store.list_receipts(ID) == [{"parts": [4]}]


def test_a_receipt_written_anew_by_another_process_is_read_anew(store: Store) -> None:
    other = Store(store.config)
    store.put_receipt(ID, "0-0", {"parts": [1]})
    assert store.list_receipts(ID) == [{"parts": [1]}]
    other.delete_receipts(ID)
    other.put_receipt(ID, "0-0", {"parts": [2]})
    assert store.list_receipts(ID) == [{"parts": [2]}]
