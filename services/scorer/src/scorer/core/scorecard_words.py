"""Numbers and verdicts in words, the same in the terminal and in the report."""

from scorer.core.scorecard import CONTROL, TRAINED, Comparison, MetricCard, ScorerCard, Verdict
from scorer.core.scorecard_statistics import Estimate, PermutationTest

METRIC_NAMES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "pearson": "Pearson correlation",
    "balanced_accuracy": "balanced accuracy",
    "auprc": "AUPRC",
    "f1": "F1",
    "responsiveness": "responsiveness",
    "purity": "purity",
    "faithfulness": "faithfulness",
    "log_prob_change": "change of log-probability, nats",
    "clarity": "clarity",
    "firing_share": "share that fires",
}
NOTHING = "none"


def scorer_name(scorer: str) -> str:
    """A scorer's name at the head of a sentence."""
    return scorer.replace("_", " ").capitalize()


MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """A decimal with a fixed number of places."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference: always with its sign, except 0."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and float(text.replace(MINUS, "-")) else text


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def interval(estimate: Estimate, sign: bool = False) -> str:
    """The interval in brackets."""
    if estimate.low is None or estimate.high is None:
        return "[no interval]"
    write = signed if sign else number
    return f"[{write(estimate.low)}, {write(estimate.high)}]"


def full(estimate: Estimate, sign: bool = False) -> str:
    """A number with its interval and n."""
    if estimate.value is None:
        return "none (n=0)"
    write = signed if sign else number
    return f"{write(estimate.value)} {interval(estimate, sign)} n={estimate.n}"


def percent(confidence: float) -> str:
    """0.95 as 95%."""
    return f"{confidence * 100:.10g}%"


def sample(comparison: Comparison) -> str:
    """On how much a comparison rests."""
    if comparison.paired:
        return f"{comparison.difference.n} pairs of latents"
    return f"{comparison.trained_count} trained and {comparison.control_count} control latents"


def p_value(test: PermutationTest | None) -> str:
    """The permutation test's p and how it was got."""
    if test is None:
        return "no permutation test"
    how = "exact" if test.exact else f"{test.count:,} drawn"
    smallest = "p < 0.0001" if test.p_value < 0.0001 else f"p = {test.p_value:.4f}"
    return f"permutation {smallest} ({how})"


def verdict_title(card: ScorerCard) -> str:
    """The verdict as one short sentence."""
    metric, name = card.verdict, scorer_name(card.scorer)
    verdict, difference = metric.comparison.distinguishable_from_control, metric.comparison.difference
    if verdict is Verdict.TOO_FEW or difference.value is None:
        return f"{name}: too few latents to tell."
    if verdict is Verdict.NO:
        return f"{name} does not tell the trained model from its control."
    if difference.value > 0:
        return f"{name} tells the trained model from its control."
    return f"{name} scores the control above the trained model."


def verdict_detail(card: ScorerCard, confidence: float) -> str:
    """The numbers behind the verdict, in one sentence."""
    metric = card.verdict
    means = {side: number(metric.sides[side].score.value) for side in (TRAINED, CONTROL)}
    difference = metric.comparison.difference
    head = f"{METRIC_NAMES[metric.metric]} {means[TRAINED]} trained against {means[CONTROL]} control"
    if difference.value is None:
        return f"{head} ({sample(metric.comparison)})."
    if difference.low is None or difference.high is None:
        return f"{head}: difference {signed(difference.value)}, no interval ({sample(metric.comparison)})."
    bounds = f"{percent(confidence)} interval {signed(difference.low)} to {signed(difference.high)}"
    return f"{head}: difference {signed(difference.value)}, {bounds}, {sample(metric.comparison)}."


def shuffled_sentence(metric: MetricCard, side: str) -> str:
    """Whether a side's own explanations do other than shuffled ones."""
    score = metric.sides[side]
    bounds = f"{signed(score.above_shuffled.value)} {interval(score.above_shuffled, sign=True)}"
    verdict = score.distinguishable_from_shuffled
    if verdict is Verdict.TOO_FEW:
        return f"{side}: {verdict} (n={score.above_shuffled.n})"
    return f"{side}: {verdict}, {bounds}, n={score.above_shuffled.n}"
