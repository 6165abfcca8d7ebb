"""Requests, ids, manifests and files that nobody would send: a typed refusal, and nothing left behind.

`make fuzz` sends 10,000 of each; in `make test` it is a slice.
"""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dragoman.artifacts import Manifest, PartInfo
from dragoman.bus import BusConfig
from dragoman.errors import DataLoss, FailedPrecondition, InvalidSpec
from dragoman.ids import kind_of
from dragoman.job.v1 import job_service_pb2
from dragoman.manifests import manifest_from_json, manifest_to_json
from dragoman.rpc import methods
from dragoman.rpc.convert import spec_message, struct_message
from dragoman.stack import Stack
from dragoman.store import manifest_key
from hypothesis import strategies as st

from tests.conftest import store_config
from tests.support.example_specs import EXAMPLES
from tests.support.fuzzed_messages import bent, damaged, documents, plain, requests, texts
from tests.support.fuzzed_server import FuzzedServer, fuzzed_server, job_ids
from tests.support.many_inputs import many

BROKEN = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}
KINDS = tuple(methods.SUBMITS)
SUBMITS = {**methods.SUBMITS, "sweep": methods.SWEEP}
UNIT = Path(__file__).parents[1] / "unit"
CODERS, RECORDED = UNIT / "sparse_coders" / "saelens", UNIT / "recorded"
ASKING = (
    methods.GET_JOB,
    methods.LIST_JOBS,
    methods.CANCEL_JOB,
    methods.RETRY_JOB,
    methods.LIST_LOG_LINES,
    methods.GET_MANIFEST,
    methods.GET_LINEAGE,
    methods.DOWNLOAD_PART,
    methods.DELETE_ARTIFACT,
)


@pytest.fixture(scope="module")
def server(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedServer]:
    """One server for all; what it accepted stays."""
    told, name = servers.environment(), f"fuzz-{uuid.uuid4().hex[:12]}"
    nats = BusConfig(
        told["DRAGOMAN_NATS_URL"], name, told.get("DRAGOMAN_NATS_USER", ""), told.get("DRAGOMAN_NATS_PASSWORD", "")
    )
    patch = pytest.MonkeyPatch()
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with fuzzed_server(nats, store_config(servers, name), tmp_path_factory.mktemp("fuzz")) as made:
        yield made
    patch.undo()


@pytest.fixture(scope="module")
def known(server: FuzzedServer) -> list[str]:
    """Artifacts of most kinds, as a small run made them; of their parts there is nothing."""
    manifests = json.loads((Path(__file__).parents[1] / "support" / "example_manifests.json").read_text())
    for each in manifests:
        server.store.objects.put_bytes(manifest_key(each["id"]), json.dumps(each).encode())
    return [each["id"] for each in manifests]


@pytest.mark.parametrize("kind", SUBMITS)
def test_no_submission_breaks_a_server_or_leaves_a_trace(server: FuzzedServer, known: list[str], kind: str) -> None:
    submit = SUBMITS[kind]
    examples = [submit.method.request(spec=spec_message(each, submit.spec)) for each in _examples(kind, known)]
    _submissions(server, submit.method, examples, known)


def test_no_untyped_submission_does(server: FuzzedServer, known: list[str]) -> None:
    examples = [
        job_service_pb2.SubmitJobRequest(kind=kind, spec=struct_message(each))
        for kind in KINDS
        for each in _examples(kind, known)
    ]
    method = methods.Method(
        "/dragoman.job.v1.JobService/SubmitJob", job_service_pb2.SubmitJobRequest, job_service_pb2.SubmitJobResponse
    )
    _submissions(server, method, examples, known)


def _examples(kind: str, known: list[str]) -> list[dict[str, Any]]:
    """Specs whose inputs are nowhere, and the same with inputs that are there."""
    text = json.dumps(EXAMPLES.get(kind, []))
    for id_, placeholder in _placeholders(text, known):
        text = text.replace(placeholder, id_)
    return [*EXAMPLES.get(kind, []), *json.loads(text)]


def _placeholders(text: str, known: list[str]) -> list[tuple[str, str]]:
    """Ids that are there, each with the one in a text that it can stand in for."""
    left = [f"{kind}-{digit * 32}" for digit in "12" for kind in KINDS if f"{kind}-{digit * 32}" in text]
    found: list[tuple[str, str]] = []
    for id_ in known:
        for placeholder in [each for each in left if kind_of(each) == kind_of(id_)][:1]:
            left.remove(placeholder)
            found.append((id_, placeholder))
    return found


