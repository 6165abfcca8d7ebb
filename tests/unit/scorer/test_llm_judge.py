"""How an engine's replies become verdicts, against an HTTP server that says what it is told to."""

import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from dragoman.errors import InvalidSpec, TransientTaskError, Unavailable, UserTaskError
from dragoman.llm import Completion, Endpoint, Failure, FailureKind, TokenLogprob, Usage
from dragoman.llm.engine import models
from scorer.core import judgement
from scorer.core.requests import Choice, Contrast
from scorer.llm_judge import LlmJudge
from scorer.llm_judge import verdict as read
from scorer.spec import LlmRef

from tests.support.scripted_http import Reply, ScriptedServer, error_reply, scripted

LLM = LlmRef(model="judge", max_tokens=1)


def completion(text: str = " Yes", **candidates: float) -> Completion:
    listed = tuple(TokenLogprob(token, math.log(p)) for token, p in candidates.items())
    return Completion(text, "length", listed, Usage(30, 20, 1))


def reply(text: str, candidates: dict[str, float] | None = None) -> Reply:
    choice = {"text": text, "finish_reason": "length"}
    if candidates:
        choice["logprobs"] = {"top_logprobs": [{token: math.log(p) for token, p in candidates.items()}]}
    usage = {"prompt_tokens": 30, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 20}}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def Verdict(outcome: str, answer: bool | None = None, p_yes: float | None = None, *tokens: int) -> judgement.Verdict:
    """A verdict on a question of yes or no."""
    names = ("prompt_tokens", "cached_tokens", "completion_tokens")
    return judgement.Verdict(
        outcome, None if answer is None else 1 - answer, None if p_yes is None else (p_yes, 1.0 - p_yes),
        **dict(zip(names, tokens, strict=False)),
    )  # fmt: skip


def verdict(reply: Completion | Failure) -> judgement.Verdict:
    return read(reply, judgement.ANSWERS)


def asked(*prompts: str) -> list[Choice]:
    return [Choice(prompt, judgement.ANSWERS) for prompt in prompts]


def judge(server: ScriptedServer, **options: float) -> LlmJudge:
    return LlmJudge(Endpoint(server.url, **options))


def test_p_yes_is_the_share_of_yes_among_both_answers() -> None:
    found = verdict(completion(Yes=0.3, yes=0.1, No=0.2, Maybe=0.4))
    assert found.shares[0] == pytest.approx(0.4 / 0.6)
    assert (found.outcome, found.choice, found.shares[1]) == ("answered", 0, pytest.approx(0.2 / 0.6))
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (30, 20, 1)


def test_an_answer_that_is_no_candidate_has_probability_0() -> None:
    assert verdict(completion(No=0.9)).shares[0] == 0.0
    assert verdict(completion(Yes=0.9)).shares[0] == 1.0


def test_neither_answer_among_the_candidates_is_unparsable_and_is_paid_for() -> None:
    assert verdict(completion("Maybe", Maybe=0.9)) == Verdict("unparsable", None, None, 30, 20, 1)


@pytest.mark.parametrize(
    ("text", "outcome", "answer"),
    [(" Yes", "answered", True), ("no", "answered", False), ("Well", "unparsable", None)],
)
def test_without_log_probabilities_the_word_counts(text: str, outcome: str, answer: bool | None) -> None:
    assert verdict(completion(text)) == Verdict(outcome, answer, None, 30, 20, 1)


def test_a_refusal_keeps_its_name() -> None:
    assert verdict(Failure(FailureKind.REFUSED, "no")) == Verdict("refused")


def test_one_token_is_asked_for_with_its_candidates() -> None:
    with scripted(lambda n, path, body: reply(" No", {" No": 0.8, " Yes": 0.2})) as server:
        [(index, found)] = judge(server).verdicts(asked("Is it? Answer:"), LLM)
        assert (index, found.choice == 0, found.shares[0]) == (0, False, pytest.approx(0.2))
        path, body = server.seen[0]
        sent = json.loads(body)
        assert path == "/v1/completions"
        assert (sent["prompt"], sent["max_tokens"], sent["temperature"]) == ("Is it? Answer:", 1, 0.0)
        assert sent["logprobs"] > 1


def test_an_engine_that_refuses_log_probabilities_is_asked_for_the_word() -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return Reply(body=json.dumps({"data": [{"id": "judge"}]}).encode())
        return error_reply(400, "logprobs are not supported") if "logprobs" in json.loads(body) else reply(" Yes")

    with scripted(script) as server:
        found = dict(judge(server).verdicts(asked("a", "b"), LLM))
    assert found == {0: Verdict("answered", True, None, 30, 20, 1), 1: Verdict("answered", True, None, 30, 20, 1)}


def test_an_engine_that_rejects_everything_is_an_error_in_its_words() -> None:
    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return Reply(body=json.dumps({"data": [{"id": "judge"}]}).encode())
        return error_reply(400, "out of order")

    with scripted(script) as server, pytest.raises(UserTaskError, match="out of order"):
        list(judge(server).verdicts(asked("a"), LLM))


def slow_on(word: str) -> ScriptedServer:
    def script(number: int, path: str, body: bytes) -> Reply:
        if word in json.loads(body)["prompt"]:
            time.sleep(1.0)
        return reply(" Yes", {" Yes": 0.8, " No": 0.2})

    return scripted(script)  # type: ignore[return-value]


