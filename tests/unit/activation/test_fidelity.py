"""The fidelity kind over a tiny model: coders whose numbers are known beforehand, and the whole model's own loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from activation.core.comparison import predicted_positions
from activation.core.fidelity import MEASURES
from activation.spec import FidelitySpec, TokensSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.errors import InvalidSpec, UserTaskError
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import AnyKind
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache.token_rows import TokenRows
from sparse_coders import TopKCoder, save
from transformers import AutoModelForCausalLM

from tests.support.local_run import reversed_order, run_local
from tests.support.tiny import tiny_model

Kinds = dict[str, AnyKind]
D = 32


@pytest.fixture(scope="module")
def tokens(
    kinds: Kinds, corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FolderArtifact:
    spec = TokensSpec(source=str(corpus), tokenizer=str(tokenizer_folder), ctx_len=32, bos="always", test_fraction=0.4)
    return run_local(kinds["tokens"], spec, {}, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with weights so large that every token's prediction depends on what came before."""
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    folder = tmp_path_factory.mktemp("lively")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def make_coder(kinds: Kinds, lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FolderArtifact]:
    """A function that commits a coder as the trainer does; `statistics` are added to its manifest's."""
    model = (
        kinds["fidelity"]
        .resolve(FidelitySpec.model_validate({"tokens_id": "t", "coder_ids": ["c"], "model": {"source": str(lively)}}))
        .model.model_dump(mode="json")
    )
    root = tmp_path_factory.mktemp("coders")
    made: list[str] = []

    def make(coder: TopKCoder, **statistics: Any) -> FolderArtifact:
        folder = root / str(len(made))
        save(coder, folder)
        names = ("cfg.json", "sae.safetensors")
        parts = [PartInfo(n, n, (folder / n).stat().st_size, file_sha256(folder / n)) for n in names]
        given: Any = {
            "d_model": coder.d_model, "d_sae": coder.d_sae, "k": coder.k, "hookpoint": "model.layers.1",
            "model": model, **statistics,
        }  # fmt: skip
        made.append(f"coder-{len(made):032x}")
        manifest = Manifest(made[-1], "coder", 1, {}, {}, parts, given)
        (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))
        return FolderArtifact(folder)

    return make


def _perfect(d_model: int = D, k: int | None = None, **kind: bool) -> TopKCoder:
    """Reconstructs everything: one latent for each coordinate and sign. Less where k is below d_model."""
    coder = TopKCoder(d_model, 2 * d_model, k or d_model, **kind)
    with torch.no_grad():
        coder.W_enc.copy_(torch.cat([torch.eye(d_model), -torch.eye(d_model)]))
        coder.W_dec.copy_(coder.W_enc)
    return coder


def _constant(value: torch.Tensor | float) -> TopKCoder:
    """Gives the same vector for every token."""
    coder = TopKCoder(D, 4, 1)
    with torch.no_grad():
        coder.b_dec.copy_(torch.as_tensor(value).expand(D))
    return coder


def _rough() -> TopKCoder:
    """Something between all and nothing."""
    return _perfect(k=6)


def _skip_transcoder() -> TopKCoder:
    """Reads one thing and gives another, part of it by its skip connection."""
    coder = _perfect(k=6, transcoder=True, skip=True)
    assert coder.W_skip is not None
    with torch.no_grad():
        coder.W_skip.copy_(torch.randn(D, D, generator=torch.Generator().manual_seed(3)) / 10)
    return coder


def _run(
    kinds: Kinds, tokens: FolderArtifact, lively: Path, coders: list[FolderArtifact], folder: Path, **fields: Any
) -> FolderArtifact:
    order = fields.pop("order", None)
    given = {"tokens_id": tokens.id, "coder_ids": [c.id for c in coders], "rows_per_task": 7, "batch_size": 3}
    spec = FidelitySpec.model_validate({**given, "model": {"source": str(lively)}, **fields})
    inputs = {"tokens": tokens, **{f"coder.{i}": coder for i, coder in enumerate(coders)}}
    return run_local(kinds["fidelity"], spec, inputs, folder, order=order)