def _submissions(server: FuzzedServer, method: Any, examples: list[Any], known: list[str]) -> None:
    codes: Counter[grpc.StatusCode] = Counter()

    @many(requests(method.request, examples, texts(KINDS, known)))
    def _(request: bytes) -> None:
        code, answer, message = server.call(method.path, request)
        codes[code] += 1
        assert code not in BROKEN, f"{code.name} {message}"
        if code is grpc.StatusCode.OK:
            server.accepted |= set(job_ids(method.response.FromString(answer)))

    assert server.left_behind() == set(), codes
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 0, codes


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("explanations", {"explainer": ["default"]}),
        ("explanations", {"explainer": "oracle", "texts": 5}),
        ("coder", {"architecture": {}, "optimiser": []}),
        ("tokens", {"seed": float("nan")}),
        ("tokens", {"max_documents": float("inf")}),
    ],
)
def test_what_fuzzing_has_found_is_refused(server: FuzzedServer, kind: str, change: dict[str, Any]) -> None:
    spec = struct_message({**EXAMPLES[kind][0], **change})
    request = job_service_pb2.SubmitJobRequest(kind=kind, spec=spec).SerializeToString()
    assert server.call("/dragoman.job.v1.JobService/SubmitJob", request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_requests_of_earlier_versions_are_taken(server: FuzzedServer, known: list[str]) -> None:
    """As they were sent, but for ids of inputs that are there; where a request names files, there are none."""
    for path in sorted(RECORDED.glob("*.json")):
        codes: Counter[tuple[str, grpc.StatusCode]] = Counter()
        for number, one in enumerate(json.loads(path.read_text())["requests"]):
            method, request = SUBMITS[one["kind"]].method, bytes.fromhex(one["request"])
            request = request.replace(b"r-1", f"{number:03}".encode())  # else all would have one request id
            for id_, placeholder in _placeholders(request.decode(errors="replace"), known):
                request = request.replace(placeholder.encode(), id_.encode())  # both are of the same length
            code, answer, message = server.call(method.path, request)
            assert code not in {*BROKEN, grpc.StatusCode.UNIMPLEMENTED}, f"{one['kind']}: {code.name} {message}"
            codes[one["kind"], code] += 1
            if code is grpc.StatusCode.OK:
                server.accepted |= set(job_ids(method.response.FromString(answer)))
        assert {kind for kind, code in codes if code is grpc.StatusCode.OK} >= {"coder", "explanations"}, codes


@pytest.mark.parametrize("method", ASKING, ids=lambda method: method.path.rpartition("/")[2])
def test_no_question_breaks_a_server(server: FuzzedServer, known: list[str], method: Any) -> None:
    named = [*known[:2], *sorted(server.accepted)[:5], "tokens-" + "1" * 32, "tokenizer.json"]

    @many(requests(method.request, [], texts(KINDS, named)))
    def _(request: bytes) -> None:
        code, _, message = server.call(method.path, request, streams=method is methods.DOWNLOAD_PART)
        assert code not in BROKEN, f"{code.name} {message}"

    assert server.left_behind() == set()


def test_an_id_is_one_of_ours_or_refused() -> None:
    @many(texts(KINDS, ["tokens-" + "0" * 32]))
    def _(text: str) -> None:
        try:
            kind = kind_of(text)
        except InvalidSpec:
            return
        assert text == f"{kind}-{text.rpartition('-')[2]}"
        assert len(text) == len(kind) + 33
        assert not set(text) & set("/.*> \n\x00")


def test_a_damaged_manifest_is_named_as_such() -> None:
    part = PartInfo("a/b.bin", "artifacts/words/x/a/b-0.bin", 3, "0" * 64, 2, {"first_row": 0})
    whole = Manifest("words-" + "0" * 32, "words", 1, {"n": 1}, {"tokens": "t"}, (part,), {"fvu": 0.5}, cost={"s": 1.0})
    document = json.loads(manifest_to_json(whole))

    @many(st.one_of(damaged(manifest_to_json(whole)), documents(document).map(plain)))
    def _(data: bytes) -> None:
        try:
            read = manifest_from_json(data)
        except (DataLoss, FailedPrecondition):
            return
        assert manifest_from_json(manifest_to_json(read)) == read


@pytest.mark.parametrize(("layout", "case"), [("sparsify", "topk"), ("saelens", "jumprelu_skip_transcoder")])
def test_no_coder_from_elsewhere_breaks_a_server(server: FuzzedServer, tmp_path: Path, layout: str, case: str) -> None:
    folder = tmp_path / "coder"
    shutil.copytree(CODERS / case, folder, ignore=shutil.ignore_patterns("expected.*"))
    if layout == "sparsify":
        (folder / "cfg.json").write_text('{"activation": "topk", "d_in": 8, "num_latents": 16, "k": 4}')
        (folder / "sae_weights.safetensors").rename(folder / "sae.safetensors")
    files = {path: path.read_bytes() for path in folder.iterdir()}
    method = methods.SUBMITS["coder"].method
    model = {"source": "/models/small"}
    spec = {"imported": {"source": str(folder), "layout": layout, "model": model, "hookpoint": "layers.1.mlp.input"}}
    request = method.request(spec=spec_message(spec, methods.SUBMITS["coder"].spec)).SerializeToString()

    @many(st.sampled_from(sorted(files)).flatmap(lambda path: st.tuples(st.just(path), bent(files[path]))))
    def _(change: tuple[Path, bytes]) -> None:
        change[0].write_bytes(change[1])
        code, answer, message = server.call(method.path, request)
        change[0].write_bytes(files[change[0]])
        assert code not in BROKEN, f"{code.name} {message}"
        if code is grpc.StatusCode.OK:
            server.accepted |= set(job_ids(method.response.FromString(answer)))

    assert server.left_behind() == set()
