"""Pipeline files: references, variables, order, and what is said about mistakes."""

import json
from pathlib import Path

import pytest
from dragoman import pipeline
from dragoman.errors import InvalidSpec, NotFound
from dragoman.lines import parse_scalar

GOOD = """\
vars:
  model: org/model
  corpus: null
  tokens: 1e6
  points: [layers.9]
jobs:
  coder:
    kind: coder
    spec: {activations_id: "${acts}", learning_rate: 2e-4}
  acts:
    kind: activations
    spec:
      tokens_id: ${text}
      model: {source: "${var:model}", weights: rerandomized_incl_emb}
      hookpoints: ${var:points}
      max_tokens: ${var:tokens}
  text:
    kind: tokens
    spec:
      source: ${var:corpus}/train
      tokenizer: ${var:model}
      text_field: $${not a reference}
"""


def wrong(text: str, overrides: dict[str, str] | None = None) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        pipeline.parse(text, "p.yaml", overrides)
    return {v.field: v.description for v in caught.value.violations}


def test_jobs_come_after_what_they_need_with_variables_filled_in() -> None:
    parsed = pipeline.parse(GOOD, "p.yaml", {"corpus": "/texts"})
    assert list(parsed.jobs) == ["text", "acts", "coder"]
    assert parsed.jobs["acts"].needs == ("text",)
    assert parsed.jobs["text"].render({}) == {
        "source": "/texts/train",
        "tokenizer": "org/model",
        "text_field": "${not a reference}",
    }
    assert parsed.jobs["acts"].render({"text": "tokens-1"}) == {
        "tokens_id": "tokens-1",
        "model": {"source": "org/model", "weights": "rerandomized_incl_emb"},
        "hookpoints": ["layers.9"],
        "max_tokens": 1e6,
    }
    assert parsed.jobs["coder"].render({"acts": "a"}) == {"activations_id": "a", "learning_rate": 2e-4}


def test_json_is_a_pipeline_too_and_overrides_are_yaml_values() -> None:
    text = json.dumps(
        {"vars": {"n": 1}, "jobs": {"t": {"kind": "tokens", "spec": {"source": "x", "seed": "${var:n}"}}}}
    )
    assert pipeline.parse(text, "p.json", {"n": "7"}).jobs["t"].spec == {"source": "x", "seed": 7}


def test_the_shipped_demo_parses() -> None:
    path = Path(pipeline.__file__).with_name("demo.yaml")
    parsed = pipeline.load(path, {"corpus": "/texts", "model": "/model"})
    assert parsed.jobs["scorecard"].needs
    assert list(parsed.jobs)[-1] == "scorecard"


def test_every_mistake_is_named_with_its_line_and_the_nearest_names() -> None:
    found = wrong(
        """\
jobs:
  tokens:
    kind: token
    spec: {}
  acts:
    kind: activations
    spec:
      tokens_id: x
      hookpoint: layers.9
    retries: 3
""",
    )
    assert found["jobs.tokens.kind"].startswith("'token' is not a kind of job; did you mean 'tokens'?")
    assert found["jobs.tokens.kind"].endswith("(p.yaml, line 3)")
    assert found["jobs.acts.retries"].endswith("(p.yaml, line 10)")
    fields = wrong("jobs:\n  acts:\n    kind: activations\n    spec:\n      tokens_id: 3\n      hookpoint: layers.9\n")
    assert fields["jobs.acts.spec.tokens_id"] == "expected text, got the whole number 3 (p.yaml, line 5)"
    assert "did you mean 'hookpoints'?" in fields["jobs.acts.spec.hookpoint"]
    assert fields["jobs.acts.spec.hookpoint"].endswith("(p.yaml, line 6)")


def test_references_must_be_to_jobs_of_the_right_kind() -> None:
    found = wrong(
        """\
jobs:
  text:
    kind: tokens
    spec: {source: x, tokenizer: y}
  coder:
    kind: coder
    spec:
      activations_id: ${texd}
  scores:
    kind: scorecard
    spec:
      trained: {scores_ids: ["${text}"]}
"""
    )
    assert found["jobs.coder.spec.activations_id"] == (
        "${texd}: there is no job 'texd'; did you mean 'text'? The choices are text, coder, scores (p.yaml, line 8)"
    )
    assert found["jobs.scores.spec.trained.scores_ids[0]"] == (
        "scores_ids takes an artifact of kind scores, but job 'text' makes tokens (p.yaml, line 12)"
    )