def _records(artifact: FolderArtifact) -> list[dict[str, Any]]:
    return pq.read_table(artifact.download("fidelity.parquet")).to_pylist()


def _test_rows(tokens: FolderArtifact) -> tuple[torch.Tensor, np.ndarray]:
    rows = TokenRows(tokens)
    numbers = np.arange(rows.train_row_count, rows.row_count)
    return torch.from_numpy(rows.tokens(numbers)).long(), rows.documents(numbers)


@torch.no_grad()
def _loss(lively: Path, ids: torch.Tensor, documents: np.ndarray, edit: Any = None) -> float:
    """What transformers itself says of the predicted positions, with a layer's output edited by a plain hook."""
    model: Any = AutoModelForCausalLM.from_pretrained(lively).eval()
    if edit is not None:
        model.model.layers[1].register_forward_hook(lambda _m, _a, output: edit(output))
    labels = torch.full_like(ids, -100)
    predicted = torch.from_numpy(predicted_positions(documents))
    labels[:, 1:][predicted[:, :-1]] = ids[:, 1:][predicted[:, :-1]]
    return float(model(input_ids=ids, labels=labels).loss)


@pytest.fixture(scope="module")
def mean(tokens: FolderArtifact, lively: Path) -> torch.Tensor:
    """Mean of layer 1's output over the counted tokens of the test split."""
    ids, documents = _test_rows(tokens)
    model: Any = AutoModelForCausalLM.from_pretrained(lively).eval()
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[2]
    return states[torch.from_numpy(documents >= 0)].double().mean(0).float()


@pytest.fixture(scope="module")
def coders(make_coder: Callable[..., FolderArtifact], mean: torch.Tensor) -> dict[str, FolderArtifact]:
    return {
        "perfect": make_coder(_perfect()),
        "zero": make_coder(_constant(0.0)),
        "mean": make_coder(_constant(mean)),
        "rough": make_coder(_rough()),
        "transcoder": make_coder(
            _skip_transcoder(),
            hookpoint="model.layers.1.mlp.input",
            output_hookpoint="model.layers.1.mlp",
            d_out=D,
            transcoder=True,
        ),
    }


