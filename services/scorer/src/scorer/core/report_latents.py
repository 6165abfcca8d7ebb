"""One card per latent: what it means, how well that holds up, and the text behind it."""

from collections.abc import Sequence

from scorer.core import scorecard_words as words
from scorer.core.charts_interval import small
from scorer.core.measures import METRICS
from scorer.core.metrics import FLOOR
from scorer.core.report_content import LatentView, Mistake, Report
from scorer.core.report_markup import Child, Html, el
from scorer.core.report_tokens import shaded

_LONGEST_EXPLANATION = 800
_TYPES = {
    "active": "an activating window",
    "random": "a window without the latent",
    "wrong_marks": "wrong marks",
    "neighbour": "a window of a latent that fires beside it",
    "embedding_near": "a window like the activating ones",
    "other_decile": "a window of another strength",
    "similar_label": "a window of a latent with a similar label",
}


def section(report: Report) -> Html:
    """Returns the latents, with what sorts and filters them."""
    left_out = report.latent_count - len(report.latents)
    shown = f"{len(report.latents)} of {report.latent_count} attempted latents"
    rest = f" The other {left_out} are in latents.parquet." if left_out else ""
    cards = [_card(view) for view in report.latents]
    return el(
        "section",
        {"id": "latents"},
        el("h2", {}, "Latents, one by one"),
        el("p", {"class": "lead"}, f"{shown}, by rank of firing count.{rest}"),
        _legend(),
        _controls(report),
        el("div", {"id": "cards"}, cards),
        el("p", {"id": "nothing", "hidden": True}, "No latent fits the filter."),
    )


def _legend() -> Html:
    shades = [el("span", {"class": f"a{i}"}, " ") for i in range(1, 10)]
    return el(
        "p",
        {"class": "legend"},
        el("span", {"class": "shades", "aria-hidden": "true"}, shades),
        " weak to strong activation, as a share of the latent's strongest (point at a token for its value). ",
        el("span", {"class": "marked"}, "Underlined"),
        " tokens were marked for the judge. ↵ is a line break.",
    )


def _controls(report: Report) -> Html:
    scorers = list(report.card.scorers)
    orders = [("rank", "rank")]
    for scorer in scorers:
        orders += [(f"-{scorer}", f"{scorer}, best first"), (f"+{scorer}", f"{scorer}, worst first")]
    sides = [("", "both sides"), ("trained", "trained"), ("control", "control")]
    return el(
        "form",
        {"id": "controls", "class": "controls"},
        el("label", {}, "Show ", _select("side", sides)),
        el("label", {}, "Sort by ", _select("order", orders)),
        el(
            "label",
            {"class": "grow"},
            "Find ",
            el("input", {"type": "search", "name": "find", "placeholder": "in explanations and text"}),
        ),
        el("output", {"name": "count"}, f"{len(report.latents)} shown"),
    )


def _select(name: str, options: Sequence[tuple[str, str]]) -> Html:
    return el("select", {"name": name}, [el("option", {"value": value}, label) for value, label in options])


def _card(view: LatentView) -> Html:
    data: dict[str, str | int | float | bool | None] = {"data-side": view.side, "data-rank": view.rank}
    for scorer, row in view.scores.items():
        value = next((row[m] for m in METRICS if row.get(m) is not None), None)
        data[f"data-score-{scorer}"] = None if value is None else f"{value:.6f}"
    return el(
        "article",
        {"class": f"card {view.side}", "id": view.key, **data},
        el("header", {}, _facts(view)),
        el("div", {"class": "body"}, _explanation(view), _scores(view), _windows(view), _mistakes(view)),
    )


def _facts(view: LatentView) -> list[Child]:
    facts = [
        ("rank", words.count(view.rank)),
        ("fired", f"{view.firing_count:,}×"),
        ("density", f"{view.density:.3%}"),
        ("strongest", f"{view.max_activation:.3g}"),
    ]
    return [
        el("span", {"class": "badge"}, view.side),
        el("h3", {}, el("a", {"href": f"#{view.key}"}, f"Latent {view.latent}")),
        el("dl", {}, [[el("dt", {}, name), el("dd", {}, value)] for name, value in facts]),
    ]


def _explanation(view: LatentView) -> Html:
    if view.explanation is None:
        why = f": {view.reason}" if view.reason else ""
        return el("p", {"class": "missing"}, f"No explanation ({view.outcome}{why[:300]}).")
    cut = view.explanation[:_LONGEST_EXPLANATION]
    return el("blockquote", {}, cut + ("…" if len(cut) < len(view.explanation) else ""))


def _scores(view: LatentView) -> Html | None:
    lines: list[Html] = []
    for scorer, row in view.scores.items():
        for metric in METRICS:
            value = row.get(metric)
            if value is None:
                continue
            low, high, null = (row[name] for name in (f"{metric}_low", f"{metric}_high", f"null_{metric}"))
            floor = row.get(f"{metric}_floor", FLOOR)
            bounds = f"[{words.number(low, 2)}, {words.number(high, 2)}]" if low is not None else "[no interval]"
            cells: list[Child] = [
                el("th", {"scope": "row"}, f"{scorer} ", el("span", {}, words.METRIC_NAMES[metric])),
                el("td", {}, small(value, low, high, null, view.side, floor)),
                el("td", {"class": "figure"}, words.number(value, 2)),
                el("td", {"class": "figure"}, bounds),
                el("td", {"class": "figure"}, f"shuffled {words.number(null, 2)}"),
                el("td", {"class": "figure"}, f"{row['n_active']} + {row['n_inactive']} windows"),
                el("td", {"class": "figure"}, f"{row['n_failed']} failed" if row["n_failed"] else ""),
            ]
            lines.append(el("tr", {}, cells))
    return el("div", {"class": "scroll"}, el("table", {"class": "scores"}, lines)) if lines else None


def _windows(view: LatentView) -> Html | None:
    if not view.windows:
        return None
    head = f"Strongest windows ({len(view.windows)} of {view.window_count})"
    shown = [
        el(
            "li",
            {},
            shaded(w, view.max_activation),
            el("small", {}, f"document {w.document}, {w.split}{_seen(w.shown)}"),
        )
        for w in view.windows
    ]
    return el("div", {}, el("h4", {}, head), el("ul", {"class": "windows"}, shown))


def _seen(shown: bool) -> str:
    return ", seen by the explainer" if shown else ""


def _mistakes(view: LatentView) -> Html | None:
    if not view.mistake_count:
        return None
    head = f"Where the judge was wrong ({len(view.mistakes)} of {view.mistake_count})"
    shown = [el("li", {}, _mistake(m, view.max_activation)) for m in view.mistakes]
    return el("details", {}, el("summary", {}, head), el("ul", {"class": "windows"}, shown))


def _mistake(mistake: Mistake, strongest: float) -> list[Child]:
    p_yes = "no probability" if mistake.p_yes is None else f"p(yes) {mistake.p_yes:.2f}"
    kind = "missed" if mistake.label else "false yes"
    what = _TYPES.get(mistake.type, mistake.type)
    return [
        shaded(mistake.window, strongest),
        el(
            "small", {}, el("b", {}, kind), f" in {mistake.scorer}: {what}, {p_yes}, document {mistake.window.document}"
        ),
    ]
