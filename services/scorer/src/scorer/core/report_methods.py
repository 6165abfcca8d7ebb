"""What every number on the page means, what its null is, and out of how many."""

from scorer.core import scorecard_words as words
from scorer.core.report_markup import Html, el
from scorer.core.scorecard import MINIMUM_LATENTS
from scorer.core.scorecard_side import Scorecard

_DEFINITIONS = (
    (
        "Control",
        "The same pipeline (text, coder, explainer, judge) on the same architecture with weights redrawn at random, "
        "each tensor from a Gaussian with its own mean and variance (Heap et al., arXiv 2501.17727). A score that the "
        "control reaches too says nothing about what the model learned.",
    ),
    (
        "Detection",
        "The judge sees an explanation and one unmarked window of held-out text and answers yes or no (Paulo et al., "
        "arXiv 2410.13928). Positives are windows in which the latent is active, spread over its activation deciles; "
        "negatives are windows in which it is not.",
    ),
    (
        "Fuzzing",
        "The judge sees an explanation and one window with marked tokens. In positives the marks are on the tokens on "
        "which the latent is active; negatives are the same windows under another window's marks, so that positions "
        "alone give nothing away.",
    ),
    (
        "Intruder, decile intruder",
        "No explanation is shown. Which of five marked windows does not belong: one in which the latent is silent, or "
        "one of another activation strength (Paulo and Belrose, arXiv 2507.08473)? Accuracy has a floor of 0.2. The "
        "null of intruder has silent windows only, that of decile intruder windows of any strength.",
    ),
    (
        "Simulation, surprisal, embedding, discrimination",
        "Simulation: a strength for each token from the explanation, correlated with the truth. Surprisal: how much "
        "likelier a window is after the explanation than after a generic phrase. Embedding: cosine of explanation and "
        "window. Example embedding, without an explanation: cosine of windows with each other. Discrimination: which "
        "of two like explanations fits a window.",
    ),
    (
        "Intervention, faithfulness, output",
        "What the model writes after a prompt with the latent turned up, at one KL from what it writes without. "
        "Intervention: log-probability of the explanation after the one text minus after the other (floor 0). "
        "Faithfulness: the part of the texts that did not match the explanation and then do (floor 0). Output: which "
        "of three latents' texts fit the explanation (floor of accuracy 1/3).",
    ),
    (
        "Clarity, responsiveness, purity",
        "Clarity: twice the AUROC, less 1, of activations in texts written from the explanation against natural "
        "windows (floor 0). Responsiveness: the same of the windows of detection, those that the judge said yes to "
        "against the others. Purity: their average precision (floor: the share of yes).",
    ),
    (
        "AUPRC, F1",
        "Average precision, and the harmonic mean of precision and recall of the answers yes. They notice labels that "
        "are too narrow or too wide, which AUROC and balanced accuracy do not. Floors: the share of positives, and "
        "what always yes would get.",
    ),
    (
        "AUROC",
        "The share of (positive, negative) pairs of a latent's windows that the judge's probability of yes puts in the "
        "right order, ties counted half. Floor 0.5. The mean is over scored latents; its n counts them.",
    ),
    (
        "Balanced accuracy",
        "The mean of the share of positives answered yes and of negatives answered no. Floor 0.5 for any constant "
        "answer, whatever the mix of windows; the plain accuracy of the better constant answer is in the table of "
        "denominators.",
    ),
    (
        "Shuffled",
        "The null of a score: the same latent's windows judged with another latent's explanation; of scorers that show "
        "none, questions without an answer to be found. Above shuffled is the mean of score minus shuffled score, over "
        "the latents that have both.",
    ),
    (
        "Difference, trained \N{MINUS SIGN} control",
        "Paired by rank of firing count when both sides scored at least five ranks in common that are at least half of "
        "the larger side; otherwise between all scored latents of both sides. Which one it was stands beside it.",
    ),
    (
        "Cliff's delta",
        "The share of cross pairs in which the trained latent scores higher, minus the share in which the control's "
        "does: \N{MINUS SIGN}1 to 1, null 0.",
    ),
    (
        "Hedges' g",
        "The difference of means in pooled standard deviations, with Hedges' correction for small samples; null 0. "
        "Undefined where all latents score the same.",
    ),
    (
        "Permutation test",
        "Two-sided p-value of the difference of means: signs of the pairs flipped, or latents dealt anew to the sides. "
        "All ways when there are few (exact), else a "
        "seeded sample in which the observed one counts. It is not corrected for the number of scorers and metrics.",
    ),
    (
        "FVU",
        "Fraction of variance unexplained: squared error over squared distance from the mean, over the whole held-out "
        "set. Its interval is a bootstrap over rows of text, always at 95%. FVU of different weights are of different "
        "activations: they say how well each coder works, not which model is the better one.",
    ),
    (
        "Dead, rare, attempted, parsed, scored",
        "Dead latents fired on no cached token; rare ones on too few windows to explain; attempted ones were selected; "
        "parsed ones got a usable explanation; scored ones got usable answers to positives and negatives. Failed "
        "questions are counted by outcome, never as wrong answers.",
    ),
)


def section(card: Scorecard) -> Html:
    """Returns the definitions."""
    intervals = (
        f"{words.percent(card.confidence)}, two-sided, from {card.bootstrap_count:,} bootstrap resamples of latents "
        f"(seed {card.seed}), with percentiles widened for small samples (Hesterberg 2015). Intervals of single "
        "latents are over windows and at 95%."
    )
    verdicts = (
        "Distinguishable: the interval of the difference leaves out 0. With fewer than "
        f"{MINIMUM_LATENTS} latents (or pairs) the answer is that there are too few to tell. An answer of no is not "
        "evidence of equality: look at the width of the interval."
    )
    entries = [("Verdict", verdicts), ("Intervals", intervals), *_DEFINITIONS]
    terms = [el("div", {}, el("dt", {}, name), el("dd", {}, meaning)) for name, meaning in entries]
    head = el("h2", {}, "What the numbers mean")
    return el("section", {"id": "methods"}, head, el("dl", {"class": "methods"}, terms))
