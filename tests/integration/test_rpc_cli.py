"""The command line against real servers over a desk in memory: what is printed, and with which exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from dragoman.artifacts import PartInfo
from dragoman.cli import main
from dragoman.cli._board import Board
from dragoman.jobs import EventType, JobEvent, JobProgress, JobRecord, JobState
from rich.console import Console

from tests.support.memory_services import Services, services

PIPELINE = """\
vars: {corpus: null}
jobs:
  text: {kind: tokens, spec: {source: "${var:corpus}", tokenizer: t}}
  acts: {kind: activations, spec: {tokens_id: "${text}", hookpoints: [layers.9]}}
"""


class Shell:
    """Runs `dragoman` in this process."""

    def __init__(self, home: Path, made: Services, capture: pytest.CaptureFixture[str]) -> None:
        self.home, self.services, self._capture = home, made, capture
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        try:
            returned = main(["--home", str(self.home), *words])
        except SystemExit as stop:
            returned = int(stop.code or 0)
        out, self.err = self._capture.readouterr()
        assert returned == code, f"{words}: {returned}\n{out}\n{self.err}"
        return out

    def submit(self) -> Sequence[str]:
        (self.home / "p.yaml").write_text(PIPELINE)
        jobs = json.loads(self("submit", str(self.home / "p.yaml"), "--set", "corpus=/texts", "--json"))
        return [jobs["text"]["id"], jobs["acts"]["id"]]

    def tell(self, id_: str, type_: EventType, state: JobState | None = None) -> None:
        self.services.run(self.services.desk.tell(id_, type_, state))


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator[Shell]:
    for name in list(os.environ):
        if name.startswith("DRAGOMAN_"):
            monkeypatch.delenv(name)
    with services() as made:
        addresses = {name: {"grpc": address} for name, address in made.addresses.items()}
        (tmp_path / "stack.json").write_text(json.dumps({"services": addresses}))
        yield Shell(tmp_path, made, capsys)


def test_submit_prints_names_ids_and_states(shell: Shell) -> None:
    (shell.home / "p.yaml").write_text(PIPELINE)
    printed = shell("submit", str(shell.home / "p.yaml"), "--set", "corpus=/texts")
    assert re.search(r"text +tokens-[0-9a-f]{32} +queued", printed)
    assert re.search(r"acts +activations-[0-9a-f]{32} +queued", printed)


def test_mistakes_in_a_file_are_told_without_a_stack(shell: Shell) -> None:
    (shell.home / "stack.json").unlink()
    path = shell.home / "p.yaml"
    path.write_text(PIPELINE.replace("hookpoints", "hookpoint").replace("kind: tokens", "kind: token"))
    shell("submit", str(path), "--set", "corpus=x", code=2)
    assert shell.err.startswith("error: jobs.text.kind: 'token' is not a kind of job; did you mean 'tokens'")
    path.write_text(PIPELINE.replace("hookpoints", "hookpoint").replace("tokenizer", "tokeniser"))
    shell("submit", str(path), "--set", "corpus=x", code=2)
    assert "2 things are wrong" in shell.err
    assert "did you mean 'tokenizer'" in shell.err
    shell("submit", str(path), "--set", "corpus", code=2)
    assert "expected NAME=VALUE" in shell.err
    shell("submit", "nowhere.yaml", code=2)
    assert "cannot read the pipeline file nowhere.yaml" in shell.err


def test_without_a_stack_it_says_how_to_start_one(shell: Shell) -> None:
    (shell.home / "stack.json").unlink()
    shell("jobs", code=1)
    assert "no stack is running" in shell.err
    assert "dragoman up" in shell.err


def test_a_stack_that_is_gone_is_named_soon(shell: Shell) -> None:
    (shell.home / "stack.json").write_text(json.dumps({"services": {"activation": {"grpc": "127.0.0.1:1"}}}))
    start = time.monotonic()
    shell("jobs", code=1)
    assert "no server answers at 127.0.0.1:1" in shell.err
    assert time.monotonic() - start < 5


def test_jobs_filters_and_speaks_json(shell: Shell) -> None:
    text, acts = shell.submit()
    assert [job["id"] for job in json.loads(shell("jobs", "--json"))] == [acts, text]
    assert [job["id"] for job in json.loads(shell("jobs", "--json", "--kind", "tokens"))] == [text]
    assert json.loads(shell("jobs", "--json", "--state", "failed")) == []
    assert "no such jobs" in shell("jobs", "--state", "failed")
    assert f"tokens-{text[7:15]}" in shell("jobs")
    shell("jobs", "--state", "finished", code=2)
    assert "the choices are waiting, queued" in shell.err.lower()
    shell("jobs", "--kind", "token", code=2)
    assert "did you mean 'tokens'" in shell.err


def test_ids_may_be_abbreviated_when_unique(shell: Shell) -> None:
    text, acts = shell.submit()
    for short in (text, text[:10], text[7:12], "tokens"):
        assert json.loads(shell("show", short, "--json"))["id"] == text
    shell("show", "tokens-zz", code=2)
    assert "no job's id begins with 'tokens-zz'" in shell.err
    for seed in range(20):
        shell.services.run(shell.services.desk.submit("tokens", {"seed": seed}))
    shell("show", "tokens-", code=2)
    assert "21 ids begin with 'tokens-'" in shell.err
    assert shell("show", acts[:12]).startswith("job")


def test_show_prints_the_failure_and_what_to_do(shell: Shell) -> None:
    text, _ = shell.submit()
    assert '"source": "/texts"' in shell("show", text)


def test_show_prints_the_statistics_the_page_and_the_cost_of_what_succeeded(shell: Shell) -> None:
    put = shell.services.store.put("scorecard", b"abc", name="scorecard.txt", cost={"spend_EUR": 0.01234})
    card, others = put.id, PartInfo("latents.parquet", "k/latents", 1 << 40, "0" * 64)
    put.manifest = replace(put.manifest, parts=[*put.manifest.parts, others])
    shell.services.run(shell.services.desk.submit("scorecard", {"n": 3}))
    assert "statistics" not in shell("show", card)
    shell.tell(card, EventType.COMMITTED, JobState.SUCCEEDED)
    shown = shell("show", card)
    assert '"byte_count": 3' in shown
    assert "spent  0.01234 EUR" in shown
    assert shown.endswith("abc\n")
    assert put.reads == [(0, 3)], "the page is all that is fetched"
    shell.services.store.artifacts.clear()
    assert "statistics" not in shell("show", card)


def test_watch_prints_a_line_for_each_change_and_fails_when_a_job_did(shell: Shell) -> None:
    text, acts = shell.submit()
    shell.tell(text, EventType.STARTED, JobState.RUNNING)
    timer = threading.Timer(0.5, lambda: shell.tell(text, EventType.COMMITTED, JobState.SUCCEEDED))
    timer.start()
    lines = shell("watch", text).splitlines()
    timer.join()
    clock, name = r"\d\d:\d\d:\d\d", f"tokens-{text[7:15]}"
    for line, expected in zip(lines, ("queued", "running", r"succeeded \d s"), strict=False):
        assert re.fullmatch(f"{clock} {name}: {expected}", line), lines
    assert lines[3:] == ["1 of 1 jobs succeeded"]
    shell.tell(acts, EventType.FAILED, JobState.FAILED)
    printed = shell("watch", text, acts, code=1)
    assert "1 of 2 jobs succeeded" in printed
    assert "nothing to watch" in shell("watch")


def test_submit_watch_follows_to_the_end(shell: Shell) -> None:
    text, acts = shell.submit()
    for id_ in (text, acts):
        shell.tell(id_, EventType.STARTED, JobState.RUNNING)
    shell.tell(text, EventType.COMMITTED, JobState.SUCCEEDED)
    shell.tell(acts, EventType.CANCELLED, JobState.CANCELLED)
    path = str(shell.home / "p.yaml")
    assert "1 of 2 jobs succeeded" in shell("submit", path, "--set", "corpus=/texts", "--watch", code=1)
    printed = shell("submit", path, "--set", "corpus=/texts")
    assert "acts ended earlier without a result; `dragoman submit --retry-failed`" in printed
    ended = json.loads(shell("submit", path, "--set", "corpus=/texts", "--watch", "--json", code=1))
    assert ended["acts"]["state"] == "CANCELLED"
    again = json.loads(shell("submit", path, "--set", "corpus=/texts", "--retry-failed", "--json"))
    assert again["acts"]["state"] == "QUEUED"


def test_cancel_retry_and_dead_letters(shell: Shell) -> None:
    text, _ = shell.submit()
    assert shell("cancel", text[:12]) == f"tokens-{text[7:15]}: cancelled\n"
    assert shell("retry", text) == f"tokens-{text[7:15]}: queued\n"
    assert "out of memory (TASK_CRASHED)" in " ".join(shell("dead-letters").split())
    letters = json.loads(shell("dead-letters", text, "--json"))
    assert [letter["task_id"] for letter in letters] == ["0-3"]


def test_logs(shell: Shell) -> None:
    text, _ = shell.submit()
    assert shell("logs", text[:12], "--task", "0-7") == "1970-01-01T00:00:01+00:00 0-7.1 INFO    test: said\n"
    assert [line["message"] for line in json.loads(shell("logs", text, "--json"))] == ["said"]


def test_get_and_lineage(shell: Shell) -> None:
    tokens = shell.services.store.put("tokens", b"abc").id
    coder = shell.services.store.put("coder", b"defg", {"activations": tokens}).id
    folder = Path(shell("get", coder, "-o", str(shell.home / "out")).strip())
    assert folder == shell.home / "out" / coder
    assert (folder / "part.bin").read_bytes() == b"defg"
    printed = shell("lineage", coder)
    assert printed.splitlines()[0].endswith(coder)
    assert f"{tokens} activations" in printed
    assert [node["artifact_id"] for node in json.loads(shell("lineage", coder, "--json"))] == [coder, tokens]
    shell("get", "coder-" + "0" * 32, code=2)
    assert "there is no artifact" in shell.err


def test_report_wants_a_scorecard(shell: Shell) -> None:
    tokens = shell.services.store.put("tokens", b"abc").id
    shell("report", tokens, code=2)
    assert "is no scorecard" in shell.err
    shell("report", code=2)
    assert "there is no scorecard yet; `dragoman demo` makes one" in shell.err


def test_report_copies_the_newest_scorecards_page(shell: Shell) -> None:
    page = b"<html>verdict</html>"
    card = shell.services.store.put("scorecard", page, name="report.html").id
    job, _ = shell.services.run(shell.services.desk.submit("scorecard", {"n": len(page)}))
    assert job.id == card
    shell.tell(card, EventType.COMMITTED, JobState.SUCCEEDED)
    target = shell.home / "here" / "report.html"
    assert shell("report", "-o", str(target)) == f"{target}\n"
    assert target.read_bytes() == page
    kept = Path(shell("report", card[:14]).strip())
    assert kept == shell.home / "artifacts" / card / "report.html"
    assert kept.read_bytes() == page


def test_info_names_versions_and_servers_that_are_gone(shell: Shell) -> None:
    printed = shell("info")
    assert "torch 2.13.0" in printed
    assert "API v1" in printed
    shell.services.run(shell.services.servers[0].stop())
    found = json.loads(shell("info", "--json", code=1))
    assert found["activation"]["reason"] == "UNAVAILABLE"
    assert found["scorer"]["api_version"] == "v1"


def test_version_and_options_after_the_command(shell: Shell, tmp_path: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", shell("version"))
    shell("jobs", "--home", str(tmp_path / "elsewhere"), code=1)
    assert "elsewhere/stack.json" in shell.err
    shell("frobnicate", code=2)
    shell("jobs", "--limit", "-1", code=2)
    assert "is not a whole number from 0" in shell.err


def start(shell: Shell, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dragoman.cli", "--home", str(shell.home), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_leaves_the_jobs_alone_and_exits_with_130(shell: Shell) -> None:
    text, _ = shell.submit()
    process = start(shell, "watch", "--all")
    assert process.stdout is not None
    assert f"tokens-{text[7:15]}" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "the jobs go on" in errors
    assert "Traceback" not in errors


def test_a_closed_pipe_is_no_error(shell: Shell) -> None:
    shell.submit()
    process = start(shell, "jobs", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(20) == 0


def test_a_live_board_shows_progress(shell: Shell) -> None:
    text, _ = shell.submit()
    job = shell.services.desk.jobs[text]
    board = Board({"text": job})
    progress = JobProgress("forward", 1, 3, 2, 8, 0.5, 5e5, 1e6, "tokens", 25_000.0, "", {"fvu": 0.2134})
    board.apply(JobEvent(text, "tokens", EventType.PROGRESS, JobState.RUNNING, time.time(), 9, progress))
    shown = printed(board, width=140)
    for word in ("text", "running", "forward 2/3", "500,000/1.0M tokens", "25,000/s", "20 s", "fvu 0.213", "━━"):
        assert word in shown, f"{word!r} not in {shown}"
    assert max(map(len, printed(board, width=80).splitlines())) <= 80


def printed(board: Board, width: int, height: int = 40) -> str:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=width, height=height, record=True, force_terminal=True, file=nowhere)
        console.print(board)
        return console.export_text()


def test_a_board_with_more_jobs_than_lines_keeps_what_moves() -> None:
    states = [JobState.SUCCEEDED, JobState.WAITING] * 20 + [JobState.RUNNING, JobState.FAILED]
    jobs = {f"job{i}": JobRecord(f"coder-{i:032x}", "coder", "x", s, {}, {}) for i, s in enumerate(states)}
    lines = printed(Board(jobs), 120, 10).splitlines()
    assert len(lines) <= 10
    assert [line.split()[0] for line in lines] == [
        "job",
        "job1",
        "job3",
        "job5",
        "job7",
        "job9",
        "job40",
        "job41",
        "and",
    ]
    assert lines[-1] == "and 35 more"
