"""Artifacts of a trained and a control run in the documented schemas: real prose, made-up activations and answers."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, FolderArtifacts, file_sha256
from dragoman.ids import Json, artifact_id, derived_seed
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from scorer.core.aggregate import Tally, statistics
from scorer.core.judgement import EXAMPLES_SCHEMA
from scorer.core.latent_score import LATENTS_SCHEMA, Scoring, latent_score
from scorer.core.scorers import METHODS
from scorer.scorecard_checks import roles
from scorer.scorecard_spec import ScorecardSpec

PROSE = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness,
it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness.
There were a king with a large jaw and a queen with a plain face, on the throne of England; there were a king with a
large jaw and a queen with a fair face, on the throne of France. Call me Ishmael. Some years ago, never mind how long
precisely, having little or no money in my purse, and nothing particular to interest me on shore, I thought I would sail
about a little and see the watery part of the world. "My dear Mr. Bennet," said his lady to him one day, "have you heard
that Netherfield Park is let at last?" Mr. Bennet replied that he had not. "But it is," returned she; "for Mrs. Long has
just been here, and she told me all about it." Alice was beginning to get very tired of sitting by her sister on the
bank, and of having nothing to do: once or twice she had peeped into the book her sister was reading, but it had no
pictures or conversations in it. Far out in the ocean the water is as blue as the petals of the loveliest cornflower,
and as clear as the purest glass. But it is very deep too. It goes down deeper than any anchor rope will go, and many,
many steeples would have to be stacked one on top of another to reach from the bottom to the surface of the sea.
He was an old man who fished alone in a skiff, and on the fourth day of the week the wind went round to the north.
"""
TRAINED_LATENTS = (
    ("The verb 'was' and other past forms of 'to be' that open a description", ("was", "were", "been")),
    ("Forms of address and family names in social introductions", ("Mr", "Mrs", "Bennet", "Long", "dear", "lady")),
    ("The sea, ships and sailing", ("sail", "watery", "ocean", "water", "anchor", "sea", "skiff", "shore", "fished")),
    ("Negation: words that deny or reverse a statement", ("not", "never", "nothing", "no", "but")),
    ("Female persons and the pronouns that refer to them", ("she", "her", "queen", "sister", "Alice", "lady")),
    ("Verbs that report speech, just after a quotation", ("said", "replied", "returned", "told", "heard")),
    ("Superlatives and extremes of quality", ("best", "worst", "loveliest", "purest", "deeper", "very")),
    ("Abstract nouns for states of mind", ("wisdom", "foolishness", "belief", "incredulity", "interest")),
    ("Body parts and faces in physical descriptions", ("jaw", "face", "mind")),
    ("Units and points of time, such as day, years and season", ("times", "age", "epoch", "season", "years", "day")),
)
CONTROL_LATENTS = (
    ("The word 'of'", ("of",)),
    ("The word 'the', often at the start of a noun phrase", ("the",)),
    ("Commas between parts of a sentence", (",",)),
    ("The letter sequence 'ing' in verbs", ("beginning", "sitting", "having", "reading")),
    ("Various common words in English narrative text", ("a", "large", "king")),
    ("The word 'and' joining two things", ("and",)),
    ("Short function words", ("it", "is", "in")),
    ("Tokens related to storytelling and narrative descriptions of events in the past", ("with", "one", "about")),
    ("Punctuation marks", (".", ";", ":")),
    ("The word 'to' before a verb", ("to",)),
)
RANKS = (100, 200, 300, 400, 500, 650, 800, 1000, 1250, 1500)
JUDGE = "qwen2.5-1.5b-instruct-q8_0"
WINDOW = 32
_TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]|\s")


