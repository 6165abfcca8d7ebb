"""The job kind `scores` over planted latents, with judges that follow rules."""

import itertools
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dragoman.artifacts import Artifact, InputInfo
from dragoman.errors import InvalidSpec, TransientTaskError, UserTaskError
from dragoman.folder import FolderArtifact
from latent_cache import Window
from scorer.core.examples import DocumentLeak, Example, Shown
from scorer.core.metrics import mean_interval
from scorer.core.scorers import METHODS
from scorer.scores_kind import ScoresKind
from scorer.spec import LlmRef, ScoresSpec

from tests.support.latents_writer import Kept
from tests.support.local_run import reversed_order, run_local
from tests.unit.scorer import planted as p

SCORERS = ("detection", "fuzzing", "fuzzing_silent")
LATENTS = 16


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> p.Laid:
    return p.lay_out(p.planted(LATENTS), tmp_path_factory.mktemp("artifacts"))


def spec(scorer: str = "detection", **changes: Any) -> ScoresSpec:
    fields = {"window_length": p.LENGTH, "bootstrap_count": 200, **changes}
    return ScoresSpec(explanations_id=p.EXPLANATIONS_ID, latents_id=p.LATENTS_ID, scorer=scorer, **fields)


def score(laid: p.Laid, judge: p.RuleJudge, folder: Path, wanted: ScoresSpec, **how: Any) -> FolderArtifact:
    return run_local(ScoresKind(judge, laid.artifacts), wanted, laid.inputs, folder / "scores", **how)


def table(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    return pq.read_table(artifact.download(name)).to_pylist()


def statistics(artifact: Artifact) -> dict[str, Any]:
    return dict(artifact.manifest.statistics)


# ---------------------------------------------------------------- what a judge gets


@pytest.mark.parametrize("scorer", SCORERS)
def test_oracle_gets_nearly_all_and_its_shuffled_null_is_what_the_text_tells(
    laid: p.Laid, tmp_path: Path, scorer: str
) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec(scorer))
    found = statistics(made)
    assert found["auroc"]["mean"] >= 0.95
    assert found["balanced_accuracy"]["mean"] >= 0.95
    assert found["auroc"]["n"] == found["scored"] == LATENTS
    examples = table(made, "examples.parquet")
    for row in table(made, "latents.parquet"):
        told = p.null_told_by_text(examples, row["latent"], only_marked=scorer != "detection")
        assert [row["null_auroc"], row["null_balanced_accuracy"]] == pytest.approx([told, told])


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("p_yes", [0.99, 0.01, 0.5])
def test_constant_judge_gets_exactly_the_floor(laid: p.Laid, tmp_path: Path, scorer: str, p_yes: float) -> None:
    made = score(laid, p.RuleJudge(lambda _: p_yes), tmp_path, spec(scorer))
    for row in table(made, "latents.parquet"):
        assert row["auroc"] == row["balanced_accuracy"] == row["floor"] == 0.5
        assert row["null_auroc"] == row["null_balanced_accuracy"] == 0.5
    assert statistics(made)["constant_answer_accuracy"] == 0.5


