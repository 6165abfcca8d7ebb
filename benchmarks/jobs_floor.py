"""What a submission cannot do without: a call that answers at once, and its writes to NATS, each by itself.

`python benchmarks/jobs_floor.py echo SIZE` is the server of such calls; `jobs.py` starts it.
"""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import grpc.aio
from dragoman.bus import Bus, BusConfig
from jobs_shell import Cluster, cpu_of, spread, submission

_ANSWER_BYTES = 350
"""Of a job that was just queued."""
_RECORD, _EVENT, _TASK = bytes(500), bytes(140), bytes(150)
"""As large as a job's record, its event and one of its tasks."""
_PATH = "/floor/Echo"


async def measure_floor(cluster: Cluster, clients: int) -> dict[str, Any]:
    """Calls, writes and objects alone: one after the other, and many at once."""
    writes, puts = await _nats(cluster, clients)
    objects, taken = cluster.store().objects, list[float]()
    for number in range(100):
        start = time.perf_counter()
        await asyncio.to_thread(objects.put_bytes, f"floor/{number}", _RECORD)
        taken.append(time.perf_counter() - start)
    return {"call": await _calls(clients), "nats_writes": writes, "nats_put": puts, "store_put": spread(taken)}


async def _rates(step: Callable[[], Awaitable[Any]], pid: int, role: str, clients: int) -> dict[str, Any]:
    """300 steps one after the other, then 30 of each client at once."""
    taken: list[float] = []
    for _ in range(300):
        start = time.perf_counter()
        await step()
        taken.append(time.perf_counter() - start)

    async def client() -> None:
        for _ in range(30):
            await step()

    spent, own, start = cpu_of(pid), time.process_time(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds, count = time.perf_counter() - start, clients * 30
    cpu = {role: cpu_of(pid) - spent, "clients": time.process_time() - own}
    cpu_ms = {name: round(value * 1e3 / count, 2) for name, value in cpu.items()}
    return {**spread(taken), "per_second_at_once": round(count / seconds, 1), "cpu_ms": cpu_ms}


async def _calls(clients: int) -> dict[str, Any]:
    """A server and a client that do nothing but gRPC, with requests and answers as large as a submission's."""
    command = [sys.executable, __file__, "echo", str(_ANSWER_BYTES)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(_PATH)
        found = await _rates(lambda: method(submission().SerializeToString()), process.pid, "server", clients)
    process.kill()
    await process.wait()
    return found


async def _nats(cluster: Cluster, clients: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The four writes of a submission in their three turns, and a single put of its record; streams as ours are."""
    bus = Bus(BusConfig(cluster.settings["DRAGOMAN_NATS_URL"], "floor"))
    await bus.connect()

    async def writes() -> None:
        name = uuid.uuid4().hex
        await bus.bucket("requests").create(name, _EVENT[:40])
        await bus.bucket("jobs").create(name, _RECORD)
        await asyncio.gather(
            bus.publish("EVENTS", bus.subject("events", "floor", name, "CREATED"), _EVENT, f"{name}.created"),
            bus.enqueue(bus.subject("tasks", "floor", "floor", name, "0", "0"), _TASK),
        )

    pid = cluster.processes["nats"].pid
    found = await _rates(writes, pid, "nats", clients)
    puts = await _rates(lambda: bus.bucket("jobs").put(uuid.uuid4().hex, _RECORD), pid, "nats", clients)
    await bus.close()
    return found, puts


async def echo(size: int) -> None:
    """Answers every call with so many bytes; says its port on standard output."""
    answer = bytes(size)

    async def method(request: bytes, context: Any) -> bytes:
        return answer

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(method)

    server: Any = cast(Any, grpc.aio).server()
    server.add_generic_rpc_handlers((Handler(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        asyncio.run(echo(int(sys.argv[2])))
