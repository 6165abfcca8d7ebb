"""What is encoded comes back: varints, activations, entries, example records, pools; and damage is noticed."""

import struct
import zlib
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from latent_cache import ExampleRecord, SilentPool
from latent_cache.entry_codec import BLOCK_ENTRIES, EntryEncoder, decode_entries, encode_entries, encode_latents
from latent_cache.example_record import decode_examples, empty_record, encode_examples
from latent_cache.example_records import ExampleRecords, encode_records
from latent_cache.scaled import ActivationDtype, decode_activations, encode_activations
from latent_cache.shard_file import CONTENT_START, ShardWriter, shard_header
from latent_cache.silent_pool import read_silent, silent_bytes
from latent_cache.tables import position_edges
from latent_cache.varint import decode_varints, encode_varints
from safetensors.numpy import load, load_file

DTYPES: list[ActivationDtype] = ["float16", "float32"]
positive = st.floats(2.0**-126, 2.0**127, width=32)


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 300), max_size=50))
def test_varints_come_back(values: list[int]) -> None:
    data = encode_varints(np.asarray(values, np.int64))
    assert len(data) == sum(max(1, -(-value.bit_length() // 7)) for value in values)
    assert decode_varints(data, len(values)).tolist() == values


def test_varints_that_are_not_so_many_are_refused() -> None:
    data = encode_varints(np.asarray([1, 300], np.int64))
    for wrong, count in ((data, 1), (data, 3), (data[:-1], 2), (data[:0], 1), (data[:1], 0)):
        with pytest.raises(ValueError, match="expected"):
            decode_varints(wrong, count)
    with pytest.raises(ValueError, match="at most 9"):
        decode_varints(np.asarray([0x80] * 9 + [1], np.uint8), 1)
    with pytest.raises(ValueError, match="negative"):
        encode_varints(np.asarray([-1]))


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=positive))
def test_float16_keeps_its_errors_and_every_firing(values: np.ndarray) -> None:
    maximum = float(values.max())
    found = decode_activations(encode_activations(values, maximum, "float16"), maximum, "float16")
    assert (found > 0).all()
    assert found.max() == values.max()
    exact, error = values.astype(np.float64), np.abs(found.astype(np.float64) - values)
    normal = exact >= maximum * 2.0**-14
    assert (error[normal] <= exact[normal] * 2.0**-11 * (1 + 1e-6)).all()
    assert (error[~normal] <= maximum * 2.0**-24).all()


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e5, 3e38])
def test_float16_never_overflows_or_falls_silent(scale: float) -> None:
    values = np.asarray([scale, scale * 1e-3, max(scale * 1e-12, 2.0**-149)], np.float32)
    found = decode_activations(encode_activations(values, float(values[0]), "float16"), float(values[0]), "float16")
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert found[0] == values[0]


