"""What a spec may make a server read or ask, how a server may listen, and what secrets never reach."""

import ast
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from dragoman.artifacts import Manifest
from dragoman.endings import failure_of
from dragoman.errors import FailedPrecondition, InvalidSpec, Unavailable, UserTaskError
from dragoman.exposure import check_exposure
from dragoman.kinds import Spec
from dragoman.llm import ChatPrompt, LLMClient, RetryPolicy
from dragoman.llm.cache import request_key
from dragoman.loopback import is_loopback
from dragoman.manifests import manifest_from_json, manifest_to_json
from dragoman.principals import Principals, Work
from dragoman.redaction import register_secrets
from dragoman.rpc.errors import status_of
from dragoman.rpc.methods import SUBMITS, SWEEP
from dragoman.rpc.server import ServerConfig, TlsConfig
from dragoman.source_policy import EVERYTHING, SourcePolicy, Sources
from google.protobuf.descriptor import Descriptor
from hooked_models.locations import MODEL, Locations
from hooked_models.sources import list_allowed
from sae_trainer.coder_source import open_folder

from tests.support.scripted_http import Reply, scripted

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------- sources


@pytest.fixture
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder that may be read; beside it lies a secret."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "text.txt").write_text("text")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("key")
    told = {"DRAGOMAN_SOURCE_ROOTS": f"{folder}:{tmp_path}/more", "DRAGOMAN_HUB_ALLOW": "EleutherAI/*, me/one"}
    monkeypatch.setattr(Sources, "policy", SourcePolicy.from_env(told))
    return folder


def test_paths_outside_of_the_roots_are_refused_whether_they_exist_or_not(allowed: Path) -> None:
    assert [file.name for file in list_allowed(str(allowed), None, field_name="source")] == ["text.txt"]
    (allowed / "link").symlink_to(allowed.parent / "secret")
    beside = allowed.parent / "allowed-not"
    beside.mkdir()
    secret = allowed.parent / "secret"
    for path in (secret, allowed.parent / "none", allowed / ".." / "secret", allowed / "link", beside):
        for read in (
            lambda p: list_allowed(p, None, field_name="source"),
            lambda p: Locations(allowed / "cache", None).locate(p, None, MODEL, "source"),
            lambda p: open_folder(p, None, None),
        ):
            with pytest.raises(InvalidSpec, match="in none of the folders that this server may read") as caught:
                read(str(path))
            assert "key.txt" not in caught.value.message
            assert "did you mean" not in caught.value.message


def test_a_link_inside_of_an_allowed_folder_leads_nowhere_else(allowed: Path) -> None:
    (allowed / "innocent.txt").symlink_to(allowed.parent / "secret" / "key.txt")
    with pytest.raises(InvalidSpec, match="in none of the folders"):
        list_allowed(str(allowed), None, field_name="source")
    with pytest.raises(InvalidSpec, match="in none of the folders"):
        open_folder(str(allowed), None, None).read("innocent.txt")


@pytest.mark.parametrize("prefix", ["", "a", "artifacts/tokens/", "llm-cache/00/", "receipts/x", "logs"])
def test_what_dragoman_keeps_in_its_bucket_is_no_source(prefix: str) -> None:
    with pytest.raises(InvalidSpec, match="covers objects that Dragoman keeps"):
        EVERYTHING.check_prefix(prefix, "source")
    EVERYTHING.check_prefix("corpora/a", "source")


def test_only_repositories_that_the_operator_allows_are_fetched(allowed: Path) -> None:
    for check in (
        lambda repo: Locations(allowed / "cache", None).locate(repo, None, MODEL, "model.source"),
        lambda repo: open_folder(repo, None, None),
    ):
        with pytest.raises(InvalidSpec, match="no repository of the model hub that this server may fetch"):
            check("somebody/else")
    Sources.policy.check_repository("EleutherAI/pythia-14m", "model.source")
    with pytest.raises(InvalidSpec):
        SourcePolicy.from_env({}).check_repository("EleutherAI/pythia-14m", "model.source")
    with pytest.raises(InvalidSpec):
        SourcePolicy.from_env({}).check_path(allowed, "source")
    with pytest.raises(FailedPrecondition, match="expected absolute folders"):
        SourcePolicy.from_env({"DRAGOMAN_SOURCE_ROOTS": "data"})


