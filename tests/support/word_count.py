"""A small job kind with two stages, an intermediate and checkpoints, to test what runs job kinds."""

import json
from collections.abc import Iterator, Mapping, Sequence

from dragoman.artifacts import InputInfo, PartInfo
from dragoman.kinds import Checkpoint, Context, Part, Progress, Spec, Stage, Summary


class WordCountSpec(Spec):
    """Texts to count the words of."""

    texts: tuple[str, ...]
    scale: int = 1


class WordCount:
    """Stage "count" counts each text's words, one yield a word; stage "add" adds the counts up."""

    name = "words"
    version = 1
    description = "Counts words."
    spec = WordCountSpec
    input_kinds: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.resumed: list[str] = []

    def inputs(self, spec: WordCountSpec) -> Mapping[str, str]:
        return {}

    def resolve(self, spec: WordCountSpec) -> WordCountSpec:
        return spec

    def check(self, spec: WordCountSpec, inputs: Mapping[str, InputInfo]) -> None:
        return None

    def plan(self, spec: WordCountSpec, inputs: Mapping[str, InputInfo]) -> Sequence[Stage]:
        return [Stage("count", [{"text": text} for text in spec.texts]), Stage("add", [{}])]

    def run(self, spec: WordCountSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        if context.task.stage == 0:
            yield from self._count(spec, context)
            return
        counts = [json.loads(context.own.read(part.name)) for part in context.parts[0]]
        data = json.dumps({"total": sum(counts), "counts": counts}).encode()
        (context.scratch / "total.json").write_bytes(data)
        yield Part("total/total.json", path=context.scratch / "total.json", row_count=len(counts))

    def _count(self, spec: WordCountSpec, context: Context) -> Iterator[Progress | Part | Checkpoint]:
        words = str(context.task.payload["text"]).split()
        start = 0
        if context.checkpoint is not None:
            start = json.loads(context.checkpoint.read_bytes())
            self.resumed.append(context.task.id)
        path = context.scratch / "state.json"
        for done in range(start, len(words)):
            yield Progress(done + 1, len(words), "words")
            path.write_text(json.dumps(done + 1))
            yield Checkpoint(path)
        count = len(words) * spec.scale
        name = f"count-{context.task.index:05d}.json"
        yield Part(name, data=json.dumps(count).encode(), metadata={"count": count}, keep=False)

    def combine(self, spec: WordCountSpec, inputs: Mapping[str, InputInfo], parts: Sequence[PartInfo]) -> Summary:
        counts = [part.metadata["count"] for part in parts if not part.keep]
        return Summary({"total": sum(int(c) for c in counts if isinstance(c, int)), "texts": len(counts)})