@pytest.mark.parametrize("scorer", SCORERS)
def test_random_judge_is_at_the_floor_within_the_interval(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    made = score(laid, p.RuleJudge(lambda asked: asked.chance()), tmp_path, spec(scorer))
    for name in ("auroc", "balanced_accuracy", "null_auroc", "null_balanced_accuracy"):
        found = statistics(made)[name]
        assert found["low"] <= 0.5 <= found["high"], name


def _by_place(asked: p.Asked) -> float:
    return (sum(asked.mark_places) % 7) / 7


def _by_mark_count(asked: p.Asked) -> float:
    return min(1.0, len(asked.mark_places) / 10)


def _by_first_place(asked: p.Asked) -> float:
    return asked.mark_places[0] / 100


@pytest.mark.parametrize("rule", [_by_place, _by_mark_count, _by_first_place])
@pytest.mark.parametrize("scorer", ["fuzzing", "fuzzing_silent"])
def test_judge_of_mark_positions_gets_exactly_the_floor(
    laid: p.Laid, tmp_path: Path, rule: p.Rule, scorer: str
) -> None:
    for row in table(score(laid, p.RuleJudge(rule), tmp_path, spec(scorer)), "latents.parquet"):
        assert row["auroc"] == pytest.approx(0.5, abs=1e-12)
        assert row["balanced_accuracy"] == pytest.approx(0.5, abs=1e-12)
        assert row["n_active"] == row["n_inactive"] >= 15


def test_judge_of_text_alone_gets_exactly_the_floor_in_fuzzing(laid: p.Laid, tmp_path: Path) -> None:
    def by_text(asked: p.Asked) -> float:
        words = set(asked.description.removeprefix("the words ").split(", "))
        return len(words & set(asked.text.replace("<<", "").replace(">>", "").split())) / 10

    for row in table(score(laid, p.RuleJudge(by_text), tmp_path, spec("fuzzing")), "latents.parquet"):
        assert row["auroc"] == pytest.approx(0.5, abs=1e-12)


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("scorer", SCORERS)
def test_failures_are_counted_under_their_names_and_do_not_move_the_score(
    laid: p.Laid, tmp_path: Path, scorer: str
) -> None:
    def noisy(asked: p.Asked) -> float:
        return 0.5 + 0.2 * (p.oracle(asked) - 0.5) + 0.6 * (asked.chance(1) - 0.5)

    def failing(asked: p.Asked) -> float | str:
        kinds = ("unparsable", "refused", "timeout")
        return kinds[int(asked.chance(3) * 3)] if asked.chance(2) < 0.2 else noisy(asked)

    whole = statistics(score(laid, p.RuleJudge(noisy), tmp_path / "whole", spec(scorer)))
    made = score(laid, p.RuleJudge(failing), tmp_path / "failing", spec(scorer))
    found, failed = statistics(made), statistics(made)["failed_by_outcome"]
    assert set(failed) == {"unparsable", "refused", "timeout"}
    assert sum(failed.values()) == made.manifest.failed_count == found["question_count"] - found["answered_count"]
    assert sum(failed.values()) / found["question_count"] == pytest.approx(0.2, abs=0.04)
    rows, examples = table(made, "latents.parquet"), table(made, "examples.parquet")
    assert sum(r["n_failed"] for r in rows) == sum(e["outcome"] != "answered" for e in examples if e["arm"] == "score")
    assert all(e["answer"] is None and e["p_yes"] is None for e in examples if e["outcome"] != "answered")
    assert found["scored"] == LATENTS
    differences = np.asarray([r["auroc"] for r in rows]) - whole["auroc"]["mean"]
    interval = mean_interval(differences, 0, 2000)
    assert interval is not None
    assert interval.low <= 0.0 <= interval.high
    assert 0.6 < whole["auroc"]["mean"] < 0.9, "the judge must be able to move"


def test_too_many_failures_fail_the_job_with_the_numbers(laid: p.Laid, tmp_path: Path) -> None:
    judge = p.RuleJudge(lambda asked: "refused" if asked.chance() < 0.7 else 0.5)
    with pytest.raises(UserTaskError, match=r"\d+ of \d+ questions got no usable answer.*refused.*max_failed_fraction"):
        score(laid, judge, tmp_path, spec())


def test_mostly_timeouts_are_tried_again(laid: p.Laid, tmp_path: Path) -> None:
    with pytest.raises(TransientTaskError, match="timed out"):
        score(laid, p.RuleJudge(lambda _: "timeout"), tmp_path, spec())


def test_without_log_probabilities_auroc_is_null_and_said_so(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle, logprobs=False), tmp_path, spec())
    assert all(row["auroc"] is None and row["auroc_low"] is None for row in table(made, "latents.parquet"))
    found = statistics(made)
    assert found["auroc"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert found["balanced_accuracy"]["mean"] >= 0.95
    assert any("log-probabilities" in note for note in found["notes"])


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize("scorer", SCORERS)
def test_windows_come_from_test_documents_that_no_explanation_saw(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    examples = table(score(laid, p.RuleJudge(p.oracle), tmp_path, spec(scorer)), "examples.parquet")
    train = laid.artifacts.artifact(p.TOKENS_ID).manifest.statistics["train_row_count"]
    assert min(e["row"] for e in examples) >= int(str(train))
    assert not {e["document"] for e in examples} & {0, 1, 2}


def test_a_document_that_the_explainer_saw_is_refused(tmp_path: Path) -> None:
    made = p.planted(4, documents=range(120))
    with pytest.raises(DocumentLeak, match="which the explainer saw"):
        score(p.lay_out(made, tmp_path / "in"), p.RuleJudge(p.oracle), tmp_path, spec())


@pytest.mark.parametrize("scorer", SCORERS)
def test_examples_are_what_they_say(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    examples = table(score(laid, p.RuleJudge(p.oracle), tmp_path, spec(scorer)), "examples.parquet")
    negative = {"fuzzing": "wrong_marks"}.get(scorer, "random")
    for e in examples:
        active = np.asarray(e["activations"]) > 0
        words = [t.strip() in p.latent_words(e["latent"]) for t in e["tokens"]]
        assert active.tolist() == words
        assert e["type"] == ("active" if e["label"] else negative)
        assert (e["quantile"] >= 0) is e["label"]
        assert active.any() == (e["type"] != "random")
        assert any(e["marked"]) == (scorer != "detection")
        if scorer != "detection":
            assert (active & np.asarray(e["marked"])).any() == e["label"]


def test_positives_are_spread_over_deciles(laid: p.Laid, tmp_path: Path) -> None:
    examples = table(score(laid, p.RuleJudge(p.oracle), tmp_path, spec()), "examples.parquet")
    for latent in range(LATENTS):
        mine = [e["quantile"] for e in examples if e["latent"] == latent and e["label"] and e["arm"] == "score"]
        assert np.bincount(mine, minlength=10).tolist() == [2] * 10


@pytest.mark.parametrize("scorer", SCORERS)
def test_windows_are_not_repeated(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    examples = table(score(laid, p.RuleJudge(p.oracle), tmp_path, spec(scorer)), "examples.parquet")
    keys = [(e["latent"], e["arm"], e["type"], e["row"], e["start"]) for e in examples]
    assert len(keys) == len(set(keys))


def test_shuffled_arm_asks_the_same_windows_with_another_explanation(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec("fuzzing", null_count=5))
    examples = table(made, "examples.parquet")
    for latent in range(LATENTS):
        mine = [e for e in examples if e["latent"] == latent]
        own = {e["example"]: e for e in mine if e["arm"] == "score"}
        shuffled = [e for e in mine if e["arm"] == "shuffled"]
        assert sum(e["label"] for e in shuffled) == sum(not e["label"] for e in shuffled) == 5
        assert {e["explanation_latent"] for e in own.values()} == {latent}
        assert len({e["explanation_latent"] for e in shuffled} - {latent}) == 1
        for e in shuffled:
            assert [e[k] for k in ("row", "start", "label", "marked")] == [
                own[e["example"]][k] for k in ("row", "start", "label", "marked")
            ]


def test_labels_are_balanced_and_in_an_order_of_their_own(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec(null_count=0))
    orders = []
    for latent in range(LATENTS):
        mine = [e for e in table(made, "examples.parquet") if e["latent"] == latent]
        assert [e["example"] for e in mine] == list(range(40))
        assert sum(e["label"] for e in mine) == 20
        orders.append(tuple(e["label"] for e in mine))
    assert len(set(orders)) == LATENTS
    first_is_yes = np.mean([order[0] for order in orders])
    assert 0.1 < first_is_yes < 0.9


def test_worked_examples_are_as_often_yes_as_no() -> None:
    for method in (METHODS[scorer] for scorer in SCORERS):
        assert method.prefix.count("Answer: Yes\n") == method.prefix.count("Answer: No\n") == 4


def test_prompts_are_those_of_the_version() -> None:
    """Who changes a prompt must give its method and ScoresKind a new version, and then the new digest here."""
    window = Window(0, 0, 0, "test", np.arange(4, dtype=np.int32), np.asarray([0, 1, 1, 0], np.float32))
    example = Example(0, window, "active", True, 9, window.activations > 0)
    company = {"intervention": 2, "output": 9, **{m.name: 5 for m in METHODS.values() if m.label_free}}
    pieces = [" one", " two", " three\n", " four"]
    requests = {
        m.version: m.request(
            replace(example, company=(Shown(window, example.marks, 9),) * company.get(m.name, 0)),
            "an  explanation",
            lambda _: pieces,
        )
        for m in METHODS.values()
    }
    prompts = {version: getattr(request, "prompt", repr(request)) for version, request in requests.items()}
    assert ScoresKind.version == 4
    assert {version: sha256(prompt.encode()).hexdigest()[:16] for version, prompt in prompts.items()} == {
        "detection-typed-2": "269b8adcd90f541a",
        "fuzzing-wrong_marks-1": "7452721691c16a7d",
        "fuzzing-silent_marks-1": "7452721691c16a7d",
        "intervention-1": "fef92b0aead2858c",
        "faithfulness-1": "d778869af1aad5ec",
        "output-rotated-1": "d8d24847741b14af",
        "generation-1": "0bfd713830a9a510",
        "intruder-rotated-1": "853028d869511265",
        "decile_intruder-rotated-1": "bbece01633059541",
        "embedding-plain-1": "fa2ccb3102194094",
        "discrimination-1": "b7d35bf811101c59",
        "simulation-1": "76136b1a12c6ed75",
        "simulation_token_by_token-1": "76136b1a12c6ed75",
        "surprisal-1": "1c0ed47dab805af4",
        "example_embedding-paired-1": "a7969a2f91ab1ff4",
    }


def test_prompts_of_a_latent_share_all_but_the_window(laid: p.Laid, tmp_path: Path) -> None:
    judge = p.RuleJudge(p.oracle)
    score(laid, judge, tmp_path, spec(null_count=0, latents_per_task=1))
    for first in range(0, len(judge.prompts), 40):
        prompts = judge.prompts[first : first + 40]
        shared = {prompt[: prompt.rindex("\nText:")] for prompt in prompts}
        assert len(shared) == 1
        assert all(len(prompt) - len(next(iter(shared))) < 120 for prompt in prompts)


# ---------------------------------------------------------------- denominators, determinism


def test_every_latent_is_in_a_denominator(tmp_path: Path) -> None:
    outcomes = {0: "dead", 1: "rare", 2: "rare", 3: "unparsable", 4: "refused"}
    laid = p.lay_out(p.planted(8, outcomes=outcomes), tmp_path / "in")
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec())
    found, rows = statistics(made), {row["latent"]: row for row in table(made, "latents.parquet")}
    names = ("total", "dead", "rare", "attempted", "parsed", "scored", "seed")
    assert [found[name] for name in names] == [8, 1, 2, 5, 3, 3, 0]
    assert set(rows) == {3, 4, 5, 6, 7}
    assert rows[3]["explanation"] is None
    assert rows[3]["auroc"] is None
    assert rows[3]["n_answered"] == 0
    assert {e["explanation_latent"] for e in table(made, "examples.parquet")} == {5, 6, 7}


def test_a_latent_with_few_windows_keeps_the_balance(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec(active_count=1000, inactive_count=500, null_count=0))
    for row in table(made, "latents.parquet"):
        assert 20 < row["n_active"] < 200
        assert row["n_inactive"] == row["n_active"] // 2


def test_one_explained_latent_has_no_null_and_the_manifest_says_why(tmp_path: Path) -> None:
    laid = p.lay_out(p.planted(3, outcomes={0: "unparsable", 1: "refused"}), tmp_path / "in")
    found = statistics(score(laid, p.RuleJudge(p.oracle), tmp_path, spec()))
    assert found["null_auroc"]["n"] == 0
    assert any("takes two explained latents, there are 1" in note for note in found["notes"])


@pytest.mark.parametrize("scorer", ["detection", "fuzzing_silent"])
def test_bytes_do_not_depend_on_the_order_of_tasks_or_their_size(laid: p.Laid, tmp_path: Path, scorer: str) -> None:
    judge = p.RuleJudge(lambda asked: asked.chance())
    wanted = spec(scorer, active_count=8, inactive_count=8)
    made = score(laid, judge, tmp_path / "a", wanted)
    again = score(laid, judge, tmp_path / "b", wanted, order=reversed_order, resume_after=3)
    assert [(q.name, q.sha256) for q in made.manifest.parts] == [(q.name, q.sha256) for q in again.manifest.parts]
    assert made.manifest.statistics == again.manifest.statistics
    other = score(laid, judge, tmp_path / "c", wanted.model_copy(update={"latents_per_task": 7}))
    for name in ("latents.parquet", "examples.parquet"):
        assert table(made, name) == table(other, name)


def test_rows_are_in_the_order_of_selection(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec())
    wanted = [row["latent"] for row in table(laid.inputs["explanations"], "explanations.parquet")]
    assert [row["latent"] for row in table(made, "latents.parquet")] == wanted
    assert list(dict.fromkeys(e["latent"] for e in table(made, "examples.parquet"))) == wanted


def test_tokens_are_added_up(laid: p.Laid, tmp_path: Path) -> None:
    made = score(laid, p.RuleJudge(p.oracle), tmp_path, spec())
    examples, rows = table(made, "examples.parquet"), table(made, "latents.parquet")
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        total = sum(e[name] for e in examples)
        assert statistics(made)[name] == sum(row[name] for row in rows) == total > 0


def test_the_seed_decides_the_windows(laid: p.Laid, tmp_path: Path) -> None:
    def places(seed: int, scorer: str = "detection") -> set[tuple[int, ...]]:
        made = score(
            laid,
            p.RuleJudge(p.oracle),
            tmp_path / f"{scorer}{seed}",
            spec(scorer, active_count=8, inactive_count=8, null_count=0, seed=seed),
        )
        return {(e["latent"], e["row"], e["start"]) for e in table(made, "examples.parquet") if e["label"]}

    assert places(0) != places(1)
    # Both scorers judge the same activating windows, but those that fuzzing cannot mark.
    assert places(0, "fuzzing") <= places(0)


# ---------------------------------------------------------------- specs


def _infos(laid: p.Laid) -> dict[str, InputInfo]:
    manifests = {role: artifact.manifest for role, artifact in laid.inputs.items()}
    return {role: InputInfo(m.id, m.kind, m.spec, m, m.inputs) for role, m in manifests.items()}


def test_explanations_of_other_latents_are_refused_with_both_ids(tmp_path: Path) -> None:
    other = "latents-" + "9" * 32
    laid = p.lay_out(p.planted(3), tmp_path / "in")
    kind = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts)
    infos = _infos(laid)
    infos["explanations"] = InputInfo(p.EXPLANATIONS_ID, "explanations", {"latents_id": other}, None)
    with pytest.raises(InvalidSpec, match=f"{other}.*{p.LATENTS_ID}") as error:
        kind.check(spec(), infos)
    assert error.value.violations[0].field == "latents_id"


def test_no_explanation_at_all_is_refused(tmp_path: Path) -> None:
    laid = p.lay_out(p.planted(3, outcomes=dict.fromkeys(range(3), "unparsable")), tmp_path / "in")
    with pytest.raises(InvalidSpec, match=r"no explanation to score.*attempted 3, parsed 0"):
        score(laid, p.RuleJudge(p.oracle), tmp_path, spec())


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"window_length": p.LENGTH + 1},
            "window_length",
            f"expected {p.LENGTH}, or give latents made with window_length",
        ),
        (
            {"active_count": 41},
            "active_count",
            "41 windows are more than the 40 .*at most 40.*quantile_windows 5 or",
        ),
        ({"scorer": "fuzzing", "inactive_count": 95}, "inactive_count", "made with quantile_windows 10 or more"),
    ],
)
def test_windows_that_the_latents_do_not_keep_are_refused(
    tmp_path: Path, changes: dict[str, Any], field: str, message: str
) -> None:
    laid = p.lay_out(p.planted(3, kept=Kept(quantile_windows=4)), tmp_path / "in")
    kind, infos = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts), _infos(laid)
    waiting = replace(infos["latents"], manifest=None)
    for latents in (infos["latents"], waiting):
        with pytest.raises(InvalidSpec, match=message) as error:
            kind.check(spec(**changes), {**infos, "latents": latents})
        assert [violation.field for violation in error.value.violations] == [field]
    kind.check(spec(active_count=40, inactive_count=1000), infos)