def _fields(message: Descriptor, seen: set[str]) -> Iterator[str]:
    for field in message.fields:
        yield field.name
        if field.message_type is not None and field.message_type.full_name not in seen:
            seen.add(field.message_type.full_name)
            yield from _fields(field.message_type, seen)


def test_no_spec_names_an_address() -> None:
    names = {n for submit in (*SUBMITS.values(), SWEEP) for n in _fields(submit.spec.DESCRIPTOR, set())}
    assert len(names) > 100
    words = {"url", "uri", "address", "endpoint", "host", "port", "proxy", "webhook", "callback"}
    assert {name for name in names if words & set(name.split("_"))} == set()


def _unbounded(node: Any, at: str = "") -> Iterator[str]:
    """Names of the whole numbers in a JSON schema that may be as large as anybody likes."""
    if isinstance(node, dict):
        if node.get("type") == "integer" and not {"maximum", "exclusiveMaximum", "const", "enum"} & set(node):
            yield at
        for name, below in node.items():
            yield from _unbounded(below, at if name in _KEYWORDS else f"{at}.{name}")
    elif isinstance(node, list):
        for below in node:
            yield from _unbounded(below, at)


_KEYWORDS = {"anyOf", "allOf", "oneOf", "properties", "$defs"}


def test_every_number_of_a_spec_has_a_bound() -> None:
    kinds = [import_module(f"{service}.kinds") for service in ("activation", "sae_trainer", "explainer", "scorer")]
    found = [Spec.__subclasses__(), *(model.__subclasses__() for model in Spec.__subclasses__())]
    models = {model for each in found for model in each if model.__module__.split(".")[0] in _SERVICES}
    assert len(kinds) == 4
    assert len(models) > 12
    unbounded = {f"{m.__name__}{name}" for m in models for name in _unbounded(m.model_json_schema())}
    # Numbers of latents are held against the coder's size, by every kind that takes some.
    assert {name for name in unbounded if not name.endswith(".items")} == set()


_SERVICES = {"activation", "sae_trainer", "explainer", "scorer", "hooked_models"}


def test_redirects_of_an_engine_are_not_followed() -> None:
    with scripted(lambda *_: Reply(body=b"{}")) as inside:
        redirect = Reply(307, headers={"Location": f"{inside.url}/latest/meta-data"})
        with scripted(lambda *_: redirect) as engine:
            client = LLMClient(engine.url, "m", retry=RetryPolicy(attempts=1))
            with client, pytest.raises(UserTaskError, match="307"):
                list(client.complete_many([ChatPrompt.of("hello")]))
            assert len(engine.seen) == 1
        assert inside.seen == []


# ----------------------------------------------------------------- exposure