def test_a_question_that_times_out_alone_is_a_failure_of_its_own() -> None:
    with slow_on("hard") as server:
        found = dict(judge(server, concurrency=2, timeout=0.3).verdicts(asked("a", "b", "hard", "c", "d"), LLM))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert found[2] == Verdict("timeout")
    assert {found[i].outcome for i in (0, 1, 3, 4)} == {"answered"}


def test_an_engine_that_answers_nothing_in_time_is_tried_again_later() -> None:
    with slow_on("") as server, pytest.raises(TransientTaskError, match="no reply in time"):
        list(judge(server, concurrency=2, timeout=0.2).verdicts(asked("a", "b"), LLM))


def test_resolve_fills_in_the_model_and_one_token() -> None:
    body = json.dumps({"data": [{"id": "first"}, {"id": "second"}]}).encode()
    with scripted(lambda n, path, _: Reply(body=body)) as server:
        assert judge(server).resolve(LlmRef(max_tokens=64)) == LlmRef(model="first", max_tokens=1)
        chosen = LlmJudge(Endpoint(server.url, model="second")).resolve(LlmRef())
        assert chosen.model == "second"
        assert len(server.seen) == 2, "submitting asks the engine for no token"


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    body = json.dumps({"data": [{"id": "qwen2.5-coder"}]}).encode()
    with scripted(lambda n, path, _: Reply(body=body)) as server, pytest.raises(InvalidSpec) as error:
        judge(server).resolve(LlmRef(model="qwen2.5-codr"))
    assert error.value.violations[0].field == "llm.model"
    assert "did you mean 'qwen2.5-coder'" in str(error.value)


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no language-model engine answers"):
        LlmJudge(Endpoint("http://127.0.0.1:9")).resolve(LlmRef())


def test_the_key_is_in_no_representation() -> None:
    assert "secret" not in repr(Endpoint("http://127.0.0.1:9", api_key="secret"))


# ---------------------------------------------------------------- what a busy engine can do is not waited for


@dataclass
class Busy:
    """An engine that tells its models at once, and answers prompts when it has time."""

    free: threading.Event = field(default_factory=threading.Event)
    echoes: bool = True

    def __call__(self, number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models"):
            return Reply(body=json.dumps({"data": [{"id": "judge"}]}).encode())
        self.free.wait(20.0)
        if not self.echoes:
            return error_reply(400, "no echo")
        prompt = json.loads(body)["prompt"]
        logprobs = {
            "tokens": [*prompt, "!"], "text_offset": [*range(len(prompt) + 1)],
            "token_logprobs": [None, *[-1.0] * len(prompt)], "top_logprobs": None,
        }  # fmt: skip
        choice = {"text": "!", "finish_reason": "length", "logprobs": logprobs}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 1}
        return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


NEEDS = frozenset({"prompt log-probabilities"})


def test_submits_to_a_busy_engine_share_one_question_and_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorer.llm_judge._PATIENCE_S", 0.3)
    engine = Busy(echoes=False)
    with scripted(engine) as server:
        asking = judge(server)
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda _: asking.resolve(LlmRef(), NEEDS), range(4)))
        assert taken == [LLM] * 4
        assert time.monotonic() - started < 5.0, "an answer within a bound, however busy the engine"
        assert sum("completions" in path for path, _ in server.seen) == 1
        engine.free.set()
        with pytest.raises(UserTaskError, match="tells no prompt log-probabilities") as failed:
            list(asking.verdicts([Contrast("a", "b", "c")], LLM))
        with pytest.raises(InvalidSpec, match="tells no prompt log-probabilities"):
            asking.resolve(LlmRef(), NEEDS)
        assert failed.value.reason == "ENGINE_LACKS"
        assert sum("completions" in path for path, _ in server.seen) == 1, "what is known is not asked again"


def test_an_engine_that_can_do_it_is_asked_once_and_then_judges() -> None:
    engine = Busy()
    engine.free.set()
    with scripted(engine) as server:
        asking = judge(server)
        assert asking.resolve(LlmRef(), NEEDS) == asking.resolve(LlmRef(), NEEDS) == LLM
        [(_, found)] = asking.verdicts([Contrast("a:", "b:", " it ran")], LLM)
        assert found.value == 0.0
        assert sum("completions" in path for path, _ in server.seen) == 1 + 2


def test_what_was_not_answered_is_asked_again_and_a_submit_says_that_the_engine_is_away() -> None:
    loaded = threading.Event()

    def script(number: int, path: str, body: bytes) -> Reply:
        if path.endswith("/models") or loaded.is_set():
            return engine(number, path, body)
        return error_reply(503, "loading", retry_after="600")

    engine = Busy()
    engine.free.set()
    with scripted(script) as server:
        asking = judge(server, timeout=60.0)  # a retry would come too late
        with pytest.raises(Unavailable, match="keeps answering HTTP 503: loading"):
            asking.resolve(LlmRef(), NEEDS)
        loaded.set()
        assert asking.resolve(LlmRef(), NEEDS) == LLM


def test_an_engine_too_busy_to_name_its_models_is_unavailable_in_these_words() -> None:
    with scripted(lambda n, path, body: time.sleep(0.5) or Reply()) as server, pytest.raises(Unavailable) as busy:
        models(server.url, timeout=0.1)
    assert busy.value.reason == "LLM_BUSY"
    assert "it is busy: try again later" in busy.value.message