@pytest.mark.parametrize(
    ("scorer", "counts", "field", "message"),
    [
        ("intruder", {"active_count": 4}, "active_count", "intruder makes no question of 4; expected 5 or more"),
        ("decile_intruder", {"active_count": 9}, "active_count", "no question of 9; expected 10 or more"),
        ("example_embedding", {"active_count": 1}, "active_count", "no question of 1; expected 2 or more"),
        ("fuzzing", {"active_count": 1, "inactive_count": 1}, "active_count", "no question of 1; expected 2 or more"),
        ("discrimination", {"inactive_count": 1}, "inactive_count", "no question of 1; expected 2 or more"),
        ("intruder", {"null_count": 4}, "null_count", "no question of 4; expected 0, for no null, or 5 or more"),
        ("example_embedding", {"null_count": 1}, "null_count", "no question of 1; expected 0, for no null, or 2 or"),
    ],
)
def test_counts_that_make_no_question_are_refused_and_the_least_make_some(
    laid: p.Laid, tmp_path: Path, scorer: str, counts: dict[str, int], field: str, message: str
) -> None:
    kind = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts, p.RuleEmbedder(p.by_family))
    with pytest.raises(InvalidSpec, match=message) as error:
        kind.resolve(spec(scorer, **{"null_count": 0, **counts}))
    assert [violation.field for violation in error.value.violations] == [field]
    least = METHODS[scorer].least
    enough = {"active_count": least.active, "inactive_count": least.inactive, "null_count": least.null}
    uniform = p.RuleJudge(lambda asked: [0.2] * 5 if "intruder" in scorer else 0.5)
    kind = ScoresKind(uniform, laid.artifacts, p.RuleEmbedder(p.by_family))
    made = run_local(kind, spec(scorer, **enough), laid.inputs, tmp_path / "scores")
    arms = {(e["arm"], e["label"]) for e in table(made, "examples.parquet")}
    assert arms >= {("score", True), ("shuffled", True)}


