"""Text with planted latents, explanations that name them, and judges that follow rules.

Each latent fires on five words of its own, more strongly on the first. Words are drawn independently, so one latent's
windows say nothing about another's. The judges are scripted: what is tested with them is arithmetic, not judging.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dragoman.artifacts import Manifest, PartInfo
from dragoman.folder import FolderArtifact, FolderArtifacts
from dragoman.ids import derived_seed
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from scorer.core.judgement import Verdict
from scorer.core.nearness import nearness
from scorer.core.planned import prompts_of
from scorer.core.requests import Contrast, Nearness, Request, Simulation
from scorer.embedder import Embedded
from scorer.llm_judge import likeliest
from scorer.spec import EmbedderRef, LlmRef

from tests.support.latents_writer import Kept
from tests.support.synthetic_latents import KEPT, Corpus, Parts, latents_parts, tokens_parts, word_tokenizer

TOKENS_ID, LATENTS_ID, EXPLANATIONS_ID = "tokens-" + "0" * 32, "latents-" + "1" * 32, "explanations-" + "2" * 32
WORDS = 5
CTX_LEN, LENGTH = 65, 16
SHARE = 0.02
"""Of the words, those of one latent."""
_NEUTRAL = [f"w{a}{b}" for a in "abcdefghijklmn" for b in "aeiou"]


def latent_words(latent: int) -> list[str]:
    """The words on which a latent fires."""
    return [f"q{chr(97 + latent % 26)}{chr(97 + latent // 26)}{vowel}" for vowel in "aeiou"]


def label_of(latent: int) -> str:
    """A right explanation."""
    return "the words " + ", ".join(latent_words(latent))


def planted_corpus(seed: int, latent_count: int, documents: int = 120, share: float = SHARE) -> Corpus:
    """Documents of 64 words; one word in `share` is of a given latent. The last 60% are test documents."""
    rng = np.random.Generator(np.random.PCG64(seed))
    planted = [word for latent in range(latent_count) for word in latent_words(latent)]
    tokenizer = word_tokenizer([" " + " ".join(_NEUTRAL + planted)] * 3)
    ids = {word: tokenizer.encode(word).ids for word in _NEUTRAL + planted}
    assert all(len(i) == 1 for i in ids.values())
    tokens = np.zeros((documents, CTX_LEN), np.int32)
    for row in tokens:
        for pos in range(1, CTX_LEN):
            draw = rng.random()
            latent = int(draw / share)
            words = latent_words(latent) if latent < latent_count else _NEUTRAL
            row[pos] = ids[words[int(rng.integers(len(words)))]][0]
    index = np.repeat(np.arange(documents, dtype=np.int32)[:, None], CTX_LEN, axis=1)
    index[:, 0] = -1
    return Corpus(tokens, index, documents * 4 // 10, tokenizer)


def planted_activations(corpus: Corpus, latent_count: int) -> np.ndarray:
    """Dense float32 [row, pos, latent]."""
    dense = np.zeros((*corpus.tokens.shape, latent_count), np.float32)
    for latent in range(latent_count):
        for n, word in enumerate(latent_words(latent)):
            dense[..., latent] += (WORDS - n) * (corpus.tokens == corpus.tokenizer.encode(word).ids[0])
    dense[:, 0] = 0
    return dense


def null_auroc(active: int, silent: int) -> tuple[float, float]:
    """What an oracle gets with another latent's label, and its standard error over so many windows of either kind.

    It is a little below 0.5: where words of the latent stand, there is room for fewer of the other's.
    """
    none, neither = (1.0 - SHARE) ** LENGTH, (1.0 - 2.0 * SHARE) ** LENGTH
    beside, alone = (1.0 - 2.0 * none + neither) / (1.0 - none), 1.0 - neither / none
    variance = beside * (1.0 - beside) / active + alone * (1.0 - alone) / silent
    return 0.5 + (beside - alone) / 2.0, 0.5 * float(np.sqrt(variance))


def null_told_by_text(examples: Sequence[Mapping[str, Any]], latent: int, only_marked: bool = False) -> float:
    """AUROC of a latent's null for who says yes where a word of the label that is shown stands in the window, or is
    marked in it.
    """
    says: dict[bool, list[bool]] = {True: [], False: []}
    for e in examples:
        if e["arm"] == "shuffled" and e["latent"] == latent:
            pairs = zip(e["tokens"], e["marked"], strict=True)
            words = {token.strip() for token, is_marked in pairs if is_marked or not only_marked}
            says[e["label"]].append(bool(words & set(latent_words(e["explanation_latent"]))))
    yes, no = (np.asarray(says[label], np.float64) for label in (True, False))
    return float(np.mean((yes[:, None] > no) + 0.5 * (yes[:, None] == no)))


@dataclass(frozen=True)
class Planted:
    """The three artifacts behind a scores job."""

    tokens: Parts
    latents: Parts
    explanations: Parts


def planted(latent_count: int, seed: int = 0, kept: Kept = KEPT, **options: object) -> Planted:
    """Builds the artifacts; `kept` of each latent. Options are those of `explanations_parts`."""
    corpus = planted_corpus(seed, latent_count)
    dense = planted_activations(corpus, latent_count)
    firing = (dense > 0).sum(axis=(0, 1))
    latents = latents_parts(corpus, dense, kept, TOKENS_ID)
    return Planted(tokens_parts(corpus), latents, explanations_parts(firing, **options))


def explanations_parts(
    firing: np.ndarray,
    outcomes: Mapping[int, str] | None = None,
    documents: Sequence[int] = (0, 1, 2),
    labels: Callable[[int], str] = label_of,
    latents_id: str = LATENTS_ID,
) -> Parts:
    """An explanations artifact; `outcomes` names the latents that got no explanation."""
    outcomes = outcomes or {}
    rows = [
        {
            "latent": latent, "rank": rank, "firing_count": int(firing[latent]), "density": firing[latent] / 1000,
            "explanation": None if latent in outcomes else labels(latent),
            "outcome": outcomes.get(latent, "explained"), "reason": "", "example_documents": list(documents),
        }
        for rank, latent in enumerate(np.argsort(-firing, kind="stable").tolist())
    ]  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_EXPLANATIONS), sink)
    not_attempted = [o for o in outcomes.values() if o in {"rare", "dead"}]
    statistics = {
        "total": len(firing), "dead": not_attempted.count("dead"), "rare": not_attempted.count("rare"),
        "attempted": len(firing) - len(not_attempted), "parsed": len(firing) - len(outcomes),
    }  # fmt: skip
    part = PartInfo("explanations.parquet", "memory/explanations.parquet", len(sink.getvalue()), "", len(rows))
    manifest = Manifest(
        EXPLANATIONS_ID, "explanations", 1, {"latents_id": latents_id}, {"latents": latents_id}, [part], statistics
    )
    return Parts(manifest, {"explanations.parquet": sink.getvalue()})


_EXPLANATIONS = pa.schema(
    [
        ("latent", pa.int32()),
        ("rank", pa.int32()),
        ("firing_count", pa.int64()),
        ("density", pa.float64()),
        ("explanation", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("example_documents", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Laid:
    """The artifacts of a scores job in folders."""

    artifacts: FolderArtifacts
    """Finds them by id."""
    inputs: Mapping[str, FolderArtifact]


def lay_out(made: Planted, root: Path) -> Laid:
    """Writes the artifacts to folders."""
    artifacts = {part.manifest.kind: _folder(part, root) for part in (made.tokens, made.latents, made.explanations)}
    return Laid(FolderArtifacts(root), {role: artifacts[role] for role in ("latents", "explanations")})


def _folder(parts: Parts, root: Path) -> FolderArtifact:
    folder = root / parts.manifest.id
    folder.mkdir(parents=True)
    for name, data in parts.data.items():
        (folder / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in parts.data.items()}
    manifest = replace(parts.manifest, parts=[replace(p, sha256=sums[p.name]) for p in parts.manifest.parts])
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
    return FolderArtifact(folder)


@dataclass(frozen=True)
class Asked:
    """The last item of a prompt."""

    prompt: str
    description: str
    text: str

    @classmethod
    def of(cls, prompt: str) -> "Asked":
        item = prompt.rsplit("\n\n", 1)[1]
        description, text, *_ = item.split("\n")
        return cls(prompt, description.removeprefix("Description: "), text.removeprefix("Text:"))

    @property
    def marked(self) -> str:
        """The text between << and >>."""
        return " ".join(piece.split(">>")[0] for piece in self.text.split("<<")[1:])

    @property
    def mark_places(self) -> list[int]:
        """Where in the text, in words, marks begin."""
        return [len(before.split()) for before in _befores(self.text)]

    def chance(self, seed: int = 0) -> float:
        """A number in 0 to 1 that only the prompt decides."""
        return derived_seed(seed, self.prompt) / 2**63


def _described(prompt: str) -> str:
    return prompt.rsplit("Description: ", 1)[1].split("\n", 1)[0]


def _befores(text: str) -> Iterator[str]:
    for at in range(len(text)):
        if text.startswith("<<", at):
            yield text[:at].replace("<<", "").replace(">>", "")


Rule = Callable[[Asked], "float | str | Sequence[float]"]
"""P(yes), or the name of a failure, or the probability of each answer."""


@dataclass
class RuleJudge:
    """Answers by a rule. Counts what it was asked."""

    rule: Rule
    logprobs: bool = True
    prompts: list[str] = field(default_factory=list)
    strengths: Callable[[str, Sequence[str]], Sequence[float]] = lambda description, tokens: [0.0] * len(tokens)
    """What is simulated, of a description and tokens."""
    gain: Callable[[str, str], float] = lambda description, text: 0.0
    """How much likelier a text is, of a description and a text."""
    counts: bool = True
    """Whether it can tell how many tokens it would read: words, here."""

    def resolve(self, llm: LlmRef, needs: frozenset[str]) -> LlmRef:
        return llm.model_copy(update={"model": llm.model or "rule", "max_tokens": 1})

    def verdicts(self, requests: Sequence[Request], llm: LlmRef) -> Iterator[tuple[int, Verdict]]:
        self.prompts += [request.prompt for request in requests]
        for index in reversed(range(len(requests))):  # answers come in any order
            yield index, self._answer(requests[index])

    def planned(self, requests: Sequence[Request], llm: LlmRef) -> Sequence[str]:
        return [prompt for request in requests for prompt in prompts_of(request, echoes=True)]

    def count(self, prompts: Sequence[str], llm: LlmRef) -> Sequence[int] | None:
        return [len(prompt.split()) for prompt in prompts] if self.counts else None

    def _answer(self, request: Request) -> Verdict:
        if isinstance(request, Simulation):
            return Verdict("answered", predicted=self.strengths(_described(request.prompt), request.tokens))
        if isinstance(request, Contrast):
            return Verdict("answered", value=self.gain(_described(request.prompt), request.text))
        return self._verdict(request.prompt)

    def _verdict(self, prompt: str) -> Verdict:
        said = self.rule(Asked.of(prompt))
        tokens = len(prompt.split())
        if isinstance(said, str):
            return Verdict(said, prompt_tokens=tokens)
        shares = (said, 1.0 - said) if isinstance(said, float) else tuple(said)
        return Verdict(
            "answered", likeliest(shares), shares if self.logprobs else None,
            prompt_tokens=tokens, cached_tokens=tokens // 2, completion_tokens=1,
        )  # fmt: skip


@dataclass
class RuleEmbedder:
    """Embeds texts by a rule."""

    rule: Callable[[str], Sequence[float] | None]
    """None for a text that it refuses."""
    texts: list[str] = field(default_factory=list)

    def resolve(self, embedder: EmbedderRef) -> EmbedderRef:
        return embedder.model_copy(update={"model": embedder.model or "rule"})

    def verdicts(self, requests: Sequence[Nearness], embedder: EmbedderRef) -> Iterator[tuple[int, Verdict]]:
        for index, request in reversed(list(enumerate(requests))):
            found = self.embedded(request.texts, embedder)
            if any(text not in found for text in request.texts):
                yield index, Verdict("refused")
                continue
            rows = np.stack([found[text].vector for text in request.texts])
            near = rows[1 : 1 + len(request.near)]
            yield index, Verdict("answered", value=nearness(rows[0], near, rows[1 + len(near) :]), prompt_tokens=3)

    def embedded(self, texts: Sequence[str], embedder: EmbedderRef) -> dict[str, Embedded]:
        self.texts += texts
        found = {text: np.asarray(v, np.float64) for text in texts if (v := self.rule(text)) is not None}
        return {t: Embedded(v / (float(np.linalg.norm(v)) or 1.0), len(t.split())) for t, v in found.items()}

    def count(self, texts: Sequence[str], embedder: EmbedderRef) -> Sequence[int] | None:
        return [len(text.split()) for text in texts]


def by_family(text: str) -> list[float]:
    """A window's vector says of each latent whether its words occur; a description's looks at its own latent alone."""
    words = {word[:3] for word in re.findall(r"\w+", text)}
    absent = 0.0 if text.startswith("the words ") else -1.0
    return [1.0 if f"q{chr(97 + latent)}a" in words else absent for latent in range(26)]


def oracle(asked: Asked) -> float:
    """Knows the words of the description; looks at the marks where there are any."""
    words = set(asked.description.removeprefix("the words ").split(", "))
    return 0.95 if words & set((asked.marked or asked.text).split()) else 0.05
