"""The store's promises when the server, or we ourselves, are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dragoman.artifacts import Manifest
from dragoman.errors import TransientTaskError
from dragoman.kinds import Part
from dragoman.stack import Stack
from dragoman.store import Store

from tests.conftest import store_config

ID = "words-" + "0" * 32


def test_the_server_is_killed_in_the_middle_of_an_upload(own_servers: Stack, tmp_path: Path) -> None:
    store = Store(store_config(own_servers))
    data = os.urandom(60 << 20)
    (tmp_path / "big.bin").write_bytes(data)
    killed = threading.Event()

    def kill_and_start() -> None:
        while not store.objects._client._list_multipart_uploads("dragoman").uploads:
            time.sleep(0.01)
        own_servers.kill("store")
        killed.set()
        own_servers.start("store")

    killer = threading.Thread(target=kill_and_start)
    killer.start()
    info = store.put_part(ID, Part("big.bin", path=tmp_path / "big.bin"), 0, 0)
    killer.join()
    assert killed.is_set()
    store.commit(Manifest(ID, "words", 1, {}, {}, (info,), {}))
    assert store.artifact(ID).read("big.bin") == data


def test_what_was_written_is_there_after_a_kill(own_servers: Stack) -> None:
    store = Store(store_config(own_servers))
    keys = [f"artifacts/words/{number:03d}" for number in range(50)]
    for key in keys:
        store.objects.put_bytes(key, key.encode())
    own_servers.kill("store")
    with pytest.raises(TransientTaskError, match="cannot be reached"):
        Store(store_config(own_servers, patience=0.3)).objects.get_bytes(keys[0])
    own_servers.start("store")
    assert [store.objects.get_bytes(key) for key in keys] == [key.encode() for key in keys]


_UPLOADER = """
import sys
from pathlib import Path
from dragoman.kinds import Part
from dragoman.store import Store, StoreConfig
endpoint, access, secret, path, job = sys.argv[1:]
store = Store(StoreConfig(endpoint, access, secret, upload_part_bytes=5 << 20))
while True:
    store.put_checkpoint(job, "0-0", Path(path))
    store.put_part(job, Part("big.bin", path=Path(path)), 0, 0)
    print("done", flush=True)
"""


def test_an_uploader_that_is_killed_leaves_nothing_that_counts(servers: Stack, tmp_path: Path) -> None:
    config = store_config(servers)
    store = Store(config)
    (tmp_path / "big.bin").write_bytes(os.urandom(30 << 20))
    arguments = [config.endpoint, config.access_key, config.secret_key, str(tmp_path / "big.bin"), ID]
    for pause in (0.05, 0.2, 0.45):
        process = subprocess.Popen([sys.executable, "-c", _UPLOADER, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.manifest(ID) is None
        copy = store.get_checkpoint(ID, "0-0", tmp_path)
        assert copy is not None, "a checkpoint was complete before the kill, so there is one after it"
        assert copy.read_bytes() == (tmp_path / "big.bin").read_bytes()
    store.sweep(ID, None)
    store.delete_checkpoints(ID)
    assert store.objects.list("artifacts/") == []
    assert store.objects.list("checkpoints/") == []
    assert store.objects._client._list_multipart_uploads("dragoman").uploads == []