def test_every_scorer_says_the_fewest_windows_that_make_a_question() -> None:
    least = {name: (m.least.active, m.least.inactive, m.least.null) for name, m in METHODS.items()}
    assert {name: counts for name, counts in least.items() if counts != (1, 1, 1)} == {
        "fuzzing": (2, 1, 1), "intruder": (5, 1, 5), "decile_intruder": (10, 1, 5), "example_embedding": (2, 1, 2),
        "discrimination": (2, 2, 1), "output": (3, 1, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("made", "statistics", "message"),
    [
        ({"split": "train"}, {}, "has read train documents only.*give latents of split all or test"),
        ({}, {"test_token_count": p.LENGTH - 1}, "has 15 tokens of test documents, and a window takes 16"),
    ],
)
def test_latents_without_test_windows_are_refused(
    laid: p.Laid, made: dict[str, Any], statistics: dict[str, Any], message: str
) -> None:
    infos = _infos(laid)
    latents = laid.inputs["latents"].manifest
    manifest = replace(latents, statistics={**latents.statistics, **statistics})
    infos["latents"] = replace(infos["latents"], spec={**latents.spec, **made}, manifest=manifest)
    with pytest.raises(InvalidSpec, match=message) as error:
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).check(spec(), infos)
    assert [violation.field for violation in error.value.violations] == ["latents_id"]