@dataclass(frozen=True)
class Plan:
    """What a pair of runs looks like."""

    count: int = 10
    """Attempted latents of each side."""
    strength: Mapping[str, float] = field(default_factory=lambda: {"trained": 1.3, "control": 0.45})
    """How far apart the judge's log-odds of positives and negatives are, in standard deviations."""
    questions: int = 16
    """Windows of each kind."""
    explanation: str | None = None
    """Put in place of every explanation."""
    token: str | None = None
    """Put in place of every first token of a window."""
    with_evaluation: bool = True
    with_probabilities: bool = True
    weights: Mapping[str, str] = field(
        default_factory=lambda: {"trained": "trained", "control": "rerandomized_incl_emb"}
    )
    baselines: Mapping[str, str] = field(default_factory=dict[str, str])
    """Which baseline the coder of a side is."""
    scorers: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"trained": ("detection", "fuzzing"), "control": ("detection", "fuzzing")}
    )


@dataclass(frozen=True)
class Laid:
    """Runs in a folder."""

    artifacts: FolderArtifacts
    spec: ScorecardSpec

    @property
    def inputs(self) -> dict[str, FolderArtifact]:
        """By role."""
        return {role: self.artifacts.artifact(id_) for role, id_ in roles(self.spec).items()}


def lay_out(root: Path, plan: Plan, **spec: Any) -> Laid:
    """Writes everything that a scorecard reads and returns its spec."""
    writer = _Writer(root)
    tokens = writer.artifact("tokens", {"source": "prose"}, {}, {}, {"ctx_len": 256})
    sides = {side: _side(writer, side, tokens, plan) for side in ("trained", "control")}
    title = "SmolLM2-135M, residual stream after layer 9, TopK"
    fields = {"title": title, "bootstrap_count": 1_000, **sides, **spec}
    return Laid(FolderArtifacts(root), ScorecardSpec.model_validate(fields))


def _side(writer: "_Writer", side: str, tokens: str, plan: Plan) -> dict[str, Any]:
    model = {"source": "/models/SmolLM2-135M", "weights": plan.weights[side], "weights_seed": int(side == "control")}
    train = writer.artifact("activations", {"tokens_id": tokens, "model": model}, {"tokens": tokens}, {}, {})
    said: dict[str, Json] = {"baseline": plan.baselines.get(side)}
    coder = writer.artifact(
        "coder",
        {"activations_id": train, "d_sae": 4608},
        {"activations": train},
        {"curves.parquet": _curve(side)},
        said,
    )
    measured = {"trained": (0.182, 0.176, 0.189), "control": (0.391, 0.385, 0.398)}[side]
    latents = writer.artifact(
        "latents",
        {"tokens_id": tokens, "model": model, "coder_id": coder},
        {"tokens": tokens, "coder": coder},
        {},
        {"hookpoint": "layers.9", "d_sae": 4608, "k": 32, "tokens_id": tokens},
    )
    rng = np.random.Generator(np.random.PCG64(derived_seed("synthetic", side)))
    rows = _explanations(side, plan, rng)
    counts = {"total": 4608, "dead": 212 if side == "trained" else 61, "rare": 840, "attempted": len(rows)}
    failed = {"unparsable": 1} if len(rows) > 3 else {}
    explanations = writer.artifact(
        "explanations",
        {"latents_id": latents, "explainer": "default", "example_count": 20},
        {"latents": latents},
        {"explanations.parquet": _table(rows), "windows.parquet": _table(_windows(rows, plan, rng))},
        {
            **counts,
            "parsed": sum(r["explanation"] is not None for r in rows),
            "failed_by_outcome": failed,
            "prompt_tokens": 10_240,
            "cached_tokens": 2_048,
            "completion_tokens": 280,
            "model": JUDGE,
        },
    )
    run: dict[str, Any] = {
        "explanations_id": explanations,
        "scores_ids": [_scores(writer, explanations, name, rows, plan, counts, rng) for name in plan.scorers[side]],
    }
    if plan.with_evaluation:
        run["evaluation_id"] = writer.artifact(
            "evaluation", {"coder_id": coder, "activations_id": train}, {"coder": coder}, {}, _measured(*measured)
        )
    return run


def _measured(fvu: float, low: float, high: float) -> dict[str, Json]:
    return {
        "fvu": fvu,
        "fvu_interval": [low, high],
        "mse": fvu * 3.1,
        "cosine": 1.0 - fvu / 2.0,
        "l0": 32.0,
        "dead_fraction": 0.046,
        "dense_fraction": 0.004,
        "token_count": 16_384,
        "document_overlap_count": 0,
    }