@pytest.fixture(scope="module")
def artifact(
    kinds: Kinds,
    tokens: FolderArtifact,
    lively: Path,
    coders: dict[str, FolderArtifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> FolderArtifact:
    return _run(kinds, tokens, lively, list(coders.values()), tmp_path_factory.mktemp("fidelity"))


@pytest.fixture(scope="module")
def found(artifact: FolderArtifact, coders: dict[str, FolderArtifact]) -> dict[str, dict[str, Any]]:
    records = _records(artifact)
    assert [r["coder"] for r in records] == [c.id for c in coders.values()]
    return dict(zip(coders, records, strict=True))


def test_cross_entropies_are_those_that_transformers_gives(
    found: dict[str, dict[str, Any]], tokens: FolderArtifact, lively: Path, mean: torch.Tensor
) -> None:
    ids, documents = _test_rows(tokens)
    counted = torch.from_numpy(documents >= 0)[:, :, None]
    record = found["rough"]
    assert record["ce_original"] == pytest.approx(_loss(lively, ids, documents), abs=1e-5)
    zero = _loss(lively, ids, documents, lambda output: torch.where(counted, 0.0, output))
    assert record["ce_zero"] == pytest.approx(zero, abs=1e-5)
    by_mean = _loss(lively, ids, documents, lambda output: torch.where(counted, mean, output))
    assert record["ce_mean"] == pytest.approx(by_mean, abs=1e-5)
    rough = _rough()
    coded = _loss(
        lively, ids, documents, lambda output: torch.where(counted, rough(output.flatten(0, 1)).view_as(output), output)
    )
    assert record["ce_coder"] == pytest.approx(coded, abs=1e-5)
    assert record["predicted_count"] == predicted_positions(documents).sum()
    assert record["token_count"] == (documents >= 0).sum() > record["predicted_count"]
    assert min(abs(record["ce_zero"] - record["ce_original"]), abs(zero - by_mean)) > 0.01, "or this shows nothing"


def test_a_perfect_coder_loses_nothing(found: dict[str, dict[str, Any]]) -> None:
    record = found["perfect"]
    for arm in ("zero", "mean"):
        assert record[f"ce_recovered_{arm}"] == pytest.approx(1.0, abs=1e-4)
        assert record[f"kl_recovered_{arm}"] == pytest.approx(1.0, abs=1e-4)
    assert 0.0 <= record["kl_coder"] < 1e-6
    assert record["fvu"] < 1e-10
    assert record["ce_increase"] == pytest.approx(0.0, abs=1e-6)


def test_a_coder_that_gives_zero_is_zero_ablation_and_one_that_gives_the_mean_is_mean_ablation(
    found: dict[str, dict[str, Any]],
) -> None:
    for arm in ("zero", "mean"):
        record = found[arm]
        assert record["ce_coder"] == pytest.approx(record[f"ce_{arm}"], rel=1e-6)
        assert record["kl_coder"] == pytest.approx(record[f"kl_{arm}"], rel=1e-6)
        assert record[f"ce_recovered_{arm}"] == pytest.approx(0.0, abs=1e-5)
        assert record[f"kl_recovered_{arm}"] == pytest.approx(0.0, abs=1e-5)
    assert found["mean"]["fvu"] == pytest.approx(1.0, rel=1e-6)
    assert found["zero"]["fvu"] > 1.0


def test_the_ratios_are_those_of_the_definition_and_lie_in_their_intervals(found: dict[str, dict[str, Any]]) -> None:
    record = found["rough"]
    for arm in ("zero", "mean"):
        lost = record[f"ce_{arm}"] - record["ce_original"]
        expected = (record[f"ce_{arm}"] - record["ce_coder"]) / lost
        assert record[f"ce_recovered_{arm}"] == pytest.approx(expected)
        expected = (record[f"kl_{arm}"] - record["kl_coder"]) / record[f"kl_{arm}"]
        assert record[f"kl_recovered_{arm}"] == pytest.approx(expected)
        assert 0.0 < expected < 1.0
    for name in ("ce_original", "ce_coder", "kl_coder", "fvu", "kl_recovered_mean", "ce_increase"):
        assert record[f"{name}_low"] < record[name] < record[f"{name}_high"], name


def test_a_transcoder_stands_for_its_modules_output_and_reads_its_input(
    found: dict[str, dict[str, Any]], tokens: FolderArtifact, lively: Path
) -> None:
    ids, documents = _test_rows(tokens)
    model: Any = AutoModelForCausalLM.from_pretrained(lively).eval()
    counted, coder = torch.from_numpy(documents >= 0), _skip_transcoder()
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def stand_in(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        given = coder(args[0].flatten(0, 1)).view_as(output)
        pairs.append((output[counted], given[counted]))
        return torch.where(counted[:, :, None], given, output)

    model.model.layers[1].mlp.register_forward_hook(stand_in)
    labels = torch.full_like(ids, -100)
    predicted = torch.from_numpy(predicted_positions(documents))[:, :-1]
    labels[:, 1:][predicted] = ids[:, 1:][predicted]
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=labels).loss)
    record = found["transcoder"]
    assert record["ce_coder"] == pytest.approx(loss, abs=1e-5)
    truth, given = (values.double() for values in pairs[0])
    fvu = float((truth - given).square().sum() / (truth - truth.mean(0)).square().sum())
    assert record["fvu"] == pytest.approx(fvu, rel=1e-5)
    assert (record["hookpoint"], record["output_hookpoint"]) == ("model.layers.1.mlp.input", "model.layers.1.mlp")
    assert record["ce_zero"] != found["rough"]["ce_zero"], "another hookpoint has another ablation"


def test_statistics_say_what_was_measured_and_on_what(
    artifact: FolderArtifact, tokens: FolderArtifact, found: dict[str, dict[str, Any]]
) -> None:
    statistics: Any = artifact.manifest.statistics
    rows = TokenRows(tokens)
    assert statistics["tokens_id"] == tokens.id
    assert statistics["rows"] == [[rows.train_row_count, rows.row_count]]
    assert statistics["row_count"] == rows.row_count - rows.train_row_count
    assert statistics["weights"].startswith("trained weights")
    rough = statistics["coders"][found["rough"]["coder"]]
    assert rough["fvu"] == found["rough"]["fvu"]
    assert rough["hookpoint"] == "model.layers.1"
    assert statistics["token_count"] == found["rough"]["token_count"]
    assert any("not known whether it was trained on these documents" in note for note in statistics["notes"])


def test_rows_add_up_to_the_coders_numbers(artifact: FolderArtifact, found: dict[str, dict[str, Any]]) -> None:
    table = pq.read_table(artifact.download("rows.parquet")).to_pandas()
    first, end = artifact.manifest.statistics["rows"][0]  # type: ignore[index]
    assert table["row"].tolist() == [row for row in range(first, end) for _ in found]
    assert table["coder"].tolist() == list(range(len(found))) * (end - first)
    for i, record in enumerate(found.values()):
        mine = table[table["coder"] == i]
        assert mine["kl_coder"].sum() / mine["predicted_count"].sum() == pytest.approx(record["kl_coder"], rel=1e-12)
        assert mine["squared_error"].sum() / mine["squared_distance"].sum() == pytest.approx(record["fvu"], rel=1e-12)


def test_bytes_do_not_depend_on_the_order_of_tasks_and_numbers_hardly_on_the_size_of_batches(
    kinds: Kinds,
    tokens: FolderArtifact,
    lively: Path,
    coders: dict[str, FolderArtifact],
    artifact: FolderArtifact,
    found: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    everything = list(coders.values())
    again = _run(kinds, tokens, lively, everything, tmp_path / "again", order=reversed_order)
    assert [p.sha256 for p in again.manifest.parts] == [p.sha256 for p in artifact.manifest.parts]
    assert again.manifest.statistics == artifact.manifest.statistics
    other = _run(kinds, tokens, lively, everything, tmp_path / "other", batch_size=8, rows_per_task=16)
    for record, mine in zip(_records(other), found.values(), strict=True):
        for name in ("ce_original", "ce_coder", "ce_zero", "ce_mean", "kl_coder", "kl_zero", "kl_mean", "fvu"):
            assert record[name] == pytest.approx(mine[name], rel=1e-5, abs=1e-6), name


def test_one_coder_alone_has_the_numbers_that_it_has_among_others(
    kinds: Kinds,
    tokens: FolderArtifact,
    lively: Path,
    coders: dict[str, FolderArtifact],
    found: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    alone = _records(_run(kinds, tokens, lively, [coders["rough"]], tmp_path / "alone"))[0]
    for name in MEASURES:
        assert alone[name] == pytest.approx(found["rough"][name], rel=1e-6, abs=1e-7), name


def test_weights_that_are_not_trained_are_called_so(
    kinds: Kinds, tokens: FolderArtifact, lively: Path, make_coder: Callable[..., FolderArtifact], tmp_path: Path
) -> None:
    model = {"source": str(lively), "weights": "control", "weights_seed": 3}
    trained_on = kinds["fidelity"].resolve(
        FidelitySpec.model_validate({"tokens_id": "t", "coder_ids": ["c"], "model": model})
    )
    coder = make_coder(_perfect(), model=trained_on.model.model_dump(mode="json"))
    one = _run(kinds, tokens, lively, [coder], tmp_path / "one", model=model)
    statistics: Any = one.manifest.statistics
    assert "noise, seed 3" in statistics["weights"]
    assert any("'control', not trained" in note for note in statistics["notes"])
    record = _records(one)[0]
    assert record["kl_coder"] < 1e-6, "every arm sees the same noise"
    assert record["kl_zero"] > 1e-3
    other = _run(kinds, tokens, lively, [coder], tmp_path / "other", model=model, batch_size=8, rows_per_task=20)
    assert _records(other)[0]["ce_original"] == pytest.approx(record["ce_original"], rel=1e-6)


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ({"split": "train", "row_count": 5}, 0),
        ({"split": "test", "row_count": 5}, 5),
        ({"split": "all", "row_count": 10**6}, "all"),
        ({"tokens_id": f"tokens-{'9' * 32}", "split": "all", "row_count": 5}, None),
    ],
)
def test_rows_that_a_coder_was_trained_on_are_counted(
    kinds: Kinds,
    tokens: FolderArtifact,
    lively: Path,
    make_coder: Callable[..., FolderArtifact],
    tmp_path: Path,
    trained: dict[str, Any],
    expected: Any,
) -> None:
    coder = make_coder(_perfect(), **{"tokens_id": tokens.id, **trained})
    run = _run(kinds, tokens, lively, [coder], tmp_path / "a", max_tokens=200)
    statistics: Any = run.manifest.statistics
    wanted = statistics["row_count"] if expected == "all" else expected
    assert statistics["row_count"] > 5
    assert statistics["trained_row_count"] == {coder.id: wanted}
    assert any("were trained on" in note for note in statistics["notes"]) == bool(wanted)


# ------------------------------------------------------------------ refusals


def _info(artifact: FolderArtifact) -> InputInfo:
    manifest = artifact.manifest
    return InputInfo(manifest.id, manifest.kind, manifest.spec, manifest, manifest.inputs)


def _refusal(kinds: Kinds, tokens: FolderArtifact, lively: Path, coders: list[FolderArtifact], **fields: Any) -> Any:
    given = {"tokens_id": tokens.id, "coder_ids": [c.id for c in coders], "model": {"source": str(lively)}, **fields}
    kind = kinds["fidelity"]
    spec = kind.resolve(FidelitySpec.model_validate(given))
    inputs = {"tokens": _info(tokens), **{f"coder.{i}": _info(coder) for i, coder in enumerate(coders)}}
    with pytest.raises(InvalidSpec) as caught:
        kind.check(spec, inputs)
    return caught.value


def test_what_does_not_fit_is_refused_in_its_field(
    kinds: Kinds,
    tokens: FolderArtifact,
    lively: Path,
    coders: dict[str, FolderArtifact],
    make_coder: Callable[..., FolderArtifact],
) -> None:
    good = coders["perfect"]
    wide = _refusal(kinds, tokens, lively, [good, make_coder(_perfect(16))])
    assert wide.violations[0].field == "coder_ids[1]"
    assert "takes vectors of 16, model.layers.1 of LlamaForCausalLM has 32" in wide.message
    elsewhere = _refusal(kinds, tokens, lively, [make_coder(_perfect(), hookpoint="model.layers.9")])
    assert elsewhere.violations[0].field == "coder_ids[0]"
    assert "no hookpoint 'model.layers.9'" in elsewhere.message
    kind = _refusal(kinds, tokens, lively, [good, tokens])
    assert kind.violations[0].field == "coder_ids[1]"
    assert kind.reason == "WRONG_KIND"
    swapped = _refusal(kinds, good, lively, [good])
    assert swapped.violations[0].field == "tokens_id"
    weights = {"source": str(lively), "weights": "rerandomized_incl_emb"}
    assert _refusal(kinds, tokens, lively, [good], model=weights).reason == "CODER_MISMATCH"


def test_a_split_without_rows_is_refused(
    kinds: Kinds,
    corpus: Path,
    tokenizer_folder: Path,
    lively: Path,
    coders: dict[str, FolderArtifact],
    tmp_path: Path,
) -> None:
    spec = TokensSpec(source=str(corpus), tokenizer=str(tokenizer_folder), ctx_len=32, bos="always", test_fraction=0.0)
    no_test = run_local(kinds["tokens"], spec, {}, tmp_path / "tokens")
    refused = _refusal(kinds, no_test, lively, [coders["perfect"]])
    assert (refused.reason, refused.violations[0].field) == ("EMPTY_SPLIT", "split")


def test_a_coder_that_overflows_stops_the_job_and_is_named(
    kinds: Kinds, tokens: FolderArtifact, lively: Path, make_coder: Callable[..., FolderArtifact], tmp_path: Path
) -> None:
    coder = _perfect()
    with torch.no_grad():
        coder.W_dec.mul_(3e38)
    broken = make_coder(coder)
    with pytest.raises(UserTaskError, match=f"{broken.id} is NaN or infinite"):
        _run(kinds, tokens, lively, [broken], tmp_path / "a")
