"""The acceptance rows about scoring, over planted latents with judges that follow rules: each with its figure.

Rows are those of the acceptance matrix of docs/methods.md, "Acceptance". No engine is asked: what is shown is
arithmetic. Intervals over seeds are Student's, of as many corpora, each with latents, labels and draws of its own. The
ratio is the share of rows that pass. Usage: python benchmarks/scorers_acceptance.py [--seeds 5]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dragoman.folder import FolderArtifact
from scorer.scores_kind import ScoresKind
from scorer.spec import ScoresSpec

from tests.support import metric_blindness
from tests.support.local_run import run_local
from tests.unit.scorer import planted as p
from tests.unit.scorer import test_acceptance as acceptance
from tests.unit.scorer import test_discrimination as discrimination
from tests.unit.scorer import test_scores_kind as marks
from tests.unit.scorer import test_triage as triage
from tests.unit.scorer.test_simulation import words_of
from tests.unit.scorer_report import test_scorecard_kind as scorecards
from tests.unit.scorer_report.synthetic import Plan
from tests.unit.scorer_report.synthetic import lay_out as lay_out_sides

LATENTS = 8
DENOMINATORS = ("total", "dead", "rare", "attempted", "scored")


@dataclass(frozen=True)
class Line:
    """One row of the matrix."""

    row: int
    what: str
    figure: str
    passed: bool


class World:
    """Planted latents of several corpora, and scores of them."""

    def __init__(self, folder: Path, seeds: int) -> None:
        self.folder = folder
        self.all = [p.lay_out(p.planted(LATENTS, seed), folder / f"in-{seed}") for seed in range(seeds)]
        self.laid = self.all[0]
        self._count = 0

    def fresh(self) -> Path:
        """Returns a folder that nothing has used."""
        self._count += 1
        return self.folder / f"made-{self._count}"

    def made(self, scorer: str, judge: p.RuleJudge, seed: int = 0) -> FolderArtifact:
        """Returns a job's artifact over one of the corpora."""
        laid = self.all[seed]
        kind = ScoresKind(judge, laid.artifacts, p.RuleEmbedder(p.by_family))
        spec = ScoresSpec(
            explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, window_length=p.LENGTH,
            bootstrap_count=500, seed=seed,
        )  # fmt: skip
        return run_local(kind, spec, laid.inputs, self.fresh())

    def scored(self, scorer: str, rule: p.Rule = p.oracle, judge: p.RuleJudge | None = None) -> dict[str, Any]:
        """Returns the statistics of a job whose judge follows a rule."""
        return dict(self.made(scorer, judge or judge_of(rule)).manifest.statistics)

    def over_seeds(self, scorer: str, judge: p.RuleJudge) -> list[FolderArtifact]:
        """Returns the artifacts over all corpora."""
        return [self.made(scorer, judge, seed) for seed in range(len(self.all))]


def judge_of(rule: p.Rule) -> p.RuleJudge:
    """Returns a judge of windows by a rule; of gains it knows the words of the label."""
    gain = lambda description, text: float(bool(set(words_of(description)) & set(text.split()))) - 0.5  # noqa: E731
    return p.RuleJudge(rule, gain=gain)


def means(made: Sequence[FolderArtifact], name: str) -> list[float]:
    """Returns a metric's mean over latents, of each seed."""
    found: list[Any] = [artifact.manifest.statistics[name] for artifact in made]
    return [float(each["mean"]) for each in found]


def over(values: Sequence[float]) -> str:
    """Returns the mean over seeds and its interval."""
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    middle = statistics.mean(values)
    return f"{middle:.3f} [{middle - half:.3f}, {middle + half:.3f}]"


def leaks(world: World) -> Iterator[Line]:
    """Row 1."""
    shared = acceptance.shared_documents(1_000)
    yield Line(1, "documents in train and test windows, 1,000 pools", str(shared), shared == 0)