def _explanations(side: str, plan: Plan, rng: np.random.Generator) -> list[dict[str, Any]]:
    named = TRAINED_LATENTS if side == "trained" else CONTROL_LATENTS
    rows: list[dict[str, Any]] = []
    for index in range(plan.count):
        failed = index == 3 and plan.count > 3
        count = 190_000 // (RANKS[index % 10] + index // 10)
        rows.append(
            {
                "latent": int(rng.integers(0, 4608 // plan.count) + index * (4608 // plan.count)),
                "rank": RANKS[index] if index < len(RANKS) else 1500 + 3 * index,
                "firing_count": count,
                "density": count / 196_608,
                "max_activation": float(rng.uniform(4.0, 19.0)),
                "explanation": None if failed else plan.explanation or named[index % 10][0],
                "outcome": "unparsable" if failed else "explained",
                "reason": "the reply has no line that begins with 'Explanation:'" if failed else "",
                "example_documents": [1, 2, 3],
                "_words": named[index % 10][1],
            }
        )
    return rows


def _windows(rows: Sequence[Mapping[str, Any]], plan: Plan, rng: np.random.Generator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        for index in range(12):
            tokens, activations = _window(row, plan, rng)
            found.append(
                {
                    "latent": row["latent"],
                    "window": index,
                    "shown": index % 3 != 0,
                    "row": index,
                    "start": 0,
                    "document": int(rng.integers(0, 48)),
                    "split": "train",
                    "quantile": index % 10,
                    "max_activation": max(activations),
                    "tokens": tokens,
                    "activations": activations,
                }
            )
    return found


def _window(row: Mapping[str, Any], plan: Plan, rng: np.random.Generator) -> tuple[list[str], list[float]]:
    tokens = _TOKEN.findall(PROSE)
    fires = np.array([t.strip() in row["_words"] for t in tokens])
    middle = int(rng.choice(np.flatnonzero(fires)))
    start = min(max(0, middle - int(rng.integers(4, 28))), len(tokens) - WINDOW)
    cut = tokens[start : start + WINDOW]
    values = rng.uniform(0.2, 1.0, WINDOW) * fires[start : start + WINDOW] * row["max_activation"]
    values *= rng.random(WINDOW) > 0.15
    if values.max() <= 0:
        values[middle - start] = row["max_activation"]
    if plan.token is not None:
        cut[0] = plan.token
    return cut, [float(v) for v in values]


def _scores(
    writer: "_Writer",
    explanations: str,
    scorer: str,
    rows: Sequence[Mapping[str, Any]],
    plan: Plan,
    counts: Mapping[str, Json],
    rng: np.random.Generator,
) -> str:
    side = "trained" if rows[0]["_words"] == TRAINED_LATENTS[0][1] else "control"
    how = Scoring(METHODS[scorer].form, METHODS[scorer].choices, 0, 200)
    tally, examples, scored = Tally(how.form), [], []
    for row in rows:
        mine = [] if row["explanation"] is None else _examples(scorer, row, plan, plan.strength[side], rng)
        mine = [_of_form(how.form, example, plan.strength[side], rng) for example in mine]
        tally.add(mine)
        examples += mine
        scored.append(latent_score(row, mine, how))
    spec: dict[str, Json] = {
        "explanations_id": explanations,
        "scorer": scorer,
        "active_count": plan.questions,
        "llm": {"model": JUDGE},
    }
    said = {"scorer": scorer, "method_version": 1, "model": JUDGE, **counts, **statistics(scored, tally, how, 4, False)}
    tables = {
        "latents.parquet": pa.Table.from_pylist(scored, schema=LATENTS_SCHEMA),
        "examples.parquet": pa.Table.from_pylist(examples, schema=EXAMPLES_SCHEMA),
    }
    return writer.artifact("scores", spec, {"explanations": explanations}, tables, said)


def _of_form(form: str, example: dict[str, Any], strength: float, rng: np.random.Generator) -> dict[str, Any]:
    """Makes a trial or a simulation of a question of yes or no."""
    gap = strength if example["arm"] == "score" else 0.0
    if form == "simulated":
        noise = rng.standard_normal(len(example["activations"]))
        predicted = (gap * np.asarray(example["activations"]) + 3.0 * noise).tolist()
        return {**example, "answer": None, "p_yes": None, "value": None, "choice": None, "predicted": predicted}
    if form != "trials" or example["outcome"] != "answered":
        return example
    place = int(example["example"]) % 5
    weights = np.exp(rng.standard_normal(5) + gap * (np.arange(5) == place))
    shares = (weights / weights.sum()).tolist()
    choice = int(np.argmax(shares))
    trial = {"label": True, "place": place, "choice": choice, "shares": shares, "answer": choice == place}
    return {**example, **trial, "type": "random", "p_yes": None, "value": shares[place]}


def _examples(
    scorer: str, row: Mapping[str, Any], plan: Plan, strength: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    own = strength * rng.uniform(0.5, 1.5)
    arms = [("score", own, plan.questions), ("shuffled", 0.0, max(2, plan.questions // 2))]
    wrong = "random" if scorer == "detection" else "wrong_marks"
    rows: list[dict[str, Any]] = []
    for arm, gap, count in arms:
        for label in (True, False):
            for _ in range(count):
                tokens, activations = _window(row, plan, rng)
                if not label:
                    activations = [0.0] * len(tokens)
                marks = [a > 0 or (not label and i % 9 == 4) for i, a in enumerate(activations)]
                p_yes = float(1.0 / (1.0 + np.exp(-rng.normal(gap * (0.5 if label else -0.5), 1.0))))
                failed = rng.random() < 0.02
                rows.append(
                    {
                        "latent": row["latent"],
                        "example": len(rows),
                        "arm": arm,
                        "type": "active" if label else wrong,
                        "label": label,
                        "quantile": int(rng.integers(0, 10)) if label else -1,
                        "document": int(rng.integers(48, 60)),
                        "row": 0,
                        "start": 0,
                        "tokens": tokens,
                        "activations": activations,
                        "marked": marks if scorer == "fuzzing" else [False] * len(tokens),
                        "explanation_latent": row["latent"],
                        "outcome": "unparsable" if failed else "answered",
                        "answer": None if failed else p_yes > 0.5,
                        **dict.fromkeys(("p_yes", "value"), p_yes if plan.with_probabilities and not failed else None),
                        "choice": None if failed else int(p_yes <= 0.5),
                        "place": 0,
                        "shares": None,
                        "predicted": None,
                        "prompt_tokens": 412,
                        "cached_tokens": 355,
                        "completion_tokens": 1,
                    }
                )
    return rows


def _curve(side: str) -> pa.Table:
    steps = np.arange(1, 65)
    end, noise = {"trained": (0.17, 3), "control": (0.38, 7)}[side]
    fvu = end + (1.05 - end) * np.exp(-steps / 9.0) + 0.008 * np.sin(steps * noise)
    return pa.table({"step": steps, "token_count": steps * 2048, "fvu": fvu})


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{k: v for k, v in row.items() if not k.startswith("_")} for row in rows])


@dataclass(frozen=True)
class _Writer:
    root: Path

    def artifact(
        self,
        kind: str,
        spec: Mapping[str, Any],
        inputs: Mapping[str, str],
        tables: Mapping[str, pa.Table],
        said: Mapping[str, Any],
    ) -> str:
        id_ = artifact_id(kind, 1, spec)
        folder = self.root / id_
        folder.mkdir(parents=True)
        parts = [self._part(folder, name, table) for name, table in tables.items()]
        manifest = Manifest(
            id_, kind, 1, spec, inputs, parts, said, software={"dragoman": "0.1.0", "torch": "2.13.0", "python": "3.11"}
        )
        (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
        return id_

    def _part(self, folder: Path, name: str, table: pa.Table) -> PartInfo:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        (folder / name).write_bytes(sink.getvalue())
        return PartInfo(name, name, len(sink.getvalue()), file_sha256(folder / name), table.num_rows)