@pytest.mark.parametrize(
    ("address", "asks", "tls", "flags", "expected"),
    [
        ("127.0.0.1:1", False, False, "", "would ask nobody who calls"),
        ("127.0.0.1:1", False, False, "plaintext", "would ask nobody who calls"),
        ("127.0.0.1:1", False, False, "insecure", ""),
        ("[::1]:1", False, False, "insecure", ""),
        ("localhost:1", True, False, "", ""),
        ("0.0.0.0:1", False, False, "insecure", "for loopback only"),
        ("0.0.0.0:1", False, True, "insecure plaintext", "for loopback only"),
        ("127.0.0.1.example.org:1", False, False, "insecure", "for loopback only"),
        (":1", False, False, "insecure", "for loopback only"),
        ("10.0.0.1:1", True, False, "insecure", "in plain text"),
        ("10.0.0.1:1", True, False, "plaintext", ""),
        ("10.0.0.1:1", True, True, "", ""),
    ],
)
def test_insecure_servers_must_be_asked_for_by_name(
    address: str, asks: bool, tls: bool, flags: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    pem = TlsConfig(ROOT / "cert", ROOT / "key") if tls else None
    config = ServerConfig(address, tls=pem, principals=Principals.of_token("x") if asks else None)
    told = {name: name in flags.split() for name in ("insecure", "plaintext")}
    if expected:
        with pytest.raises(FailedPrecondition, match=expected):
            check_exposure(config, **told)
        return
    with caplog.at_level(logging.WARNING):
        check_exposure(config, **told)
    assert ("INSECURE" in caplog.text) == (not asks)
    assert ("PLAINTEXT" in caplog.text) == (asks and not tls and not is_loopback(address.rpartition(":")[0]))


# ------------------------------------------------------------------ secrets


def test_secrets_of_the_environment_reach_no_status_and_no_failure() -> None:
    told = {
        "DRAGOMAN_S3_SECRET_KEY": "store-secret-1",
        "EXPLAINER_NLA_API_KEY": "nla-secret-1",
        "HF_TOKEN": "hub-secret-1",
        "DRAGOMAN_NATS_URL": "nats://me:nats-secret-1@host:4222,nats://me:nats-secret-2@other:4222",
        "DRAGOMAN_LLM_URL": "https://me:llm-secret-1@engine/v1",
    }
    register_secrets(told)
    for secret in ("store-secret-1", "nla-secret-1", "hub-secret-1", "nats-secret-1", "nats-secret-2", "llm-secret-1"):
        for error in (
            Unavailable(f"it said {secret}"),
            InvalidSpec(f"it said {secret}", field="source"),
            ValueError(f"it said {secret}"),
        ):
            assert secret not in str(status_of(error, debug=True))
            failure = failure_of(error, "PLAN_FAILED")
            assert secret not in failure.message + failure.debug
            assert "[secret]" in failure.message


def test_answers_are_kept_for_each_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = request_key("completions", {"prompt": "x"})
    monkeypatch.setattr(Work, "namespace", "vision")
    assert request_key("completions", {"prompt": "x"}) != shared


def test_an_older_reader_refuses_what_is_not_everybodys() -> None:
    shared = Manifest("probe-" + "0" * 32, "probe", 1, {}, {}, [], {})
    assert json.loads(manifest_to_json(shared))["schema"] == 1
    assert "namespace" not in json.loads(manifest_to_json(shared))
    hers = manifest_to_json(replace(shared, namespace="vision"))
    assert json.loads(hers)["schema"] == 2
    assert manifest_from_json(hers).namespace == "vision"


# ------------------------------------------------------------------- pickle


_PICKLING = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve"}
_SUSPICIOUS = ("ickle", "dill", "joblib", "shelve", ".load(")


def _unpickles(tree: ast.Module) -> Iterator[str]:
    """What in a module could read a pickle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from {name.split(".")[0] for name in names} & _PICKLING
        if isinstance(node, ast.Call):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            called = ast.unparse(node.func)
            if called in {"torch.load", "torch.serialization.load"} and keywords.get("weights_only") != "True":
                yield called
            if keywords.get("allow_pickle", "False") != "False" or called.endswith("read_pickle"):
                yield f"{called}, pickles allowed"


def test_nothing_reads_a_pickle() -> None:
    for bad in ("import dill", "from pickle import loads", "torch.load(f)", "np.load(f, allow_pickle=x)"):
        assert list(_unpickles(ast.parse(bad)))
    paths = [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
    assert len(paths) > 200
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths}
    suspects = {path: text for path, text in texts.items() if any(word in text for word in _SUSPICIOUS)}
    found = {path: list(_unpickles(ast.parse(text))) for path, text in suspects.items()}
    assert suspects
    assert {path: what for path, what in found.items() if what} == {}
