"""How fast, and how well, do the laptop's engines judge? One run, one machine, one table, one ratio.

Judging is prefill: a long few-shot prefix that the engine keeps, then some 40 new tokens and one answer token with its
log-probabilities for each example. The table compares models and slots; the ratio is the default judge's new prompt
tokens a second over the 45 that the demo's time plan needs on two cores.

    python benchmarks/judge_engines.py [--home ~/.dragoman] [--judgements 24] [--models NAME ...] [--slots 1 2 4]
        [--llm llama-server]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from dragoman.llm import Answer, ChatPrompt, LLMClient
from dragoman.models import bar, pull
from dragoman.stack import JUDGE, LlmChoice, Ports
from dragoman.stack.credentials import Credentials
from dragoman.stack.engines import LLAMA_CPP, LLAMA_SERVER, language_model
from rich.console import Console
from rich.table import Table

SMALL = "qwen2.5-coder-0.5b-instruct-q4_k_m"
GOAL = 45.0  # new prompt tokens a second of the default judge on two cores

SYSTEM = "You judge whether a text matches a description. Answer Yes or No."
SHOTS = (
    ("words about money", "The bank raised its interest rate after the loan defaulted.", "Yes"),
    ("words about money", "We walked along the quiet river until the sun went down.", "No"),
    ("names of months", "It was settled in the month of February that the treaty begin.", "Yes"),
    ("names of months", "The army crossed the bridge at night and lost two wagons.", "No"),
    ("the word 'not' and other negations", "They did not know, nor could they ever have guessed.", "Yes"),
    ("the word 'not' and other negations", "A pleasant green valley opened before us.", "No"),
    ("numbers and quantities", "Some 4,000 tons of coal and 30 ships were counted.", "Yes"),
    ("numbers and quantities", "He spoke with great feeling about his country.", "No"),
)
PROSE = (
    "the president told congress that our nation must defend its commerce and treasury against foreign powers while "
    "farmers soldiers and judges in every state hold the law in great respect because peace and liberty are gold"
)
CHECK = (
    (
        "references to war, battles and soldiers",
        (
            "the regiment stormed the hill and took three hundred prisoners before dusk",
            "our troops were withdrawn from the front after the long siege",
            "the general reported heavy losses among the infantry and cavalry",
            "artillery fire fell upon the camp through the whole night",
        ),
        (
            "the harvest of wheat was larger than in any year before",
            "a new post office has been opened in the western territory",
            "the price of cotton fell by two cents a pound in the spring",
            "children in the public schools learned to read by the age of seven",
        ),
    ),
    (
        "mentions of money, taxes or government spending",
        (
            "the revenue from customs duties rose to nineteen million dollars",
            "congress should reduce the tax burden upon the working family",
            "the deficit was paid from the surplus of the treasury",
            "appropriations for the navy exceeded the estimate by a tenth",
        ),
        (
            "the two rivers meet below the town in a wide and marshy plain",
            "she sang an old hymn as the congregation stood in silence",
            "the commissioners marked the northern boundary with stone posts",
            "our ambassador was received with great courtesy by the king",
        ),
    ),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; speeds in new prompt tokens and judgements a second."""

    model: str
    slots: int
    tokens_per_second: float
    judgements_per_second: float
    new_tokens: float
    correct: int
    auroc: float


def question(description: str, text: str) -> str:
    return f"Description: {description}\nText: {text}\nDoes the text match the description?"


def prompt(description: str, text: str) -> ChatPrompt:
    turns = [(question(about, shown), answer) for about, shown, answer in SHOTS]
    return ChatPrompt.of(question(description, text), system=SYSTEM, turns=turns)


