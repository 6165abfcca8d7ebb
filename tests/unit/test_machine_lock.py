"""The lock of a small machine: one at a time, in the order of asking, whoever dies on the way."""

import asyncio
import subprocess
import sys
from pathlib import Path

from dragoman.worker.machine import MachineLock


async def _work(path: Path, name: str, order: list[str]) -> None:
    async with MachineLock(path):
        order.append(name)


async def _until(waiting: int, path: Path) -> None:
    while len(list(path.with_name("machine.lock.queue").glob("[0-9]*"))) < waiting:
        await asyncio.sleep(0.01)


def test_who_asks_first_goes_first_and_nobody_goes_twice_before(tmp_path: Path) -> None:
    asyncio.run(_in_order(tmp_path))


async def _in_order(tmp_path: Path) -> None:
    path, order = tmp_path / "machine.lock", list[str]()
    waiting: list[asyncio.Task[None]] = []
    async with MachineLock(path):
        for number in range(4):
            waiting.append(asyncio.create_task(_work(path, f"{number}", order)))
            await _until(number + 1, path)
        waiting[1].cancel()
    again = _work(path, "again", order)
    await asyncio.gather(*waiting, again, return_exceptions=True)
    assert order == ["0", "2", "3", "again"]
    assert list(path.with_name("machine.lock.queue").iterdir()) == []


def test_a_dead_waiter_and_a_dead_holder_are_passed_over(tmp_path: Path) -> None:
    asyncio.run(_past_the_dead(tmp_path))


async def _past_the_dead(tmp_path: Path) -> None:
    path, order = tmp_path / "machine.lock", list[str]()
    code = (
        "import asyncio, sys; from pathlib import Path; from dragoman.worker.machine import MachineLock\n"
        "async def main():\n    async with MachineLock(Path(sys.argv[1])):\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    try:
        while not path.exists():  # one of them holds it
            await asyncio.sleep(0.01)
        await _until(1, path)
        mine = asyncio.create_task(_work(path, "mine", order))
        await _until(2, path)
        for other in others:
            other.kill()
        await asyncio.wait_for(mine, 10)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert order == ["mine"]
