"""The questions of one task of a scores job: of which latents, about which windows or texts, in which order."""

from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import Artifact
from dragoman.kinds import Context
from latent_cache import WindowSource

from scorer.core.examples import (
    DECODER,
    NEAR,
    NEIGHBOUR,
    RANDOM,
    Example,
    check_disjoint,
    interleaved,
    numbered,
    placed,
)
from scorer.core.explained import Explained
from scorer.core.judgement import Question
from scorer.core.measures import TRIALS
from scorer.core.questions import label_free_questions, measured_questions, questions
from scorer.core.rivals import rivals_of
from scorer.core.scorers import METHODS, Counts, Drawn, Method
from scorer.core.scorers.method import EFFECTS, TEXTS
from scorer.near_windows import Embed, NearWindows
from scorer.spec import ScoresSpec
from scorer.steered_source import SteeredWindows
from scorer.windows import HeldOutWindows
from scorer.written_source import Written, WrittenWindows


def asked_counts(spec: ScoresSpec) -> Counts:
    """Returns the examples that a spec asks for."""
    asked = {
        RANDOM: spec.inactive_count, NEIGHBOUR: spec.neighbour_count, DECODER: spec.decoder_count,
        NEAR: spec.near_count,
    }  # fmt: skip
    return Counts(spec.active_count, {type_: count for type_, count in asked.items() if count})


class Asking:
    """Makes the questions of some latents that are read together."""

    def __init__(
        self,
        spec: ScoresSpec,
        context: Context,
        explained: Explained,
        tokens: Artifact,
        embed: Embed | None,
        coder: Artifact | None = None,
        written: Written | None = None,
    ) -> None:
        """`embed`: None while tokens are counted. `written`: of a scorer of written texts."""
        first, end = (int(str(context.task.payload[name])) for name in ("first", "end"))
        self.attempted = [int(row["latent"]) for row in explained.rows[first:end]]
        self.tokens = tokens
        self._spec = spec
        self._method: Method = METHODS[spec.scorer]
        self._explained = explained
        self._partners: Mapping[int, int] = explained.partners if spec.null_count else {}
        free = self._method.label_free
        self._wanted = [j for j in self.attempted if free or j in explained.explanations]
        self._steered = EFFECTS in self._method.needs
        self._windows = self._source(context, embed, coder, written)

    def _source(
        self, context: Context, embed: Embed | None, coder: Artifact | None, written: Written | None
    ) -> HeldOutWindows | SteeredWindows | WrittenWindows:
        seed, latents = self._spec.seed, context.inputs["latents"]
        if self._steered:
            effects = context.inputs["effects"]
            return SteeredWindows(effects, self.tokens, self._spec.kl_target, seed, self._partners)
        if written is not None:
            return WrittenWindows(WindowSource(latents, self.tokens), written, seed, self._partners)
        return HeldOutWindows(latents, self.tokens, seed, self._wanted, embed, coder)

    @property
    def near(self) -> NearWindows | None:
        """What embeds windows to find negatives; None where the spec asks for none."""
        return self._windows.near if isinstance(self._windows, HeldOutWindows) and self._spec.near_count else None

    def questions(self) -> Iterator[tuple[int, list[Question]]]:
        """Yields latent and questions. Raises DocumentLeak for one about a document that its explanation is from."""
        for latent in self._wanted:
            drawn, counts = self._drawn(latent)
            examples = self._method.examples(drawn, counts, self._spec.seed)
            if TEXTS in self._method.needs:
                yield latent, self._measured(latent, examples, drawn, counts)
            elif self._method.label_free:
                yield latent, self._label_free(latent, examples, drawn, counts)
            else:
                yield latent, self._labelled(latent, examples)

    def _drawn(self, latent: int) -> tuple[Drawn, Counts]:
        spec, like = self._spec, 0 if self._steered else self._method.rivals
        rivals = rivals_of(latent, self._explained.explanations, like, spec.seed) if like else ()
        return self._windows.draw(latent, self._method, asked_counts(spec), spec.null_count, rivals)

    def _label_free(self, latent: int, examples: Sequence[Example], drawn: Drawn, counts: Counts) -> list[Question]:
        nulls = self._method.null_examples(drawn, counts, self._spec.seed, self._spec.null_count)
        check_disjoint(latent, [*examples, *nulls], self._explained.seen_by(latent, None))
        return label_free_questions(self._method, numbered(examples), numbered(nulls), self._windows.pieces)

    def _measured(self, latent: int, examples: Sequence[Example], drawn: Drawn, counts: Counts) -> list[Question]:
        nulls = self._method.null_examples(drawn, counts, self._spec.seed, self._spec.null_count)
        check_disjoint(latent, examples, self._explained.seen_by(latent, None))
        partner = self._partners.get(latent)
        both = (numbered(examples), numbered(nulls))
        return measured_questions(self._method, latent, partner, *both, self._windows.pieces)

    def _labelled(self, latent: int, examples: Sequence[Example]) -> list[Question]:
        method, spec, explained = self._method, self._spec, self._explained
        check_disjoint(latent, examples, explained.seen_by(latent, self._partners.get(latent)))
        nulls = spec.null_count
        if method.form == TRIALS:  # trials are rotated: their order is their own, and groups stay whole
            ordered, nulls = numbered(examples), nulls // method.choices * method.choices
        else:
            ordered = interleaved(examples) if spec.stop else placed(examples, spec.seed)
        return questions(method, ordered, self._windows.pieces, explained.explanations, self._partners, nulls)