@contextmanager
def served(path: Path, name: str, slots: int, engine: str = LLAMA_CPP) -> Iterator[str]:
    """The engine as the laptop's stack starts it, without a key."""
    choice, keyless = LlmChoice(name, slots=slots, engine=engine), Credentials(llm_api_key="")
    program = language_model(path, choice, Ports.free(), keyless)
    environ = {**os.environ, **program.environ}
    process = subprocess.Popen(program.command, env=environ, stdout=subprocess.DEVNULL)
    url = program.address
    try:
        while not healthy(url):
            if process.poll() is not None:
                raise SystemExit(f"the engine ended with {process.returncode}")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def measure(home: Path, name: str, slots: int, judgements: int, engine: str) -> Row:
    with served(pull(name, home), name, slots, engine) as url, LLMClient(url, name, max_concurrency=slots) as llm:
        list(llm.answer_many([prompt("warm up", f"word {i}") for i in range(slots)], ("Yes", "No")))
        before = llm.account.prompt - llm.account.cached
        started = time.perf_counter()
        replies = list(llm.answer_many(examples(judgements), ("Yes", "No")))
        seconds = time.perf_counter() - started
        new = llm.account.prompt - llm.account.cached - before
        correct, auroc = quality(llm)
    return Row(name, slots, new / seconds, len(replies) / seconds, new / len(replies), correct, auroc)


def examples(count: int) -> list[ChatPrompt]:
    """Two latents' worth of windows, one latent after the other."""
    generator, words = random.Random(0), PROSE.split()
    descriptions = ("words and phrases about foreign trade between nations", "references to the judiciary and the law")
    texts = [" ".join(generator.choice(words) for _ in range(26)) for _ in range(count)]
    return [prompt(descriptions[2 * i // count], text) for i, text in enumerate(texts)]


def quality(llm: LLMClient) -> tuple[int, float]:
    """Correct answers of 16, and AUROC."""
    labelled = [(prompt(about, text), True) for about, matching, _ in CHECK for text in matching]
    labelled += [(prompt(about, text), False) for about, _, others in CHECK for text in others]
    shares = [0.5] * len(labelled)
    for index, answer in llm.answer_many([asked for asked, _ in labelled], ("Yes", "No")):
        if isinstance(answer, Answer):
            shares[index] = answer.share("Yes")
    correct = sum((share > 0.5) == label for share, (_, label) in zip(shares, labelled, strict=True))
    yes = [share for share, (_, label) in zip(shares, labelled, strict=True) if label]
    no = [share for share, (_, label) in zip(shares, labelled, strict=True) if not label]
    wins = sum((a > b) + 0.5 * (a == b) for a in yes for b in no)
    return correct, wins / (len(yes) * len(no))


def show(rows: list[Row]) -> None:
    table = Table(title="judging: kept prefix, one answer token")
    for heading in ("model", "slots", "new tok/s", "judgements/s", "new tok each", "correct of 16", "AUROC"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows:
        speeds = (f"{row.tokens_per_second:.1f}", f"{row.judgements_per_second:.2f}", f"{row.new_tokens:.1f}")
        table.add_row(row.model, str(row.slots), *speeds, str(row.correct), f"{row.auroc:.2f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("DRAGOMAN_HOME", Path.home() / ".dragoman")))
    parser.add_argument("--judgements", type=int, default=24)
    parser.add_argument("--models", nargs="+", default=[JUDGE, SMALL])
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--llm", choices=[LLAMA_CPP, LLAMA_SERVER], default=LLAMA_CPP, help="as for `dragoman up`")
    given = parser.parse_args()
    for name in given.models:
        with bar(name) as progress:
            pull(name, given.home, progress)
    rows: list[Row] = []
    for name in given.models:
        for slots in given.slots:
            print(f"{name}, {slots} slots ...", file=sys.stderr)
            rows.append(measure(given.home, name, slots, given.judgements, given.llm))
    show(rows)
    best = max(row.tokens_per_second for row in rows if row.model == given.models[0])
    print(json.dumps({"name": "judge_engines", "ratio": round(best / GOAL, 3), "goal": 1.0}))


if __name__ == "__main__":
    main()
