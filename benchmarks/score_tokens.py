"""What a scored latent costs in tokens: detection in delphi's layout against ours, which stops when enough is known.

Same latents, windows and judge, one engine, one run; what is constant was read before. Ours puts one example in a
prompt, what is constant first, and reads one answer token. Each example is judged once in each length of window; then
the stopping rules are replayed on the stored answers, over many orders of the examples, so that the frontier costs no
further token.

The latents are planted in real text (see planted_latents.py): their scores differ, as explanations of uneven worth do.
A tiny judge's scores of real latents lie closer together, and are then harder to rank: compare the intervals.

Ratio: uncached prompt tokens and generated tokens of a latent, ours over delphi's, of the cheapest rule whose scores
rank latents as the same scorer does that judges all examples of full length (Spearman >= 0.95, mean over orders). It is
chosen among the rules on the same answers. Spearman's interval is a bootstrap over latents.

    python benchmarks/score_tokens.py [--latents 8] [--examples 15] [--lengths 32 16] [--keep FILE]

More latents and examples (delphi's own default is --examples 50) take longer; --keep FILE goes on where a run ended.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from delphi_judging import BATCH, judged
from dragoman.llm import Endpoint
from dragoman.models import pull
from dragoman.stack import JUDGE, default_home
from dragoman.stack.engines import LLAMA_CPP, LLAMA_SERVER
from judge_engines import served
from planted_latents import LENGTH, MOST, Latent, latents
from rich.console import Console
from rich.table import Table
from scorer.core.judgement import ANSWERS
from scorer.core.metrics import auroc
from scorer.core.prompts import detection_prefix, question
from scorer.core.requests import Choice
from scorer.llm_judge import LlmJudge
from scorer.spec import LlmRef
from stopping_replay import Collected, Point, frontier, score_of

GOAL, FAITHFUL = 0.2, 0.95


class Kept:
    """What was measured, latent by latent, in a file of JSON lines; without a file nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.is_file() else []
        self._known: dict[str, Any] = dict(json.loads(line) for line in lines)

    def get(self, key: str) -> Any:
        """Returns what was kept, None for nothing."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> Any:
        """Keeps a value, and returns it."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([key, value]) + "\n")
        return value


def collected(url: str, model: str, length: int, latent: Latent) -> dict[str, Any]:
    """Judges all windows of a latent in our layout."""
    judge = LlmJudge(Endpoint(url, concurrency=1))
    prefix = detection_prefix()
    asked = [Choice(question(prefix, latent.explanation, w.text(length)), ANSWERS) for w in latent.windows]
    started = time.perf_counter()
    found = dict(judge.verdicts(asked, LlmRef(model=model)))
    seconds = time.perf_counter() - started
    verdicts = [found[index] for index in range(len(asked))]
    return {
        "latent": latent.name,
        "values": [0.5 if v.shares is None else v.shares[0] for v in verdicts],
        "uncached": [v.prompt_tokens - v.cached_tokens for v in verdicts],
        "prompt": sum(v.prompt_tokens for v in verdicts),
        "generated": [v.completion_tokens for v in verdicts],
        "seconds": seconds,
    }


def measured(options: argparse.Namespace, wanted: Sequence[Latent]) -> tuple[list[Any], dict[int, list[Collected]]]:
    """Returns what delphi's layout took of each latent, and our answers by length."""
    kept = Kept(options.keep)
    name, common = options.judge, f"{options.judge}/{options.examples}"
    path = pull(name, options.home)
    with served(path, name, 1, options.llm) as url, httpx.Client(base_url=url, timeout=900, trust_env=False) as http:
        found = {
            length: _each(kept, f"{common}/ours/{length}", wanted, partial(collected, url, name, length))
            for length in options.lengths
        }
        theirs = _each(kept, f"{common}/delphi", wanted, partial(judged, http, name))
    return theirs, {length: [Collected(**each) for each in answers] for length, answers in found.items()}


