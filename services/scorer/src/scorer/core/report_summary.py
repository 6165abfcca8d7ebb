"""The head of the report and its tables: verdicts first, then what they rest on."""

from collections.abc import Mapping, Sequence

from scorer.core import scorecard_words as words
from scorer.core.charts_curve import curves
from scorer.core.charts_distribution import distribution
from scorer.core.charts_interval import means
from scorer.core.report_content import Report, score_range
from scorer.core.report_markup import Child, Html, Tall, el, table
from scorer.core.scorecard import CONTROL, MINIMUM_LATENTS, SIDES, TRAINED, MetricCard, ScorerCard, Verdict
from scorer.core.scorecard_side import Reconstruction, Scorecard, SideCard

_TONES = {Verdict.YES: "yes", Verdict.NO: "no", Verdict.TOO_FEW: "few"}
_OF_SCORER = {
    "detection": "Detection asks the judge: does what the explanation says occur in this window?",
    "fuzzing": "Fuzzing asks the judge: are the marked tokens of this window the ones the explanation describes?",
    "intruder": "Intruder shows no explanation and asks: which of these five marked windows does not belong?",
    "decile_intruder": "Decile intruder shows no explanation: which of five activating windows differs in strength?",
    "embedding": "Embedding ranks windows by the cosine of their vector with the explanation's; no judge is asked.",
    "simulation": "Simulation asks the judge how strongly the latent fires on each token, from the explanation.",
    "simulation_token_by_token": "Simulation, with what was said of each token told to those after it.",
    "discrimination": "Discrimination asks: which of two like explanations, of two latents, fits this window better?",
    "fuzzing_silent": "Fuzzing, where wrong marks lie on windows in which the latent is silent.",
    "intervention": "Intervention: how much likelier is the explanation after a text with the latent turned up?",
    "faithfulness": "Faithfulness asks the judge: does what the explanation says occur once the latent is turned up?",
    "output": "Output asks: which of three sets of texts was written with the latent turned up?",
    "generation": "Generation asks nobody: does the latent fire on texts that were written from its explanation?",
    "surprisal": "Surprisal: how much likelier is a window after the explanation than after a generic phrase?",
    "example_embedding": "Example embedding shows no explanation: are activating windows like each other, by vectors?",
}


def head(report: Report) -> Html:
    """Returns the title and one verdict per scorer."""
    card = report.card
    subject = card.sides[TRAINED].subject
    about = f"{subject.model}, {subject.hookpoint}, {subject.d_sae:,} latents, k = {subject.k}"
    sides = [
        el("span", {"class": f"key {side}"}, f"{side}: weights {card.sides[side].subject.weights}") for side in SIDES
    ]
    return el(
        "header",
        {"class": "top"},
        el("p", {"class": "eyebrow"}, "Dragoman scorecard"),
        el("h1", {}, card.title or "Trained against control"),
        el("p", {"class": "about"}, about, el("br"), sides),
        el(
            "div",
            {"class": "verdicts"},
            [_verdict(scorer, report) for scorer in card.scorers.values()],
        ),
        [el("p", {"class": "note"}, el("b", {}, "Note. "), note) for note in card.notes],
    )


def distributions(report: Report) -> Html:
    """Returns one drawing per scorer."""
    figures = [_figure(scorer, report) for scorer in report.card.scorers.values()]
    bounds = words.percent(report.card.confidence)
    reading = (
        f"One dot is one latent; follow it to its card. Diamonds and bars are means with {bounds} intervals. Grey "
        "bands are intervals of the mean when the same windows are judged with another latent's explanation. Hills are "
        f"smoothed densities, drawn from {MINIMUM_LATENTS} latents on."
    )
    return el(
        "section",
        {"id": "distributions"},
        el("h2", {}, "Scores of latents, trained over control"),
        el("p", {"class": "lead"}, reading),
        el("div", {"class": "figures"}, figures),
    )


def scores(card: Scorecard) -> Html:
    """Returns every mean, null, difference, effect and verdict."""
    tables = [
        [el("h3", {}, words.scorer_name(scorer.scorer)), _scorer_table(scorer)] for scorer in card.scorers.values()
    ]
    bounds = f"In brackets: {words.percent(card.confidence)} bootstrap intervals over latents."
    return el(
        "section", {"id": "scores"}, el("h2", {}, "Scores with their nulls"), el("p", {"class": "lead"}, bounds), tables
    )


def reconstruction(report: Report) -> Html | None:
    """Returns how well both coders rebuild held-out activations. None when no evaluation was given."""
    sides = [report.card.sides[side].reconstruction for side in SIDES]
    if not any(sides) and not report.curves:
        return None
    rows = _reconstruction_rows(sides) if any(sides) else []
    drawn = [el("figure", {}, curves(report.curves), el("figcaption", {}, _CURVE_CAPTION))] if report.curves else []
    return el(
        "section",
        {"id": "reconstruction"},
        el("h2", {}, "Reconstruction of held-out activations"),
        el("div", {"class": "beside"}, table(["", *SIDES], rows, "compare") if rows else None, drawn),
    )


def denominators(card: Scorecard) -> Html:
    """Returns out of how many: latents, questions, tokens."""
    sides = [card.sides[side] for side in SIDES]
    rows = _latent_rows(sides)
    for scorer in card.scorers.values():
        rows += _question_rows(scorer)
    lead = "Every score above is over the scored latents only. These are the others."
    return el(
        "section",
        {"id": "denominators"},
        el("h2", {}, "Out of how many"),
        el("p", {"class": "lead"}, lead),
        table(["", *SIDES], rows, "compare"),
    )


_CURVE_CAPTION = "Fraction of variance unexplained on training batches, by tokens seen. Lower is better."


