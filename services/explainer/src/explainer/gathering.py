"""What an explainer is shown of each latent, from the artifacts that its spec names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from dragoman.kinds import Context
from latent_cache import Window

from explainer.core.evidence import Evidence, OutputEvidence, Passage
from explainer.core.example import Example, strength
from explainer.core.explainers import EXPLAINERS
from explainer.core.plain import sentence_of
from explainer.core.verbalised import LONGEST_TOKENS, last_paragraph
from explainer.effects_source import read_evidence
from explainer.exchanged import ExchangedExplanations
from explainer.spec import ExplanationsSpec
from explainer.verbaliser import Place
from explainer.windows import Drawn, TrainWindows


@dataclass(frozen=True, slots=True)
class Gathered:
    """The evidence of one latent, and where it is from."""

    evidence: Evidence
    drawn: Drawn = field(default_factory=Drawn)
    counters: Sequence[Window] = ()
    documents: frozenset[int] = frozenset()
    """Documents that the evidence is from, besides those of the windows."""
    source_latent: int | None = None
    """Whose explanation it is, where it is another latent's."""
    missing: str = ""
    """Why there is nothing to explain it from; empty where there is."""


class Gathering:
    """Gathers evidence of the latents of one task."""

    def __init__(self, spec: ExplanationsSpec, context: Context, tokens: Artifact, wanted: Sequence[int]) -> None:
        self._spec = spec
        self.windows = TrainWindows(context.inputs["latents"], tokens, spec.seed, wanted)
        self._output: Mapping[int, OutputEvidence] = {}
        if spec.output_evidence is not None:
            self._output = read_evidence(context.inputs["effects"], wanted, spec.output_evidence, spec.kl_target)
        others = context.inputs.get("explanations")
        self._others = None if others is None else ExchangedExplanations(others, spec.seed)
        self._texts = {text.latent: text.explanation for text in spec.texts}

    def of(self, latent: int) -> Gathered:
        """Returns all evidence that the spec's explainer takes, but for a verbaliser's texts."""
        spec = self._spec
        if self._others is not None:
            return self._exchanged(self._others, latent)
        if spec.explainer == "oracle":
            text = self._texts.get(latent, "")
            return Gathered(Evidence(sentence=text), missing="" if text else "texts has none for it")
        if spec.explainer == "random":
            return self._sentence(latent)
        output = self._output.get(latent, OutputEvidence())
        missing = f"{spec.effects_id} has no tokens of it" if spec.effects_id and not output else ""
        drawn = self._drawn(latent)
        counters = self._counters(latent)
        evidence = Evidence(
            examples=[self._example(window) for window in drawn.windows],
            counters=[self._example(window) for window in counters],
            output=output,
            show_strengths=bool(spec.show_strengths),
            seed=derived_seed(spec.seed, spec.latents_id, latent, "evidence"),
        )
        return Gathered(evidence, drawn, counters, missing=missing)

    def _drawn(self, latent: int) -> Drawn:
        spec = self._spec
        if spec.example_count is None or spec.sampling is None:
            return Drawn()
        return self.windows.draw(latent, spec.example_count, spec.sampling)

    def _counters(self, latent: int) -> Sequence[Window]:
        count, source = self._spec.counter_count, self._spec.counter_source
        if count is None or source is None:
            return ()
        by_source = {
            "same_tokens": self.windows.same_tokens,
            "neighbours": self.windows.of_neighbours,
            "silent": self.windows.silent,
        }
        return by_source[source](latent, count)

    def _example(self, window: Window) -> Example:
        threshold = EXPLAINERS[self._spec.explainer].mark_threshold
        return Example(self.windows.pieces(window), window.activations, threshold)

    def _exchanged(self, others: ExchangedExplanations, latent: int) -> Gathered:
        partner = others.partner(latent)
        if partner is None:
            return Gathered(Evidence(), missing=f"{others.id} has no explanation of it to exchange")
        evidence = Evidence(sentence=others.explanation(partner))
        return Gathered(evidence, documents=others.documents(partner), source_latent=partner)

    def _sentence(self, latent: int) -> Gathered:
        window = self.windows.sentence(latent)
        text = "" if window is None else sentence_of("".join(self.windows.pieces(window)))
        if window is None or not text:
            return Gathered(Evidence(), missing="there is no window of train documents to take a sentence from")
        return Gathered(Evidence(sentence=text), documents=frozenset({window.document}))


def places_of(gathered: Gathered) -> Sequence[Place]:
    """Returns what a verbaliser is asked: each window up to its strongest token."""
    shown = gathered.evidence.examples
    return [Place("".join(example.texts[: example.peak + 1]), example.peak) for example in shown]


def with_passages(gathered: Gathered, said: Sequence[str | None], last: bool) -> Gathered:
    """Adds a verbaliser's texts, one for each window shown, None where it gave none.

    `last`: the last paragraph of each is taken.
    """
    peaks = [float(example.activations.max()) for example in gathered.evidence.examples]
    passages = [
        Passage(last_paragraph(text) if last else text, strength(peak, max(peaks)))
        for text, peak in zip(said, peaks, strict=True)
        if text
    ]
    missing = "" if passages else "the verbaliser said nothing of any of its windows"
    return replace(gathered, evidence=replace(gathered.evidence, passages=passages), missing=missing)


def with_assumed_passages(gathered: Gathered) -> Gathered:
    """Adds texts of the longest length that a verbaliser gives: what is counted before it is asked."""
    return with_passages(gathered, ["word " * LONGEST_TOKENS] * len(gathered.evidence.examples), last=False)
