"""The page: self-contained, escaped, bounded."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scorer.core.charts_distribution import bandwidth, density, swarm
from scorer.core.report_content import TextWindow
from scorer.core.report_markup import Html, el
from scorer.core.report_selection import LATENTS_SHOWN, WINDOWS_SHOWN
from scorer.core.report_tokens import shaded
from scorer.scorecard_kind import ScorecardKind

from tests.support.local_run import run_local
from tests.unit.scorer_report.synthetic import Plan, lay_out

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</style>"


def page(folder: Path, plan: Plan, **spec: object) -> str:
    laid = lay_out(folder / "inputs", plan, **spec)
    made = run_local(ScorecardKind(laid.artifacts), laid.spec, laid.inputs, folder / "made")
    return made.read("report.html").decode()


class Tags(HTMLParser):
    """Collects elements, and checks that they close in order."""

    VOID = frozenset({"meta", "input", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(tmp_path_factory.mktemp("report"), Plan())


def test_loads_nothing_and_is_well_formed(text: str) -> None:
    tags = Tags(text)
    assert {name for name, _ in tags.found}.isdisjoint({"link", "img", "iframe", "object", "base", "image", "use"})
    for _, attributes in tags.found:
        assert not {"src", "srcset", "style", "xlink:href"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert len(tags.named("script")) == len(tags.named("style")) == 1
    policy = next(m["content"] for m in tags.named("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_links_and_ids_fit_together(text: str) -> None:
    tags = Tags(text)
    ids = [a["id"] for _, a in tags.found if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = {(a.get("href") or "").removeprefix("#") for a in tags.named("a")}
    assert targets <= set(ids)
    assert len([i for i in ids if re.fullmatch(r"(trained|control)-\d+", str(i))]) == 20


def test_says_verdicts_nulls_denominators_and_lineage(text: str) -> None:
    for needed in (
        "distinguishable from control: yes",
        "tells the trained model from its control",
        "floor 0.5",
        "shuffled",
        "FVU",
        "latents in the coder",
        "1 unparsable",
        "rerandomized_incl_emb",
        "Where the judge was wrong",
        "false yes",
        "missed",
        "p(yes)",
        "tokens seen in training",
        "Hesterberg",
        "No explanation (unparsable",
        "2.13.0",
    ):
        assert needed in text, needed
    for kind in ("tokens", "activations", "coder", "evaluation", "latents", "explanations", "scores"):
        assert re.search(rf"<code>{kind}-[0-9a-f]{{32}}</code>", text), kind


def test_untrusted_text_is_escaped_everywhere(tmp_path: Path) -> None:
    text = page(tmp_path, Plan(count=5, explanation=ATTACK, token=ATTACK), title=ATTACK)
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    tags = Tags(text)
    assert len(tags.named("script")) == len(tags.named("style")) == 1
    assert tags.named("img") == []


def test_page_is_bounded_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    count = LATENTS_SHOWN + 3
    text = page(tmp_path, Plan(count=count, questions=2), bootstrap_count=200)
    cards = re.findall(r'<article class="card (trained|control)"', text)
    assert cards.count("trained") == cards.count("control") == LATENTS_SHOWN
    assert f"{2 * LATENTS_SHOWN} of {2 * count} attempted latents" in text
    assert "The other 6 are in latents.parquet." in text
    assert f"Strongest windows ({WINDOWS_SHOWN} of 12)" in text
    assert len(text) < 3_000_000


def test_few_latents_draw_dots_but_no_hills(tmp_path: Path) -> None:
    text = page(tmp_path, Plan(count=2))
    assert "distinguishable from control: too few latents to tell" in text
    assert 'class="point trained"' in text
    assert 'class="hill' not in text


# ---------------------------------------------------------------- pieces


def test_markup_escapes_strings_and_not_markup() -> None:
    assert el("p", {"title": 'a"b'}, "<i>", Html("<b>x</b>"), None, ["&"]) == (
        '<p title="a&quot;b">&lt;i&gt;<b>x</b>&amp;</p>'
    )
    assert el("input", {"hidden": True, "value": None}) == "<input hidden>"


def test_tokens_keep_spaces_show_breaks_and_carry_values() -> None:
    window = TextWindow([" the", "\n", "  sea", "\u202eevil"], [0.0, 0.0, 5.0, 0.0], 1, "test", marked=[False] * 4)
    shown = shaded(window, 10.0)
    assert ' the↵<span class="a4" title="5">  sea</span>' in shown
    assert "\u202e" not in shown


def test_marked_token_without_activation_is_underlined() -> None:
    shown = shaded(TextWindow(["a", "b"], [0.0, 0.0], 1, "test", marked=[False, True]), 1.0)
    assert '<span class="marked" title="0">b</span>' in shown


def test_density_keeps_its_mass_inside_the_ends() -> None:
    values = np.array([0.97, 0.99, 1.0, 1.0, 0.95, 0.98])
    places = np.linspace(0.0, 1.0, 4_001)
    heights = density(values, places, bandwidth(values))
    assert np.trapezoid(heights, places) == pytest.approx(1.0, abs=1e-3)


def test_bandwidth_of_equal_values_is_the_least() -> None:
    assert bandwidth(np.full(6, 0.5)) == 0.02


def test_dots_of_equal_scores_lie_apart() -> None:
    offsets = swarm([100.0, 100.0, 101.0, 300.0], 4.0, 20.0)
    assert len(set(offsets[:3])) == 3
    assert offsets[3] == 0.0