@pytest.mark.parametrize("wrong", [0.0, -1.0, 2.5, np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_did_not_fire_is_not_stored(wrong: float, dtype: ActivationDtype) -> None:
    with pytest.raises(ValueError, match="expected above 0"):
        encode_activations(np.asarray([1.0, wrong], np.float32), 2.0, dtype)


@given(st.lists(st.tuples(st.integers(0, 2**40), positive), max_size=60), st.sampled_from(DTYPES))
def test_entries_come_back(found: list[tuple[int, float]], dtype: ActivationDtype) -> None:
    places = np.unique(np.asarray([place for place, _ in found], np.int64))
    values = np.asarray([value for _, value in found], np.float32)[: len(places)]
    maximum = float(values.max(initial=0))
    data = encode_entries(places, values, maximum, dtype)
    back, activations = decode_entries(data, len(places), maximum, dtype)
    np.testing.assert_array_equal(back, places)
    assert (len(data) == 0) == (len(places) == 0)
    if dtype == "float32":
        np.testing.assert_array_equal(activations, values)
    else:
        assert (activations > 0).all()


@pytest.mark.parametrize("count", [1, BLOCK_ENTRIES - 1, BLOCK_ENTRIES, BLOCK_ENTRIES + 1, 3 * BLOCK_ENTRIES])
def test_bytes_of_entries_do_not_depend_on_the_pieces_they_come_in(count: int) -> None:
    rng = np.random.Generator(np.random.PCG64(count))
    places = 2**31 + np.cumsum(rng.integers(1, 2000, count))
    values = rng.lognormal(0, 3, count).astype(np.float32)
    maximum = float(values.max())
    whole = encode_entries(places, values, maximum, "float16")
    encoder = EntryEncoder(maximum, "float16")
    cuts = np.sort(rng.integers(0, count, 7))
    pieces = zip(np.split(places, cuts), np.split(values, cuts), strict=True)
    assert b"".join(encoder.add(*piece) for piece in pieces) + encoder.finish() == whole
    back, _ = decode_entries(whole, count, maximum, "float16")
    np.testing.assert_array_equal(back, places)


def test_any_flipped_bit_of_entries_is_noticed() -> None:
    data = encode_entries(np.asarray([3, 500, 70_000]), np.asarray([1, 2, 3], np.float32), 3.0, "float16")
    for byte in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[byte] ^= 1 << bit
            with pytest.raises(ValueError, match=r"damaged|take|hold|end before"):
                decode_entries(bytes(damaged), 3, 3.0, "float16")
    for count in (0, 2, 4):
        with pytest.raises(ValueError, match=r"damaged|take|hold"):
            decode_entries(data, count, 3.0, "float16")
    with pytest.raises(ValueError, match="end before entry 0"):
        decode_entries(data[:5], 3, 3.0, "float16")


def _varints(values: list[int]) -> bytes:
    """Seven bits a byte, written the plain way."""
    data = bytearray()
    for value in values:
        while value >= 0x80:
            data.append(value & 0x7F | 0x80)
            value >>= 7
        data.append(value)
    return bytes(data)


def _several(rng: np.random.Generator, counts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    places = np.concatenate([np.cumsum(rng.integers(1, 70_000, count)) for count in counts])
    values = rng.lognormal(0, 2, len(places)).astype(np.float32)
    maxima = np.asarray([values[a:b].max(initial=0) for a, b in pairwise(offsets)], np.float64)
    return offsets, places, values, maxima


@pytest.mark.parametrize("counts", [[0], [3, 0, 0, 1, 40], [0, BLOCK_ENTRIES + 2, 1, BLOCK_ENTRIES, 0]])
def test_entries_of_several_latents_are_written_as_documented(counts: list[int]) -> None:
    offsets, places, values, maxima = _several(np.random.Generator(np.random.PCG64(7)), counts)
    encoded = encode_latents(places, values, offsets, maxima, "float32")
    for data, maximum, (low, high) in zip(encoded, maxima, pairwise(offsets), strict=True):
        expected, last = b"", 0
        for first in range(low, high, BLOCK_ENTRIES):
            here = places[first : min(first + BLOCK_ENTRIES, high)].tolist()
            gaps = _varints([b - a for a, b in pairwise([last, *here])])
            block = gaps + values[first : first + len(here)].tobytes()
            length = len(gaps).to_bytes(4, "little")
            expected += length + zlib.crc32(length + block).to_bytes(4, "little") + block
            last = here[-1]
        assert data == expected
        assert data == encode_entries(places[low:high], values[low:high], float(maximum), "float32")


def test_an_activation_above_its_own_latents_maximum_is_refused() -> None:
    offsets, places, values, maxima = _several(np.random.Generator(np.random.PCG64(8)), [4, 5])
    values[2] = 2 * maxima[0]
    with pytest.raises(ValueError, match="at most the maximum"):
        encode_latents(places, values, offsets, np.asarray([maxima[0], 4 * maxima.max()]), "float16")


def test_places_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        encode_entries(np.asarray([5, 4]), np.ones(2, np.float32), 1.0, "float32")


@st.composite
def records(draw: st.DrawFn) -> ExampleRecord:
    """Records of any shape; activations that float16 holds exactly."""
    count, length = draw(st.integers(0, 12)), draw(st.sampled_from([1, 32]))
    rng = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    fires = rng.random((count, length)) < 0.2
    fires[:, 0] = True
    vocab = draw(st.sampled_from([100, 1 << 16, 1 << 17]))
    marks = [rng.random(count) < 0.5 for _ in range(3)]
    return ExampleRecord(
        latent=draw(st.integers(0, 2**31 - 1)), window_length=length, maximum=8.0,
        rows=np.sort(rng.integers(0, 2**31, count)), starts=rng.integers(0, 2**17, count).astype(np.int32),
        documents=rng.integers(0, 2**31 - 1, count).astype(np.int32), test=marks[0], top=marks[1], sampled=marks[2],
        deciles=rng.integers(0, 10, count).astype(np.int32),
        tokens=rng.integers(0, vocab, (count, length)).astype(np.int32),
        first_activations=np.concatenate([[0], np.cumsum(fires.sum(1))]).astype(np.int64),
        offsets=np.nonzero(fires)[1].astype(np.int32),
        activations=(rng.integers(1, 65, int(fires.sum())) / 8).astype(np.float32),
    )  # fmt: skip


@given(records(), st.sampled_from(DTYPES))
def test_records_come_back(record: ExampleRecord, dtype: ActivationDtype) -> None:
    data = encode_examples(record, dtype)
    back = decode_examples(data)
    for f in fields(ExampleRecord):
        np.testing.assert_array_equal(getattr(back, f.name), getattr(record, f.name), err_msg=f.name)
    assert encode_examples(back, dtype) == data
    for i in range(len(record)):
        window = back.window(i)
        span = slice(record.first_activations[i], record.first_activations[i + 1])
        assert np.flatnonzero(window.activations).tolist() == record.offsets[span].tolist()
        assert window.max == back.peaks[i] == record.activations[span].max()
        assert window.split == ("test" if record.test[i] else "train")


def _plainly(record: ExampleRecord) -> bytes:
    """A record in float32, field by field."""
    counts = np.diff(record.first_activations)
    columns = (record.rows, record.starts, record.documents, counts, record.offsets)
    varints = _varints([int(value) for column in columns for value in column])
    wide = (record.tokens > 0xFFFF).any()
    marks = record.test + 2 * record.top + 4 * record.sampled + 8 * record.deciles
    sizes = (record.latent, record.window_length, len(record), len(record.activations), len(varints))
    data = struct.pack("<BBIIIIIf", 1, int(wide) + 2, *sizes, record.maximum) + varints + bytes(marks.tolist())
    data += record.tokens.astype("<u4" if wide else "<u2").tobytes() + record.activations.astype("<f4").tobytes()
    return data + zlib.crc32(data).to_bytes(4, "little")


def _joined(several: list[ExampleRecord]) -> ExampleRecords:
    sizes = [int(r.first_activations[-1]) for r in several]
    firsts = [r.first_activations[1:] + sum(sizes[:i]) for i, r in enumerate(several)]
    shared = [f.name for f in fields(ExampleRecords) if f.name in ExampleRecord.__slots__]
    columns = {name: np.concatenate([getattr(r, name) for r in several]) for name in shared}
    return ExampleRecords(
        latents=np.asarray([r.latent for r in several]),
        maxima=np.asarray([r.maximum for r in several]),
        first_windows=np.cumsum([0, *map(len, several)]),
        **{**columns, "first_activations": np.concatenate([[0], *firsts]).astype(np.int64)},
    )


@settings(max_examples=40)
@given(st.lists(records(), min_size=1, max_size=5))
def test_records_of_several_latents_are_written_as_documented(several: list[ExampleRecord]) -> None:
    several = [r for r in several if r.window_length == several[0].window_length]
    assert list(encode_records(_joined(several), "float32")) == [_plainly(r) for r in several]
    assert list(encode_records(_joined(several), "float16")) == [encode_examples(r, "float16") for r in several]


@given(records(), st.data())
def test_damaged_records_are_noticed(record: ExampleRecord, data: st.DataObject) -> None:
    encoded = encode_examples(record, "float16")
    damaged = bytearray(encoded)
    damaged[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"checksum|no record"):
        decode_examples(bytes(damaged))
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(ValueError, match=r"checksum|no record"):
        decode_examples(cut)


def test_a_latent_without_windows_has_an_empty_record() -> None:
    record = empty_record(7, 32)
    assert len(record) == len(record.peaks) == 0
    assert decode_examples(encode_examples(record, "float16")).latent == 7


def test_a_shard_is_a_safetensors_file_whose_content_begins_at_one_place(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard") as shard:
        for piece in (b"abc", b"", b"defg"):
            shard.append(piece)
    data = (tmp_path / "shard").read_bytes()
    assert data == shard_header(7) + b"abcdefg"
    assert data[CONTENT_START:] == load_file(tmp_path / "shard")["bytes"].tobytes() == b"abcdefg"
    assert len(load(shard_header(0))["bytes"]) == 0
    assert len(shard_header(10**12)) == CONTENT_START


def _pool() -> SilentPool:
    places = np.arange(200)
    firing = [np.arange(0, 200, 2), np.empty(0, np.int64), places]
    offsets = np.concatenate([[0], np.cumsum([len(f) for f in firing])])
    tokens = places[:, None] + np.arange(4)
    small = places.astype(np.int32)
    return SilentPool(places, small, small, tokens.astype(np.int32), offsets, np.concatenate(firing).astype(np.uint16))


def test_pools_come_back_and_draw_silent_windows_without_replacement() -> None:
    pool = _pool()
    data = silent_bytes({"train": pool, "test": pool})
    back = read_silent(data)["test"]
    for f in fields(SilentPool):
        np.testing.assert_array_equal(getattr(back, f.name), getattr(pool, f.name))
    drawn = back.draw(0, 60, 5)
    assert len(set(drawn.tolist())) == 60
    assert (drawn % 2 == 1).all()
    assert back.draw(0, 30, 5).tolist() == drawn[:30].tolist()
    assert len(back.draw(0, 1000, 5)) == 100
    assert len(back.draw(2, 10, 5)) == 0
    assert back.draw(1, 60, 5).tolist() != back.draw(1, 60, 6).tolist()
    window = back.window(int(drawn[0]), "test")
    assert (window.split, window.max, window.tokens.tolist()) == ("test", 0.0, (drawn[0] + np.arange(4)).tolist())


def test_silent_draws_are_uniform() -> None:
    pool = _pool()
    counts = np.bincount(np.concatenate([pool.draw(0, 10, seed) for seed in range(4000)]), minlength=200)
    assert (counts[::2] == 0).all()
    expected = 4000 * 10 / 100
    assert np.abs(counts[1::2] - expected).max() < 6 * np.sqrt(expected)


def test_pools_that_do_not_fit_together_are_refused() -> None:
    pool = _pool()
    for wrong in (replace(pool, rows=pool.rows, firing_windows=pool.firing_windows + np.uint16(1)),
                  replace(pool, firing_windows=pool.firing_windows[:-1])):  # fmt: skip
        with pytest.raises(ValueError, match="does not have"):
            read_silent(silent_bytes({"train": pool, "test": wrong}))


@pytest.mark.parametrize("ctx_len", [1, 63, 64, 65, 256, 1000])
def test_bins_of_positions_cover_the_row(ctx_len: int) -> None:
    edges = position_edges(ctx_len)
    assert (edges[0], edges[-1]) == (0, ctx_len)
    assert len(edges) - 1 <= 64
    assert (np.diff(edges) > 0).all()
    assert len(set(np.diff(edges)[:-1].tolist())) <= 1