def test_one_explanation_is_too_few_to_be_told_from_another(laid: p.Laid) -> None:
    kind, infos = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts), _infos(laid)
    alone = {**laid.inputs["explanations"].manifest.statistics, "parsed": 1}
    manifest = replace(laid.inputs["explanations"].manifest, statistics=alone)
    infos["explanations"] = replace(infos["explanations"], manifest=manifest)
    kind.check(spec(), infos)
    with pytest.raises(InvalidSpec, match="fewer than the 2 explanations that discrimination tells apart"):
        kind.check(spec("discrimination"), infos)


def test_latents_of_an_older_layout_are_refused(laid: p.Laid) -> None:
    infos = _infos(laid)
    manifest = replace(laid.inputs["latents"].manifest, semantics_version=1)
    with pytest.raises(InvalidSpec, match="of an older layout") as error:
        ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).check(
            spec(), {**infos, "latents": replace(infos["latents"], manifest=manifest)}
        )
    assert error.value.reason == "OLD_ARTIFACT"


def test_a_stage_has_at_most_ten_thousand_tasks(laid: p.Laid) -> None:
    infos = _infos(laid)
    manifest = replace(laid.inputs["explanations"].manifest, statistics={"attempted": 131_072})
    infos["explanations"] = replace(infos["explanations"], manifest=manifest)
    judging, _ = ScoresKind(p.RuleJudge(p.oracle), laid.artifacts).plan(spec(latents_per_task=1), infos)
    assert len(judging.tasks) <= 10_000
    assert judging.tasks[-1]["end"] == 131_072
    assert all(a["end"] == b["first"] for a, b in itertools.pairwise(judging.tasks))


