"""The client against a real llama.cpp server, and that server as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dragoman.errors import FailedPrecondition, Unavailable, UserTaskError
from dragoman.llm import Answer, ChatPrompt, Completion, Failure, FailureKind, LLMClient, Sampling, probe
from dragoman.models import pull

from tests.support.llm_engine import SMALLEST, Engine, engine, free_port, home, wait_until_healthy

KEY = "sk-test-1234"


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    with engine(api_key=KEY) as started:
        yield started


@pytest.fixture
def llm(running: Engine) -> Iterator[LLMClient]:
    with LLMClient(running.url, running.model, api_key=KEY) as client:
        yield client


def judge(text: str) -> ChatPrompt:
    turns = [("Is this about money? The bank raised its rates.", "Yes"), ("Is this about money? A quiet valley.", "No")]
    return ChatPrompt.of(f"Is this about money? {text}", system="Answer Yes or No.", turns=turns * 4)


def test_probe_finds_what_the_engine_can_do(running: Engine) -> None:
    info = probe(running.url, KEY)
    assert info.models == (SMALLEST,)
    assert (info.model, info.logprobs, info.json_schema, info.prefix_cache) == (SMALLEST, True, True, True)


def test_probe_tells_a_wrong_key_a_wrong_model_and_nobody(running: Engine) -> None:
    with pytest.raises(FailedPrecondition, match="DRAGOMAN_LLM_API_KEY"):
        probe(running.url, "wrong")
    with pytest.raises(FailedPrecondition, match=rf"'gpt-x'; it serves \['{SMALLEST}'\]"):
        probe(running.url, KEY, model="gpt-x")
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match=rf"{nobody}.*`dragoman up`.*DRAGOMAN_LLM_URL"):
        probe(nobody)


def test_greedy_completions_are_the_same_in_any_company(llm: LLMClient) -> None:
    prompts = [ChatPrompt.of(f"Name a colour. Hint: {hint}.") for hint in ("grass", "sky", "snow", "coal")]
    sampling = Sampling(max_tokens=8)
    together = dict(llm.complete_many(prompts, sampling))
    assert sorted(together) == [0, 1, 2, 3]
    for index, prompt in enumerate(prompts):
        [(_, alone)] = llm.complete_many([prompt], sampling)
        reply = together[index]
        assert isinstance(reply, Completion)
        assert isinstance(alone, Completion)
        assert reply.text == alone.text != ""
        assert 0 < reply.usage.completion <= 8


def test_answers_come_with_probabilities_over_a_cached_prefix(llm: LLMClient) -> None:
    texts = ["The treasury paid its debt.", "Birds sang.", "He lent her ten dollars.", "The river froze."]
    answers = dict(llm.answer_many([judge(text) for text in texts], ("Yes", "No")))
    for answer in answers.values():
        assert isinstance(answer, Answer)
        assert 0.0 < answer.share("Yes") < 1.0
        assert answer.share("Yes") + answer.share("No") == pytest.approx(1.0)
        assert 0.5 < answer.mass <= 1.0 + 1e-6
        assert answer.completion.usage.completion == 1
    assert llm.account.cached > 0.3 * llm.account.prompt
    assert llm.account.completion == 4


def test_a_raw_prompt_is_continued(llm: LLMClient) -> None:
    [(_, reply)] = llm.complete_many(["Paris is the capital of"], Sampling(max_tokens=1, top_logprobs=5))
    assert isinstance(reply, Completion)
    assert len(reply.top_logprobs) == 5
    assert reply.text == reply.top_logprobs[0].token


def test_a_schema_forces_the_form(llm: LLMClient) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    [(_, reply)] = llm.complete_many([judge("Gold coins.")], Sampling(max_tokens=32, json_schema=schema))
    assert isinstance(reply, Completion)
    assert set(json.loads(reply.text)) == {"ok"}


def test_a_prompt_beyond_the_context_fails_alone(llm: LLMClient) -> None:
    prompts = [ChatPrompt.of("hello " * 3000), ChatPrompt.of("hello")]
    replies = dict(llm.complete_many(prompts, Sampling(max_tokens=1)))
    refused = replies[0]
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.REFUSED
    assert "context size" in refused.message
    assert isinstance(replies[1], Completion)


def test_a_wrong_key_is_a_user_error(running: Engine) -> None:
    with LLMClient(running.url, running.model, api_key="sk-wrong") as client:
        replies = client.complete_many([judge("Gold.")])
        with pytest.raises(UserTaskError, match="Invalid API Key"):
            list(replies)


def test_leaving_the_loop_stops_the_engine_too(running: Engine, llm: LLMClient) -> None:
    story = ChatPrompt.of("Write a very long story about a river and all the towns along it.")
    quick = ChatPrompt.of("Say hi.")
    replies = llm.complete_many([quick, story, story], Sampling(max_tokens=900, temperature=1.0, seed=1, stop=("!",)))
    next(replies)
    replies.close()
    end = time.monotonic() + 10.0
    headers = {"Authorization": f"Bearer {KEY}"}
    while time.monotonic() < end:
        slots = httpx.get(f"{running.url}/slots", headers=headers, trust_env=False).json()
        if not any(slot["is_processing"] for slot in slots):
            return
        time.sleep(0.1)
    pytest.fail("the engine still works on requests that nobody waits for")


def server_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dragoman.stack.llm_server", *arguments]


def test_a_missing_file_a_bad_file_and_a_taken_port_are_told(running: Engine, tmp_path) -> None:
    def complaint(*arguments: str) -> str:
        done = subprocess.run(server_command(*arguments), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        return done.stderr

    port = str(free_port())
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    assert "there is no model file" in complaint("--model", str(tmp_path / "none.gguf"), "--port", port)
    assert "bad.gguf cannot be served" in complaint("--model", str(bad), "--port", port)
    taken = str(httpx.URL(running.url).port)
    assert "choose another --port" in complaint("--model", str(pull(SMALLEST, home())), "--port", taken)


def test_sigterm_ends_it_at_once() -> None:
    with engine() as started:
        begun = time.monotonic()
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(10) == 0
        assert time.monotonic() - begun < 3.0


def test_it_ends_with_the_process_that_started_it() -> None:
    port = free_port()
    command = server_command("--model", str(pull(SMALLEST, home())), "--port", str(port))
    starter = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", starter, *command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until_healthy(f"http://127.0.0.1:{port}", parent)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10.0
    while time.monotonic() < end and _alive(child):
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