def oracles(world: World) -> Iterator[Line]:
    """Rows 2 and 19. What a null gets is not 0.5 to the last digit: where one latent's words stand, there is less room
    for another's. It is what the text tells, latent by latent."""
    for scorer in ("detection", "fuzzing", "embedding", "surprisal"):
        made = world.over_seeds(scorer, judge_of(p.oracle))
        own = means(made, "auroc")
        figure = f"{over(own)}; shuffled {over(means(made, 'null_auroc'))}"
        apart = max(_apart(artifact, scorer) for artifact in made)
        yield Line(2, f"oracle AUROC, {scorer}", figure, min(own) >= 0.95 and apart < 1e-9)
    found = made[0].manifest.statistics
    there = all(name in found for name in (*DENOMINATORS, "seed"))
    yield Line(19, "denominators of a report", ", ".join(f"{n} {found[n]}" for n in DENOMINATORS), there)


def _apart(artifact: FolderArtifact, scorer: str) -> float:
    """Returns how far the shuffled arm is, at most, from what the words of the windows tell."""
    examples = marks.table(artifact, "examples.parquet")
    rows = marks.table(artifact, "latents.parquet")
    told = [p.null_told_by_text(examples, row["latent"], only_marked=scorer == "fuzzing") for row in rows]
    return max(abs(row["null_auroc"] - each) for row, each in zip(rows, told, strict=True))


def seeds(world: World) -> Iterator[Line]:
    """Row 19: a judge that is often wrong, so that corpora and draws matter."""
    judge = p.RuleJudge(
        acceptance.noisy(p.oracle), gain=acceptance.noisy_gain, strengths=acceptance.noisy_strengths
    )  # fmt: skip
    for scorer in ("detection", "fuzzing", "surprisal", "simulation"):
        made = world.over_seeds(scorer, judge)
        metric = str(made[0].manifest.statistics["metrics"][0])  # type: ignore[index]
        own, null = means(made, metric), means(made, f"null_{metric}")
        different = len(made) >= 3 and statistics.stdev(own) > 0.0
        figure = f"{over(own)}; shuffled {over(null)}"
        yield Line(19, f"{len(made)} seeds, a wavering judge, {metric}, {scorer}", figure, different)


def baselines(world: World) -> Iterator[Line]:
    """Row 7."""
    for baseline in ("frozen_decoder", "random"):
        weights = {"trained": "trained", "control": "trained"}
        plan = Plan(count=6, weights=weights, baselines={"control": baseline})
        made = scorecards.made(lay_out_sides(world.fresh(), plan), world.fresh())
        found = json.loads(made.read("scorecard.json"))["sides"]["control"]["subject"]["weights"]
        yield Line(7, f"control of a scorecard, {baseline}", found, "trained, " in found)


def constants(world: World) -> Iterator[Line]:
    """Row 3."""
    for scorer in ("detection", "fuzzing"):
        found = world.scored(scorer, lambda _: 0.99)
        figure = f"{found['balanced_accuracy']['mean']:.3f}, plain accuracy {found['constant_answer_accuracy']:.3f}"
        holds = found["balanced_accuracy"]["low"] == found["balanced_accuracy"]["high"] == 0.5
        yield Line(3, f"always yes, balanced accuracy, {scorer}", figure, holds)


def failures(world: World) -> Iterator[Line]:
    """Row 4."""
    rule = acceptance.noisy(p.oracle)
    whole = world.scored("detection", rule)
    found = world.scored("detection", judge=acceptance.SometimesAway(rule, share=0.2))
    share = sum(found["failed_by_outcome"].values()) / found["question_count"]
    moved = found["auroc"]["mean"] - whole["auroc"]["mean"]
    figure = f"{share:.1%} reported, AUROC {whole['auroc']['mean']:.3f} moved by {moved:+.3f}"
    yield Line(4, "failures injected: 20 %", figure, abs(share - 0.2) < 0.04 and abs(moved) < 0.05)


def positions(world: World) -> Iterator[Line]:
    """Row 5."""
    found = world.scored("fuzzing", marks._by_place)  # pyright: ignore[reportPrivateUsage]
    spread = max(abs(found["auroc"][name] - 0.5) for name in ("low", "high"))
    yield Line(5, "a judge of mark positions, AUROC", f"{found['auroc']['mean']:.3f}", spread < 1e-9)