def _verdict(scorer: ScorerCard, report: Report) -> Html:
    metric = scorer.verdict
    verdict = metric.comparison.distinguishable_from_control
    shuffled = [el("li", {}, words.shuffled_sentence(metric, side)) for side in SIDES]
    return el(
        "div",
        {"class": "verdict"},
        el(
            "div",
            {"class": "words"},
            el("span", {"class": f"pill {_TONES[verdict]}"}, f"distinguishable from control: {verdict}"),
            el("p", {"class": "sentence"}, words.verdict_title(scorer)),
            el("p", {"class": "detail"}, words.verdict_detail(scorer, report.card.confidence)),
            el("p", {"class": "against"}, "Other than shuffled explanations?"),
            el("ul", {}, shuffled),
        ),
        means(metric, score_range(report, scorer)),
    )


def _figure(scorer: ScorerCard, report: Report) -> Html:
    judge = el("small", {}, f"judged by {scorer.judge}") if scorer.judge else None
    return el(
        "figure",
        {},
        el("h3", {}, words.scorer_name(scorer.scorer), " ", judge),
        distribution(scorer.verdict, report.points[scorer.scorer], score_range(report, scorer)),
        el("figcaption", {}, _OF_SCORER.get(scorer.scorer)),
    )


def _scorer_table(scorer: ScorerCard) -> Html:
    rows: list[list[Child | Tall]] = []
    for metric in scorer.metrics.values():
        rows += _metric_rows(metric)
    return table(["", *SIDES, "trained \N{MINUS SIGN} control"], rows, "compare scores-table")


def _metric_rows(metric: MetricCard) -> list[list[Child | Tall]]:
    name, found = words.METRIC_NAMES[metric.metric], metric.comparison
    sides = [metric.sides[side] for side in SIDES]
    between = [
        words.full(found.difference, sign=True),
        el("p", {}, _pill(found.distinguishable_from_control), " ", words.sample(found)),
        el("p", {}, f"Cliff's delta {words.full(found.cliffs_delta, sign=True)}"),
        el("p", {}, f"Hedges' g {words.full(found.hedges_g, sign=True)}"),
        el("p", {}, words.p_value(found.permutation)),
    ]
    above = [
        [words.full(s.above_shuffled, sign=True), el("p", {}, _pill(s.distinguishable_from_shuffled))] for s in sides
    ]
    return [
        [el("b", {}, name[0].upper() + name[1:]), *(words.full(s.score) for s in sides), Tall(between, 4)],
        ["floor", *([words.number(metric.floor)] * 2)],
        ["shuffled", *(words.full(s.shuffled) for s in sides)],
        ["above shuffled", *above],
    ]


def _pill(verdict: Verdict) -> Html:
    said = {Verdict.YES: "distinguishable", Verdict.NO: "not distinguishable", Verdict.TOO_FEW: str(verdict)}
    return el("span", {"class": f"pill {_TONES[verdict]}"}, said[verdict])


def _reconstruction_rows(sides: Sequence[Reconstruction | None]) -> list[list[Child]]:
    def row(name: str, cells: Sequence[str]) -> list[Child]:
        return [name, *cells]

    def values(attribute: str, digits: int) -> list[str]:
        return [words.number(getattr(s, attribute), digits) if s else "not given" for s in sides]

    fvu = [f"{words.number(s.fvu.value)} {words.interval(s.fvu)}" if s else "not given" for s in sides]
    return [
        row("FVU (1 \N{MINUS SIGN} explained variance)", fvu),
        row("mean squared error", values("mse", 4)),
        row("cosine of input and reconstruction", values("cosine", 3)),
        row("L0, active latents per token", values("l0", 1)),
        row("dead latents", [f"{s.dead_fraction:.1%}" if s else "not given" for s in sides]),
        row("dense latents", [f"{s.dense_fraction:.1%}" if s else "not given" for s in sides]),
        row("held-out tokens", [words.count(s.token_count) if s else "not given" for s in sides]),
        row(
            "documents shared with training",
            [words.count(s.document_overlap_count) if s else "not given" for s in sides],
        ),
    ]


def _latent_rows(sides: Sequence[SideCard]) -> list[list[Child]]:
    names = {
        "total": "latents in the coder",
        "dead": "dead: never fired",
        "rare": "rare: too few windows to explain",
        "attempted": "attempted: selected to be explained",
        "parsed": "parsed: got a usable explanation",
    }
    rows: list[list[Child]] = [
        [words_, *(words.count(getattr(s.denominators, name)) for s in sides)] for name, words_ in names.items()
    ]
    rows.append(["explanations that failed", *(_outcomes(s.denominators.failed_by_outcome) for s in sides)])
    rows.append(["tokens read by the explainer", *(_tokens(s.denominators) for s in sides)])
    return rows


def _question_rows(scorer: ScorerCard) -> list[list[Child]]:
    sides = [scorer.questions[side] for side in (TRAINED, CONTROL)]
    name = scorer.scorer
    return [
        [el("b", {}, f"scored by {name}"), *(words.count(s.scored) for s in sides)],
        [f"{name}: questions asked", *(words.count(s.asked) for s in sides)],
        [f"{name}: answered", *(words.count(s.answered) for s in sides)],
        [f"{name}: failed", *(_outcomes(s.failed_by_outcome) for s in sides)],
        [f"{name}: a constant answer is right on", *(_share(s.constant_answer_accuracy) for s in sides)],
        [f"{name}: tokens read by the judge", *(_tokens(s) for s in sides)],
    ]


def _tokens(counted: object) -> str:
    read, cached, written = (getattr(counted, f"{n}_tokens") for n in ("prompt", "cached", "completion"))
    return f"{read:,} ({cached:,} from cache), {written:,} written"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _outcomes(failed: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(failed.items()) if n) or "0"