def test_no_window_at_all_fails_the_job(tmp_path: Path) -> None:
    # A row holds one BOS, so that no document has room for a window as long as a row.
    laid = p.lay_out(p.planted(3, kept=Kept(window_length=p.CTX_LEN)), tmp_path / "in")
    with pytest.raises(UserTaskError, match="no question could be asked about the 3 attempted latents"):
        score(laid, p.RuleJudge(p.oracle), tmp_path, spec(window_length=p.CTX_LEN))


def test_defaults_are_written_out_and_do_not_change_the_job() -> None:
    assert spec().model_dump() == spec(null_count=20, active_count=20, llm=LlmRef()).model_dump()
    assert spec(active_count=7).null_count == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"null_count": 21}, "21 is more than active_count"),
        ({"active_count": 0}, "greater than or equal to 1"),
        ({"cost_budget": float("inf")}, "cost_budget"),
        ({"price": {"prompt": float("inf"), "completion": 0.0}}, "price.prompt"),
        ({"kl_target": float("inf")}, "kl_target"),
        ({"scorer": "guessing"}, "'detection', 'fuzzing'"),
        ({"bootstrap_count": 99}, "greater than or equal to 100"),
        ({"max_failed_fraction": 1.5}, "less than or equal to 1"),
        ({"judge": "me"}, "Extra inputs"),
    ],
)
def test_wrong_fields_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**changes)