def blindness(world: World) -> Iterator[Line]:
    """Row 8. The table itself is printed below."""
    found = {(line.design, line.metric): line for line in metric_blindness.lines()}
    first, _, near = (design.name for design in metric_blindness.DESIGNS)
    blind = [metric for metric in metric_blindness.METRICS if found[first, metric].blind("wide")]
    seen = all(not found[near, metric].blind("wide") for metric in metric_blindness.METRICS)
    yield Line(8, "metrics blind to a label too wide", ", ".join(blind), seen and bool(blind))


def intruders(world: World) -> Iterator[Line]:
    """Row 9."""
    found = world.scored("intruder", lambda asked: [asked.chance(place) for place in range(5)])
    own = found["accuracy"]
    figure = f"{own['mean']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
    yield Line(9, "random judge, intruder accuracy", figure, own["low"] <= 0.2 <= own["high"])
    weak, strong = acceptance.accuracy_by_strength(world.laid, world.fresh())
    yield Line(9, "accuracy among weak and strong windows", f"{weak:.3f}, {strong:.3f}", strong > weak)


def filters(world: World) -> Iterator[Line]:
    """Row 14."""
    rows = triage.filtered(world.fresh())
    for column, kind in (("is_positional", triage.POSITIONAL), ("is_unigram", triage.UNIGRAM)):
        said = np.asarray([bool(row[column]) for row in rows])
        true = np.asarray([planted == kind for planted in triage.KINDS])
        precision, recall = (said & true).sum() / max(1, said.sum()), (said & true).sum() / true.sum()
        figure = f"P {precision:.2f}, R {recall:.2f} of {true.sum()} among {len(rows)}"
        yield Line(14, f"planted latents, {column}", figure, precision == recall == 1.0)


def taxonomy(world: World) -> Iterator[Line]:
    """Row 17."""
    root = triage.lay_out(world.fresh())
    made = triage.triage(root, world.fresh(), effects_id=triage.EFFECTS_ID)
    shares = triage.confusion(made).diagonal() / triage.OF_EACH
    figure = ", ".join(f"{name} {share:.2f}" for name, share in zip(triage.CLASSES, shares, strict=True))
    yield Line(17, "share of each planted class on the diagonal", figure, bool((shares >= 0.9).all()))


def collisions(world: World) -> Iterator[Line]:
    """Row 18."""
    planted = p.planted(discrimination.LATENTS, labels=discrimination.same_for_pairs)
    detected, found = (
        dict(discrimination.scored(planted, rule, world.fresh(), scorer).manifest.statistics)
        for rule, scorer in ((p.oracle, "detection"), (discrimination.fitting, "discrimination"))
    )
    values: list[Any] = [each["auroc"] for each in (detected, found)]
    figure = f"detection {values[0]['mean']:.3f}, discrimination {values[1]['mean']:.3f}"
    yield Line(18, "labels shared by two latents, AUROC", figure, values[0]["mean"] > 0.85 and values[1]["mean"] == 0.5)


ROWS: tuple[Callable[[World], Iterator[Line]], ...] = (
    leaks, oracles, seeds, baselines, constants, failures, positions, blindness, intruders, filters, taxonomy,
    collisions,
)  # fmt: skip


def main() -> int:
    """Prints the rows and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="corpora; 3 or more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), options.seeds)
        lines = sorted((line for show in ROWS for line in show(world)), key=lambda line: line.row)
    print(f"{'row':>3}  {'':<58}{'figure':<50}")
    for line in lines:
        print(f"{line.row:>3}  {line.what:<58}{line.figure:<50}{'' if line.passed else 'FAILS'}".rstrip())
    print("\n" + metric_blindness.text(metric_blindness.lines()))
    passed = sum(line.passed for line in lines)
    print(json.dumps({"name": "scorers_acceptance", "ratio": round(passed / len(lines), 3), "goal": 1.0}))
    return 0 if passed == len(lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
