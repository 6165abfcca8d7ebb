"""The `tokens` kind: text to packed token rows, split by document."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dragoman.artifacts import Artifact, InputInfo, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.ids import Json
from dragoman.kinds import Checkpoint, Context, Part, Progress, Stage, Summary
from dragoman.store import Store
from hooked_models.description import Descriptions, TokenizerDescription
from hooked_models.fingerprints import JsonCache
from hooked_models.locations import TOKENIZER, Located, Locations
from hooked_models.sources import S3

from activation.core.chat import ChatTemplate
from activation.core.document_field import DocumentField
from activation.corpus import TEXTS, Corpus, checked_corpus, texts_corpus, unchanged_corpus
from activation.spec import TokensSpec

_GROUP_BYTES = 4 << 20
_MAX_GROUPS = 4000
_POSITIONS_PER_SHARD = 1 << 19


class TokensKind:
    """Stage 0 tokenises groups of documents side by side; stage 1 packs all of them in seeded order."""

    name = "tokens"
    version = 2
    description = "Text, JSONL or Parquet to packed rows of token ids, split into train and test by document."
    spec = TokensSpec
    input_kinds: Mapping[str, str] = {"texts": "texts"}

    def __init__(self, cache: Path, store: Store | None, locations: Locations, descriptions: Descriptions) -> None:
        self._json = JsonCache(cache / "corpora")
        self._store = store
        self._locations = locations
        self._descriptions = descriptions

    def inputs(self, spec: TokensSpec) -> Mapping[str, str]:
        return {"texts": spec.texts_id} if spec.texts_id else {}

    def resolve(self, spec: TokensSpec) -> TokensSpec:
        """Fingerprints source and tokenizer; refuses text that is not there or cannot be read."""
        located = self._locations.locate(spec.tokenizer, spec.tokenizer_revision, TOKENIZER, "tokenizer")
        described = self._descriptions.tokenizer(located, "tokenizer")
        source, fingerprint = ("", "") if spec.texts_id else self._checked_source(spec, described)
        _check_context(spec, described)
        bos_token(spec, described)
        _check_sum("source_fingerprint", spec.source_fingerprint, fingerprint)
        _check_sum("tokenizer_fingerprint", spec.tokenizer_fingerprint, located.fingerprint)
        return spec.model_copy(
            update={
                "source": source,
                # With conversations or written texts no other field is read: it must not make another artifact.
                "text_field": "text" if spec.messages_field or spec.texts_id else spec.text_field,
                "source_fingerprint": fingerprint,
                "tokenizer": located.source,
                "tokenizer_revision": located.revision,
                "tokenizer_fingerprint": located.fingerprint,
            }
        )

    def _checked_source(self, spec: TokensSpec, described: TokenizerDescription) -> tuple[str, str]:
        """Returns the files' place and fingerprint."""
        source = spec.source if spec.source.startswith(S3) else str(Path(spec.source).expanduser().absolute())
        corpus = checked_corpus(source, spec.format, document_field(spec, described), self._store, self._json)
        _check_split(spec, corpus.document_count)
        return source, corpus.fingerprint

    def check(self, spec: TokensSpec, inputs: Mapping[str, InputInfo]) -> None:
        """Raises InvalidSpec where a texts artifact has too few texts to be split."""
        if "texts" in inputs and inputs["texts"].manifest is not None:
            _check_split(spec, inputs["texts"].manifest.part(TEXTS).row_count)

    def plan(self, spec: TokensSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        if "texts" in inputs:
            return _texts_stages(inputs["texts"])
        corpus = self._corpus(spec, self._tokenizer(spec))
        size = sum(f.file.size_bytes for f in corpus.files)
        groups = corpus.groups(max(_GROUP_BYTES, size // _MAX_GROUPS))
        return [
            Stage("tokenise", [{"first": first, "end": end} for first, end in groups]),
            Stage("pack", [{"document_count": corpus.document_count}]),
        ]

    def run(self, spec: TokensSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        from activation import pack_run, tokenise_run  # tokenizers: only where work is done

        located, described = _located(spec), self._tokenizer(spec)
        corpus, bos = self._corpus(spec, described, context.inputs.get("texts")), bos_token(spec, described)
        tokenizer_file = self._descriptions.tokenizer_file(located)
        if context.task.stage == 0:
            second_bos = tokenise_run.SecondBosCheck(described.bos_id if bos is None else bos, bos is not None)
            yield from tokenise_run.tokenise(spec, context, corpus, tokenizer_file, second_bos)
            return
        how = pack_run.How(
            described, bos, chat_template(spec, described), tokenise_run.masked_ids(spec, tokenizer_file)
        )
        yield from pack_run.pack(spec, context, corpus, how, max(1, _POSITIONS_PER_SHARD // spec.ctx_len))
        yield Part("tokenizer.json", data=tokenizer_file.read_bytes())

    def _tokenizer(self, spec: TokensSpec) -> TokenizerDescription:
        return self._descriptions.tokenizer(_located(spec), "tokenizer")

    def _corpus(self, spec: TokensSpec, tokenizer: TokenizerDescription, texts: Artifact | None = None) -> Corpus:
        field, fingerprint = document_field(spec, tokenizer), spec.source_fingerprint
        if texts is not None:
            return texts_corpus(texts.id, texts.download(TEXTS), field, self._json)
        return unchanged_corpus(spec.source, spec.format, field, fingerprint, self._store, self._json)

    def combine(self, spec: TokensSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        """The pack task has counted everything; its documents part says it."""
        statistics: dict[str, Json] = {}
        for part in parts:
            if part.name == "documents.parquet":
                statistics.update(part.metadata)
        return Summary(statistics)


def _texts_stages(texts: InputInfo) -> Sequence[Stage]:
    """The texts are few: one task reads them all."""
    assert texts.manifest is not None, "a job is planned when its inputs are committed"
    count = texts.manifest.part(TEXTS).row_count
    return [Stage("tokenise", [{"first": 0, "end": count}]), Stage("pack", [{"document_count": count}])]


def chat_template(spec: TokensSpec, tokenizer: TokenizerDescription) -> ChatTemplate | None:
    """Returns how conversations become text, None for plain text. Raises InvalidSpec when there is no template."""
    if not spec.messages_field:
        return None
    if tokenizer.chat_template is None:
        raise InvalidSpec(
            f"messages_field is given, but the tokenizer {spec.tokenizer} has no chat template; "
            "use the tokenizer of a chat model, or give text_field",
            field="messages_field",
            reason="NO_CHAT_TEMPLATE",
        )
    return ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens)


def document_field(spec: TokensSpec, tokenizer: TokenizerDescription) -> DocumentField:
    """Returns which field of a document is read, and how. Raises InvalidSpec."""
    template = chat_template(spec, tokenizer)
    return DocumentField(spec.text_field if template is None else spec.messages_field, template)


def bos_token(spec: TokensSpec, tokenizer: TokenizerDescription) -> int | None:
    """Returns the id with which each row starts, None for none. Raises InvalidSpec when the policy is impossible."""
    if spec.bos == "never" or (spec.bos == "auto" and not tokenizer.adds_bos):
        return None
    template = chat_template(spec, tokenizer)
    if spec.bos == "auto" and template is not None and template.writes(tokenizer.special_tokens.get("bos_token", "")):
        return None  # the template writes it: a row's own would be a second one
    token = tokenizer.eos_id if tokenizer.bos_id is None else tokenizer.bos_id
    if token is None:
        raise InvalidSpec(
            f"bos is 'always', but the tokenizer {spec.tokenizer} has neither a BOS nor an EOS token; use 'never'",
            field="bos",
            reason="BOS_IMPOSSIBLE",
        )
    return token


def _located(spec: TokensSpec) -> Located:
    return Located(spec.tokenizer, spec.tokenizer_revision, spec.tokenizer_fingerprint)


def _check_split(spec: TokensSpec, document_count: int) -> None:
    used = min(document_count, spec.max_documents or document_count)
    if used < 2 and spec.test_fraction > 0:
        raise InvalidSpec(
            f"test_fraction is {spec.test_fraction:g}, but there is only {used} document, "
            "and a document is never split; "
            "give more documents (a file each, or a line each of JSONL) or set test_fraction to 0",
            field="test_fraction",
            reason="TOO_FEW_DOCUMENTS",
        )


def _check_context(spec: TokensSpec, tokenizer: TokenizerDescription) -> None:
    limit = tokenizer.context_length
    if limit is not None and spec.ctx_len > limit:
        raise InvalidSpec(
            f"rows of {spec.ctx_len} tokens are longer than the model's context of {limit}; use ctx_len <= {limit}",
            field="ctx_len",
            reason="CONTEXT_TOO_LONG",
        )


def _check_sum(field_name: str, given: str, found: str) -> None:
    if given and given != found:
        raise InvalidSpec(
            f"the files have sha256 {found}, the spec says {given}; leave the field empty to take what is there",
            field=field_name,
            reason="FINGERPRINT_MISMATCH",
        )
