"""Detection in the layout of eai-delphi 0.1.3, written anew: same parts, same order, our own words of about the length.

A system prompt, three worked sets of five examples as turns of a conversation, then the explanation and five examples;
the answer is a list of zeros and ones, read with the log-probabilities of the five likeliest tokens at each place. Its
own detection prompt has 797 tokens on average (SmolLM's tokenizer). A batch that does not read as such a list is
unscored as a whole, and so is a last batch that is not full.
"""

import json
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from planted_latents import LENGTH, Latent

BATCH = 5
_CANDIDATES = 5
_SYSTEM = """You are a careful and experienced researcher of language.

You will be told of a certain latent of text, for example "pronouns of women" or "text that sounds angry".

Several examples of text follow. Say of each whether it has the latent.

For each example in turn answer 1 if the text has the latent and 0 if it does not. Answer with a valid Python list and \
with nothing else: no words before it, none after it, one number for each example that you were given.
"""
_SHOTS: Sequence[tuple[str, Sequence[str], str]] = (
    (
        "Words about positions of players in ball games, above all goalkeepers.",
        (
            " The newspapers wrote that the goalkeeper Peter Schmidt had hurt his knee in training on",
            " and the names of all the rivers that flow through the valley of the kings, as",
            " Press conference 2015: the keeper of the visiting side, Washington, spoke for the",
            " as a rule is not fit to be advertised. Films about recent accidents, for example, or",
            " the left of the field, where the defender Byron Hall and the keeper Amin stood",
        ),
        "[1,0,1,0,1]",
    ),
    (
        'The word "folks" in the phrase "you folks".',
        (
            " bring in a duty to insure one's own health? asked the speaker, and turned to both",
            " the means of birth control, but I can tell you that women in the country do not laugh as they",
            " for the protection against falls in a circus has rules that do not hold in a theatre since",
            " and in bad taste. In between the mud there are pieces of malice and of old",
            " the. I would like to remind you all that ten days ago the director Massimo",
        ),
        "[0,0,0,0,0]",
    ),
    (
        '"of" before words that begin with a capital letter.',
        (
            " climate, said the Chief of Staff of the governor, Charlie Lorenz, on Monday.",
            " no relics that work wonders, no true Body and Blood of Christ, no true Baptism",
            " Deborah Sand, Head of Talent and of Production at the Film House of London,",
            " It was found by the Director of Public Works (the DPW) in the course of",
            " and fair inquiry that does not even hear the Director of Athletics? At last we think the",
        ),
        "[1,1,1,1,1]",
    ),
)


@dataclass(slots=True)
class Spent:
    """What judging a latent took and gave. `yes` and `no`: what ranks the examples that could be read."""

    prompt: int = 0
    uncached: int = 0
    generated: int = 0
    seconds: float = 0.0
    yes: list[float] = field(default_factory=list[float])
    no: list[float] = field(default_factory=list[float])
    unscored: int = 0


def judged(http: httpx.Client, model: str, latent: Latent, batch: int = BATCH) -> dict[str, Any]:
    """Judges all windows of a latent, `batch` a prompt, shuffled once as delphi does; returns the fields of Spent."""
    labelled = [(window.text(LENGTH), window.at is not None) for window in latent.windows]
    random.Random(42).shuffle(labelled)
    spent = Spent()
    for first in range(0, len(labelled), batch):
        some = labelled[first : first + batch]
        started = time.perf_counter()
        reply = _asked(http, model, latent.explanation, [text for text, _ in some])
        spent.seconds += time.perf_counter() - started
        usage = reply["usage"]
        spent.prompt += usage["prompt_tokens"]
        spent.uncached += usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
        spent.generated += usage["completion_tokens"]
        shares = _shares(reply["choices"][0], batch)
        if shares is None or len(some) < batch:
            spent.unscored += len(some)
            continue
        for share, (_, label) in zip(shares, some, strict=True):
            (spent.yes if label else spent.no).append(share)
    return asdict(spent)


def _asked(http: httpx.Client, model: str, explanation: str, texts: Sequence[str]) -> dict[str, Any]:
    messages = [{"role": "system", "content": _SYSTEM}]
    for shown, shot_texts, answer in _SHOTS:
        turn = f"Latent explanation: {shown}\n\nTest examples:\n\n{_numbered(shot_texts)}"
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]
    asked = f"Latent explanation: {explanation}\n\nText examples:\n\n{_numbered(texts)}\n"
    messages.append({"role": "user", "content": asked})
    body = {
        "model": model, "messages": messages, "temperature": 0.0, "max_tokens": 2 * len(texts) + 8,
        "logprobs": True, "top_logprobs": _CANDIDATES,
    }  # fmt: skip
    found: dict[str, Any] = http.post("/v1/chat/completions", json=body).raise_for_status().json()
    return found


def _numbered(texts: Sequence[str]) -> str:
    return "".join(f"Example {i}:{text}\n" for i, text in enumerate(texts))


def _shares(choice: dict[str, Any], count: int) -> list[float] | None:
    """Returns P(1) / (P(0) + P(1)) of each example, None for a reply that is no list of so many."""
    match = re.search(r"\[.*?\]", choice["message"]["content"] or "")
    try:
        if match is None or len(json.loads(match.group(0))) != count:
            return None
    except ValueError:
        return None
    places = [token for token in choice["logprobs"]["content"] if "0" in token["token"] or "1" in token["token"]]
    return [_share(place["top_logprobs"]) for place in places] if len(places) == count else None


def _share(candidates: Sequence[dict[str, Any]]) -> float:
    zero = math.fsum(math.exp(c["logprob"]) for c in candidates if "0" in c["token"])
    one = math.fsum(math.exp(c["logprob"]) for c in candidates if "1" in c["token"] and "0" not in c["token"])
    return one / (zero + one) if zero + one else 0.0