def test_circles_are_named() -> None:
    text = """\
jobs:
  a: {kind: coder, spec: {hookpoint: "${b}"}}
  b: {kind: coder, spec: {hookpoint: "${c}"}}
  c: {kind: coder, spec: {hookpoint: "${b}"}}
"""
    assert wrong(text) == {"jobs.b": "jobs need each other in a circle: b -> c -> b (p.yaml, line 3)"}


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        (GOOD, {}, "the variable 'corpus' has no value; give it one with --set corpus=VALUE (p.yaml, line 20)"),
        (GOOD, {"corpus": "x", "modle": "y"}, "the pipeline has no variable 'modle'; did you mean 'model'?"),
        (GOOD.replace("${var:points}", "${var:point}"), {"corpus": "x"}, "no variable 'point'; did you mean 'points'?"),
        (
            GOOD.replace("${var:corpus}/", "${var:points}/"),
            {"corpus": "x"},
            "is a list, which cannot be part of a text",
        ),
        ("jobs: [1]", {}, "expected a mapping of names to values"),
        ("job: {}", {}, "a pipeline has no 'job'; did you mean 'jobs'?"),
        ("jobs: {}", {}, "needs at least one job"),
        ("- 1", {}, "must hold a mapping with `jobs:`"),
        ("jobs:\n  a: {kind: tokens}\n  a: {kind: coder}", {}, "line 3: 'a' is given twice; the first is in line 2"),
        ("jobs:\n  a: {kind: tokens", {}, "p.yaml, line 2, column 19: not valid YAML"),
        ("jobs: &a\n  x: *a", {}, "repeats itself through aliases"),
        ("jobs: !!python/object:os.system {}", {}, "p.yaml"),
        ("x: !!timestamp 2020-01-01", {}, "values of the type"),
    ],
)
def test_mistakes_in_words(text: str, overrides: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        pipeline.parse(text, "p.yaml", overrides)
    assert says in caught.value.message


def test_aliases_that_multiply_are_refused_soon() -> None:
    rows = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(InvalidSpec, match="aliases"):
        pipeline.parse("\n".join(rows))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no\.yaml: No such file"):
        pipeline.load(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes("jobs: ä".encode("latin-1"))
    with pytest.raises(InvalidSpec, match="not UTF-8 text"):
        pipeline.load(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("010", 10), ("2e-4", 2e-4), ("no", "no"), ("12:30", "12:30"), ("", ""), ("[1, a]", [1, "a"]),
     ("{a: 1}", {"a": 1}), ("a: b", "a: b"), ("true", True), ("null", None), ("2026-01-01", "2026-01-01"), ("[", "[")],
)  # fmt: skip
def test_values_of_the_command_line(text: str, value: object) -> None:
    parsed = parse_scalar(text)
    assert parsed == value
    assert type(parsed) is type(value)


SWEPT = """
jobs:
  coders:
    kind: sweep
    spec: {base: {activations_id: activations-0}, architectures: [topk, relu], ks: [16, 32]}
  fidelity:
    kind: fidelity
    spec: {tokens_id: tokens-0, coder_ids: [coder-0, "${coders}"]}
"""


def test_a_sweep_is_all_its_coders_where_a_list_names_it() -> None:
    jobs = pipeline.parse(SWEPT).jobs
    assert jobs["fidelity"].needs == ("coders",)
    assert jobs["fidelity"].render({"coders": ["coder-1", "coder-2"]})["coder_ids"] == ["coder-0", "coder-1", "coder-2"]


@pytest.mark.parametrize("written", ['"${coders}"', '["a ${coders}"]'])
def test_a_sweep_is_no_single_id(written: str) -> None:
    with pytest.raises(InvalidSpec, match=r"\$\{coders\} is a sweep, several coders; it can only be an item of a list"):
        pipeline.parse(SWEPT.replace('[coder-0, "${coders}"]', written))


def test_fields_of_a_sweep_are_checked() -> None:
    with pytest.raises(InvalidSpec, match=r"SweepSpec has no field 'k'; did you mean 'ks'"):
        pipeline.parse(SWEPT.replace("ks:", "k:"))