def _each(
    kept: Kept, key: str, wanted: Sequence[Latent], measure: Callable[[Latent], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measures each latent that is not kept, after the engine has read what is constant."""
    warm = False
    found: list[dict[str, Any]] = []
    for latent in wanted:
        value = kept.get(f"{key}/{latent.name}")
        if value is None and not warm:
            measure(Latent("warm up", "nothing in particular", latent.windows[:BATCH]))
            warm = True
        found.append(value or kept.put(f"{key}/{latent.name}", measure(latent)))
        print(f"{key}/{latent.name}: {found[-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    return found


def layouts_table(theirs: Sequence[Any], ours: Mapping[int, Sequence[Collected]]) -> Table:
    """A row for each latent and layout, all examples judged."""
    table = Table(title="each latent, all examples judged")
    for heading in ("latent", "layout", "prompt", "uncached", "generated", "seconds", "AUROC", "unscored"):
        table.add_column(heading, justify="left" if heading in ("latent", "layout") else "right")
    for index, each in enumerate(theirs):
        name = ours[max(ours)][index].latent
        numbers = (each["prompt"], each["uncached"], each["generated"])
        score = auroc(np.asarray(each["yes"]), np.asarray(each["no"]))
        _row(table, name, "delphi", *numbers, each["seconds"], score, each["unscored"])
        for length, answers in ours.items():
            own = answers[index]
            numbers = (own.prompt, sum(own.uncached), sum(own.generated))
            full = score_of(own.values, range(len(own.values)))
            _row(table, "", f"ours, {length}", *numbers, own.seconds, full, 0)
    return table


def _row(
    table: Table, name: str, layout: str, prompt: int, uncached: int, generated: int, seconds: float,
    score: float | None, unscored: int,
) -> None:  # fmt: skip
    cells = (f"{prompt:,}", f"{uncached:,}", str(generated), f"{seconds:.1f}")
    table.add_row(name, layout, *cells, "none" if score is None else f"{score:.2f}", str(unscored))


def frontier_table(points: Sequence[Point], per_latent: float) -> Table:
    """A row for each rule and length, the cheapest first."""
    table = Table(title=f"tokens against Spearman; delphi's layout takes {per_latent:,.0f} a latent")
    for heading in ("rule", "length", "examples", "tokens", "of delphi", "Spearman", "95 %", "with delphi"):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    for p in sorted(points, key=lambda point: point.tokens):
        table.add_row(
            p.rule, str(p.length), f"{p.examples:.1f}", f"{p.tokens:.0f}", f"{p.tokens / per_latent:.3f}",
            f"{p.spearman:.3f}", f"{p.low:.2f} to {p.high:.2f}", f"{p.with_delphi:.2f}",
        )  # fmt: skip
    return table


def summary(points: Sequence[Point], per_latent: float, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the last line."""
    whole = next(p for p in points if p.rule == "all" and p.length == max(options.lengths))
    faithful = [p for p in points if p.spearman >= FAITHFUL]
    best = min(faithful, key=lambda p: p.tokens)
    return {
        "name": "score_tokens", "ratio": round(best.tokens / per_latent, 3), "goal": GOAL,
        "rule": best.rule, "length": best.length, "spearman": round(best.spearman, 3),
        "interval": [_told(best.low), _told(best.high)],
        "with_delphi": _told(best.with_delphi), "with_delphi_all": _told(whole.with_delphi),
        "all_examples_ratio": round(whole.tokens / per_latent, 3),
        "delphi_tokens": round(per_latent), "latents": options.latents, "examples": 2 * options.examples,
        "judge": options.judge,
    }  # fmt: skip


def _told(number: float) -> float | None:
    """None for what could not be computed: scores that are all alike have no ranks."""
    return None if math.isnan(number) else round(number, 2)


def main() -> None:
    """Prints the tables and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=default_home(os.environ))
    parser.add_argument("--judge", default=JUDGE)
    parser.add_argument("--llm", choices=[LLAMA_CPP, LLAMA_SERVER], default=LLAMA_CPP, help="as for `dragoman up`")
    parser.add_argument("--latents", type=int, default=8, choices=range(3, MOST + 1), metavar=f"3..{MOST}")
    parser.add_argument("--examples", type=int, default=15, help="of each label")
    parser.add_argument("--lengths", type=int, nargs="+", default=[LENGTH, LENGTH // 2])
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep answers, and use those that are there")
    options = parser.parse_args()
    if LENGTH not in options.lengths or max(options.lengths) > LENGTH:
        parser.error(f"--lengths: {LENGTH} must be among them, and is the most")
    wanted = latents(pull("sotu", options.home), options.latents, options.examples)
    theirs, ours = measured(options, wanted)
    per_latent = float(np.mean([each["uncached"] + each["generated"] for each in theirs]))
    scores = [auroc(np.asarray(each["yes"]), np.asarray(each["no"])) for each in theirs]
    points = frontier(ours, [0.5 if score is None else score for score in scores])
    console = Console(width=120)
    console.print(layouts_table(theirs, ours))
    console.print(frontier_table(points, per_latent))
    print(f"delphi: {BATCH} examples a prompt, {2 * options.examples} a latent")
    print(json.dumps(summary(points, per_latent, options)))


if __name__ == "__main__":
    main()
