"""Counts against a count by hand: every event recomputed from exact rationals."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same

import fpemu as fp
from fpemu import events, exact
from fpemu.accumulation import sequential
from fpemu.events import EVENTS, Trace
from fpemu.formats import NAMED


def judge(x: Fraction, f: fp.Format, saturation: str = "none") -> Counter:
    """The events of rounding the exact value x to f, from their definitions."""
    got = exact.round_to(x, f, saturation=saturation)
    c = Counter(values=1, nonzero=int(x != 0))
    fits = abs(unbounded(x, f)) <= Fraction(f.max)
    c["overflow"] = int(not fits)
    c["saturated"] = int(not fits and saturation != "none")
    c["inexact"] = int(not math.isfinite(got) or Fraction(got) != x)
    tiny = x != 0 and abs(got) < f.smallest_normal
    c["underflow"] = int("underflow" in exact.flags_of_rounding(x, f, saturation=saturation))
    c["flushed_to_zero"] = int(x != 0 and got == 0)
    c["subnormal"] = int(tiny and got != 0)
    return c


def unbounded(x: Fraction, f: fp.Format) -> Fraction:
    """x rounded to nearest even (as Python's round does) as if there were no largest value."""
    if x == 0:
        return x
    e = max(exact.floor_log2(abs(x)), f.emin)
    unit = Fraction(2) ** (e - f.fraction_bits)
    return round(x / unit) * unit


def cancels(x: float, y: float) -> bool:
    """Whether two leading bits are lost in x + y."""
    if 0 in (x, y):
        return False
    size, total = max(abs(Fraction(x)), abs(Fraction(y))), abs(Fraction(x) + Fraction(y))
    return total == 0 or exact.floor_log2(size) - exact.floor_log2(total) > 1


def counted(t: Trace) -> dict[str, int]:
    return {event: t.count(event) for event in EVENTS}


SIGNED = [f for f in NAMED.values() if f.emax <= 127 and f.signed]


@pytest.mark.parametrize("f", SIGNED, ids=str)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_quantize_counts_what_happened(f, values):
    want = Counter(dict.fromkeys(EVENTS, 0))
    for v in values:
        want.update(judge(Fraction(v), f))
    with fp.trace() as t:
        fp.quantize(np.array(values, np.float64), f)
    assert counted(t) == want


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    names=st.sampled_from(
        [
            ("fp16", "fp16"),
            ("bf16", "bf16"),
            ("e4m3", "fp32"),
            ("fp32", "fp32"),
            ("fp16", "e5m2"),
            ("tf32", "tf32"),
            ("e5m2", "e5m2"),
            ("bf16", "fp32"),
            ("fp32", "fp16"),
        ]
    ),
    spread=st.integers(1, 40),
)
def test_matmul_counts_every_product_and_partial_sum(seed, names, spread):
    f, acc = map(fp.as_format, names)
    rng = np.random.default_rng(seed)
    raw = np.ldexp(rng.standard_normal((2, 6)), rng.integers(-spread, spread // 2 + 1, (2, 6)))
    a = fp.array(raw, f, saturation="finite")
    b = fp.array(rng.standard_normal((6, 3)) * (rng.random((6, 3)) > 0.1), f, saturation="finite")
    want = Counter(dict.fromkeys(EVENTS, 0))
    for i, j in np.ndindex(2, 3):
        total = 0.0
        for k in range(6):
            x, y = float(a[i, k]), float(b[k, j])
            product = exact.multiply(x, y, acc)
            want.update(judge(Fraction(x) * Fraction(y), acc))
            new = exact.add(total, product, acc)
            if math.isfinite(total) and math.isfinite(product):
                event = judge(Fraction(total) + Fraction(product), acc)
                want.update(event)
                want["swamped"] += int(product != 0 and new == total)
                want["cancelled"] += cancels(total, product)
            else:
                # Infinity less infinity is invalid; NaN that has been there signals nothing.
                opposite = math.isinf(total) and math.isinf(product) and total != product
                want.update(values=1, nonzero=1, invalid=int(opposite))
            total = new
    with fp.trace() as t:
        fp.matmul(a, b, accumulate=acc, out=acc)
    assert counted(t) == want


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_elementwise_counts_even_what_float64_drops(pair):
    x, y = (fp.array([v], fp.FP32) for v in pair)
    want = Counter(dict.fromkeys(EVENTS, 0))
    total = Fraction(pair[0]) + Fraction(pair[1])
    want.update(judge(total, fp.FP32))
    got = exact.round_to(total, fp.FP32)
    want["swamped"] = int((pair[1] != 0 and got == pair[0]) or (pair[0] != 0 and got == pair[1]))
    want["cancelled"] = int(cancels(*pair))
    with fp.trace() as t:
        x + y
    assert counted(t) == want


def test_traces_nest_and_close():
    with fp.trace() as outer:
        fp.quantize(1e-9, fp.FP16)
        with fp.trace() as inner:
            fp.quantize([1e-9, 1.0], fp.FP16)
    fp.quantize(1e-9, fp.FP16)
    assert (outer.count("flushed_to_zero"), inner.count("flushed_to_zero")) == (2, 1)
    assert outer.count("values") == 3
    with pytest.raises(ZeroDivisionError), fp.trace() as broken:
        1 / 0  # noqa: B018
    fp.quantize(1e-9, fp.FP16)
    assert broken.count("values") == 0


def test_tables_and_places():
    with fp.trace() as t:
        fp.sum(np.ones(3000, np.float16))
        fp.quantize([1e-9], fp.FP16)
    assert t.count("swamped", op="sum") == 3000 - 2048
    assert t.count("swamped", op="quantize") == 0
    assert t.count("values", place="layers.*") == 0
    assert [row["op"] for row in t.to_dicts()] == ["sum", "quantize"]
    assert "swamped" in t.table().splitlines()[0]
    with pytest.raises(fp.ArgumentError, match="unknown event 'swamp'; did you mean 'swamped'"):
        t.count("swamp")


def test_watching_changes_nothing():
    rng = np.random.default_rng(0)
    a, b = (fp.array(rng.standard_normal((9, 9)) * 50, fp.E4M3) for _ in range(2))
    quiet = a @ b
    with fp.trace():
        assert_same(a @ b, quiet, quiet)
        assert_same(np.exp(a), np.exp(a), a)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([3, 300, 540, 1070]))
def test_fp64_products_count_what_float64_drops(seed, spread):
    rng = np.random.default_rng(seed)
    a = np.ldexp(
        rng.integers(-7, 8, (2, 5)) + rng.random((2, 5)),
        rng.integers(-spread, spread // 2 + 1, (2, 5)),
    )
    b = np.where(rng.random((5, 2)) < 0.3, 0.5, rng.standard_normal((5, 2)) * 2.0 ** (-spread / 3))
    with fp.trace() as t:
        fp.matmul(a, b)
    got = counted(t)
    assert got == by_the_reference(a, b, fp.FP64, fp.FP64)


def by_the_reference(a, b, f, accumulator, saturation="none"):
    """The counts of linalg's own slow road, for the same product."""
    start = np.zeros((a.shape[0], b.shape[1]))
    with fp.trace() as t:
        sequential._by_reference(a, b, start, accumulator, saturation, "", "matmul")
    return counted(t)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    names=st.sampled_from(
        [("fp16", "fp16"), ("e4m3", "fp32"), ("bf16", "bf16"), ("e5m2", "e5m2"), ("fp16", "e4m3")]
    ),
    saturation=st.sampled_from(["none", "finite"]),
    spread=st.integers(1, 40),
)
def test_the_slow_road_counts_as_the_kernels_do(seed, names, saturation, spread):
    f, accumulator = map(fp.as_format, names)
    rng = np.random.default_rng(seed)
    raw = np.ldexp(rng.standard_normal((2, 6)), rng.integers(-spread, spread // 2 + 1, (2, 6)))
    a, b = (fp.quantize(v, f, saturation="finite") for v in (raw, rng.standard_normal((6, 3))))
    if seed % 4 == 0 and f.has_inf:
        a[0, 1] = b[2, 2] = np.inf
        b[1, 1] = 0
    with fp.trace() as t:
        sequential.accumulate_products(a, b, (f, f, accumulator), saturation=saturation)
    want = by_the_reference(a, b, f, accumulator, saturation)
    assert counted(t) == want


# -- what a trace shows -----------------------------------------------------------------------------


def test_counts_are_kept_by_place_operation_and_format():
    with fp.trace() as outer:
        fp.quantize([1e9], "fp16")
        with fp.trace() as inner:
            fp.array([1.0, 3.0], "bf16") / 3.0
        fp.quantize([1e9], "e5m2")
    assert outer.count("overflow") == 2
    assert outer.count("overflow", format="fp16") == 1
    assert inner.count("values", op="divide", format="bf16") == 2
    assert inner.count("values", op="divide", format="fp16") == 0
    assert [row["format"] for row in outer.to_dicts()] == ["fp16", "bf16", "bf16", "e5m2"]
    with pytest.raises(fp.ArgumentError, match="unknown event 'overflw'; did you mean 'overflow'"):
        outer.count("overflw")


def test_ranges_and_exponents_are_those_of_the_results():
    x = [0.0, 3.0, -0.75, 1e-9, 1e9, math.nan]
    with fp.trace(ranges=True, exponents=True) as t:
        fp.quantize(x, "fp16")
        fp.matmul(fp.array([[2.0, 2.0]], "fp32"), fp.array([[4.0], [5.0]], "fp32"))
    seen = t.magnitudes(format="fp16")
    assert (seen.smallest, seen.largest, dict(seen.exponents)) == (0.75, 3.0, {1: 1, -1: 1})
    products = t.magnitudes(op="matmul")
    assert (products.smallest, products.largest, dict(products.exponents)) == (18, 18, {4: 1})
    (row,) = [row for row in t.to_dicts() if row["op"] == "matmul"]
    assert (row["smallest"], row["exponents"]) == (18.0, {4: 1})
    with fp.trace() as plain:
        fp.quantize(x, "fp16")
    assert plain.magnitudes() == events.Magnitudes()
    beyond = fp.p3109(15, 1)
    with fp.trace(ranges=True, exponents=True) as t:
        fp.quantize([Fraction(2) ** 5000, 1.0], beyond)
    assert t.magnitudes().largest == 2**5000
    assert dict(t.magnitudes().exponents) == {5000: 1, 0: 1}


def test_a_trace_is_text_html_dicts_and_json():
    with fp.trace(ranges=True) as t:
        fp.array([65000.0, 1.0], "fp16") * 2.0
    rows = json.loads(t.to_json())
    assert rows == t.to_dicts()
    assert (rows[-1]["op"], rows[-1]["overflow"], rows[-1]["largest"]) == ("multiply", 1, 2.0)
    header, _, *body = t.table().splitlines()
    assert header.split()[:4] == ["place", "op", "format", "values"]
    assert str(t) == t.table()
    assert len(body) == len(rows)
    parsed = xml.etree.ElementTree.fromstring(t._repr_html_())
    cells = [cell.text for cell in parsed.iter("td")]
    assert {"multiply", "fp16", "2.0"} <= set(cells)


def test_swamped_additions_are_counted_outside_of_sums_too():
    x = fp.array([2048.0, 2048.0, 0.0, 2048.0], "fp16")
    with fp.trace() as t:
        x + fp.array([1.0, 2.0, 1.0, 0.0], "fp16")
        x - fp.array([1.0, 1.5, 3.0, 0.0], "fp16")
    # 2048 + 1 is a tie that goes to the even 2048. Below 2048 numbers stand one apart: 2048 - 1 is
    # one of them, and 2048 - 1.5 goes to the even 2046.
    assert t.count("swamped", op="add") == 1
    assert t.count("swamped", op="subtract") == 0


def test_a_trace_may_be_opened_again_inside_itself():
    t = fp.trace()
    x = fp.array([1.0, 2.0], "fp16")
    with t as outer:
        with t as inner:
            x + x
        x + x
    assert (outer.count("values"), inner.count("values")) == (4, 2)
    with fp.trace(ranges=True) as t:
        fp.quantize([Fraction(2) ** 5000], fp.p3109(15, 1))
    assert json.loads(t.to_json())[0]["largest"] == "1*2**5000".removeprefix("1*")
