"""The kernels of matrix units against the exact reference, whatever the bits; planted bugs; threads."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import drawn
import numpy as np
import pytest
from cdna_probes import PROBES, orders
from hypothesis import given, settings
from hypothesis import strategies as st

import fpemu as fp
from fpemu.accumulation import threads
from fpemu.carriers import carrier_dtype, code_dtype
from fpemu.convert import decode
from fpemu.exact import matrix_units as exact
from fpemu.matrix_units import every_instruction, matrix_unit, multiply
from fpemu.verify import integer_steps, units

INSTRUCTIONS = list(every_instruction())
DIFFERENT = list({(*dataclasses.astuple(i)[3:13],): i for i in INSTRUCTIONS}.values())


@pytest.mark.parametrize("made", DIFFERENT, ids=str)
def test_kernels_against_the_exact_reference(made):
    found = units.compare(made, units.by_exact, "exact", 1, side=3)
    assert (found.wrong, found.first_wrong) == (0, "")
    assert found.exact + found.rounded + found.overflowed == 9 * len(units.KINDS)
    if integer_steps.judges(made):
        found = units.compare(made, integer_steps.by_integers, "integers", 1, side=10)
        assert (found.wrong, found.first_wrong) == (0, "")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_kernels_on_drawn_codes(data):
    made = data.draw(st.sampled_from(DIFFERENT))
    k = data.draw(st.integers(0, 2 * made.multiple + 1))

    def values(f, shape):
        size = shape[0] * shape[1]
        chosen = data.draw(st.lists(drawn.codes(f), min_size=size, max_size=size))
        return decode(np.array(chosen, code_dtype(f)).reshape(shape), f)

    a, b, c = values(made.a, (1, k)), values(made.b, (k, 2)), values(made.accumulator, (1, 2))
    got = multiply(a, b, made, c)
    for j in range(2):
        want = exact.matrix_unit(a[0].tolist(), b[:, j].tolist(), c[0, j].item(), made)
        assert drawn.same(got[0, j], want), (str(made), a, b[:, j], c[0, j], want)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_loops_of_libraries_on_drawn_codes(data):
    """Shares of K and promotions, with specials and overflows anywhere in them."""
    unit, f = data.draw(st.sampled_from(LOOPS))
    plain = fp.MatrixUnit.parse(unit).on(f)
    promote = plain.multiple * data.draw(st.sampled_from([0, 1, 2, 3]))
    made = dataclasses.replace(plain, promote=promote, split=data.draw(st.integers(1, 4)))
    k = data.draw(st.integers(0, 300))
    a, b = drawn.values(data, made.a, (1, k)), drawn.values(data, made.b, (k, 1))
    c = drawn.values(data, made.accumulator, (1, 1))
    with np.errstate(all="ignore"):
        got = multiply(a, b, made, c)
    want = exact.matrix_unit(a[0].tolist(), b[:, 0].tolist(), c.item(), made)
    assert drawn.same(got[0, 0], want), (str(made), promote, made.split, a, b, c, want)
    with np.errstate(all="ignore"):
        integers = integer_steps.by_integers(a, b, c, made)
    assert drawn.same(integers[0, 0], want)


LOOPS = [("v100", "fp16"), ("a100", "bf16"), ("ada", "e4m3"), ("h100 wgmma", "e5m2")]


@pytest.mark.parametrize("option", ["promote=64", "split=3", "promote=128 split=2"])
@pytest.mark.parametrize("name", ["fp16", "e4m3"])
def test_loops_of_libraries(option, name):
    made = fp.MatrixUnit.parse(f"h100 wgmma {option}").on(name)
    for depth in (0, 1, 64, 300, 500):
        rng = np.random.default_rng(depth)
        a = fp.quantize(rng.normal(size=(2, depth)), name)
        b = fp.quantize(rng.normal(size=(depth, 3)), name)
        got = multiply(a, b, made)
        for i, j in np.ndindex(got.shape):
            want = exact.matrix_unit(a[i].tolist(), b[:, j].tolist(), 0.0, made)
            assert got[i, j] == want


def test_split_k_in_float32_by_hand():
    """cuBLASLt's rule: chunk = ceil(ceil(K/64)/s)*64, partials added in ascending order in FP32."""
    rng = np.random.default_rng(0)
    a, b = (
        fp.quantize(rng.normal(size=(4, 400)), "fp16"),
        fp.quantize(rng.normal(size=(400, 4)), "fp16"),
    )
    plain, split = matrix_unit("h100", "wgmma"), matrix_unit("h100", "wgmma", split=3)
    parts = [multiply(a[:, k : k + 192], b[k : k + 192], plain.on("fp16")) for k in (0, 192, 384)]
    want = (parts[0] + parts[1]) + parts[2]
    assert np.array_equal(multiply(a, b, split.on("fp16")), want)
    assert not np.array_equal(multiply(a, b, plain.on("fp16")), want)


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_cdna_by_hand(probe):
    *case, want = probe
    for made, a, b, c in orders(*case):
        assert multiply(a, b, made, c)[0, 0] == want
        assert exact.matrix_unit(a[0].tolist(), b[:, 0].tolist(), c.item(), made) == want
        if integer_steps.judges(made):
            assert integer_steps.by_integers(a, b, c, made)[0, 0] == want


def test_cdna1_rounds_bf16_once():
    made = matrix_unit("mi100").on("bf16")
    a = np.array([[2.0**-4, 2.0**-100]], np.float32)
    for tiny, want in ((0.0, 2.0**20), (2.0**-100, 2.0**20 + 2.0**-3), (-(2.0**-100), 2.0**20)):
        b = np.array([[1.0], [tiny]], np.float32)
        assert multiply(a, b, made, np.full((1, 1), 2.0**20, np.float32))[0, 0] == want


def test_cdna3_takes_large_products_for_infinities():
    made = matrix_unit("mi300").on("bf16")
    a = np.array([[2.0**100, 1.0]], np.float32)
    for b, want in (
        ([2.0**28, 1.0], np.inf),
        ([-(2.0**28), 1.0], -np.inf),
        ([2.0**27, 0.0], 2.0**127),
    ):
        b = np.array([b], np.float32).T
        assert multiply(a, b, made)[0, 0] == want
    both = np.array([[2.0**100, 2.0**100]], np.float32), np.array([[2.0**28], [-(2.0**28)]])
    assert np.isnan(multiply(both[0], both[1].astype(np.float32), made)[0, 0])


PLANTED = {
    "one bit fewer": {"bits": 24},
    "one bit more": {"bits": 26},
    "half as many products": {"length": 8},
    "a lower floor": {"floor": -134},
    "a higher floor": {"floor": -132},
    "rounded to nearest": {"nearest": True},
    "results of 13 bits": {"output": fp.Format("e8m13", 8, 13)},
}


@pytest.mark.parametrize("change", PLANTED)
def test_a_planted_bug_in_a_number_is_caught(change):
    right = matrix_unit("h100", "wgmma").on("bf16")
    wrong = dataclasses.replace(right, **PLANTED[change])

    def planted(a, b, c, _):
        return multiply(a, b, wrong, c)

    # (On 2800 sums, of which the exact reference takes long.)
    assert units.compare(right, integer_steps.by_integers, "integers", 1, judged=planted).wrong > 0
    assert units.compare(right, integer_steps.by_integers, "integers", 1).wrong == 0


def test_a_planted_bug_is_caught_by_the_exact_reference():
    right = matrix_unit("h100", "wgmma").on("bf16")
    wrong = dataclasses.replace(right, bits=24)

    def planted(a, b, c, _):
        return multiply(a, b, wrong, c)

    assert units.compare(right, units.by_exact, "exact", 1, judged=planted, side=5).wrong > 0


@pytest.mark.parametrize("rule", ["down", "to nearest"])
def test_a_planted_bug_in_the_truncation_is_caught(monkeypatch, rule):
    def other(x: Fraction, unit: int) -> int:
        scaled = x / Fraction(2) ** unit
        return scaled.__floor__() if rule == "down" else round(scaled)

    monkeypatch.setattr(exact, "_truncated", other)
    assert (
        units.compare(matrix_unit("h100").on("fp16"), units.by_exact, "exact", 1, side=5).wrong > 0
    )


@pytest.mark.parametrize("name", ["h100 wgmma", "h100 mma", "mi300"])
def test_threads_change_no_bit(monkeypatch, name):
    f = "e4m3fnuz" if name == "mi300" else "e4m3"
    made = fp.MatrixUnit.parse(name).on(f)
    rng = np.random.default_rng(1)
    a, b = fp.quantize(rng.normal(size=(13, 640)), f), fp.quantize(rng.normal(size=(640, 300)), f)
    results = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "threads", lambda count=count: count)
        monkeypatch.setattr(threads, "_LEAST_WORK", 0)
        results.append(multiply(a, b, made))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_specials_leave_other_elements_alone():
    made = matrix_unit("h100").on("bf16")
    rng = np.random.default_rng(2)
    a, b = (
        fp.quantize(rng.normal(size=(6, 48)), "bf16"),
        fp.quantize(rng.normal(size=(48, 300)), "bf16"),
    )
    plain = multiply(a, b, made)
    a[2, 17], b[40, 7] = np.nan, -np.inf
    mixed = multiply(a, b, made)
    untouched = np.ones(plain.shape, bool)
    untouched[2], untouched[:, 7] = False, False
    assert np.array_equal(plain[untouched], mixed[untouched])
    assert np.isnan(mixed[2]).all()
    assert np.isinf(np.delete(mixed[:, 7], 2)).all()


def test_an_overflow_stays_and_meets_the_opposite_infinity():
    made = matrix_unit("h100").on("bf16")
    big = np.full((1, 32), 2.0**127, np.float32)
    assert multiply(big, big.T, made)[0, 0] == np.inf
    opposite = np.concatenate([big, np.zeros((1, 16), np.float32)], 1)
    right = np.concatenate([big, np.ones((1, 16), np.float32)], 1).T.copy()
    assert multiply(opposite, right, made)[0, 0] == np.inf
    opposite[0, 40] = -np.inf
    assert np.isnan(multiply(opposite, right, made)[0, 0])


def test_carriers():
    for made in DIFFERENT:
        zeros = np.zeros((2, 3), carrier_dtype(made.a)), np.zeros((3, 4), carrier_dtype(made.b))
        assert multiply(*zeros, made).dtype == carrier_dtype(made.accumulator)


def test_what_verify_runs():
    planned = units.checks()
    labels = [label for label, _ in planned]
    assert len(labels) >= len(units.distinct()) + len(units.LOOPS) + 27
    found = planned[0][1]()
    assert [(o.op, o.judge, o.wrong) for o in found] == [
        ("matrix unit", "exact", 0),
        ("steps on integers", "exact", 0),
        ("matrix unit", "integers", 0),
    ]
    assert sum(count for _, count in units.distinct()) == len(INSTRUCTIONS)
    for part in ("promote=128", "split=3", "e4m3 every 16"):
        assert any(part in label for label in labels)


def test_library_loops_of_verify_promote_and_split():
    for made, _, steps in units.loops_of_libraries():
        depth = steps * made.multiple
        assert depth > made.promote
        assert made.split == 1 or exact.share_of(depth, made) < depth


def test_what_results_show_is_counted_and_trapped():
    big = fp.array([[60000.0, 1.0], [0.0, 2.0**-8]], fp.FP16)
    unit = "h100 mma accumulator=fp16"
    with fp.trace() as t:
        plain = fp.matmul(big, big.T, accumulate=unit)
    assert plain.tolist() == [[np.inf, 2.0**-8], [2.0**-8, 2.0**-16]]
    counts = {name: t.count(name, op="matmul") for name in ("values", "overflow", "subnormal")}
    assert counts == {"values": 4, "overflow": 1, "subnormal": 1}
    with fp.arithmetic() as ctx:
        fp.matmul(
            fp.array([[np.inf, 1.0]], "fp16"), fp.array([[0.0], [1.0]], "fp16"), accumulate=unit
        )
    assert ctx.flags == {"invalid"}
    message = r"element \(0, 0\) of a product by h100 mma m16n8k16 fp16 -> fp16 is inf"
    with (
        pytest.raises(fp.TrapError, match=message),
        fp.arithmetic(traps=["overflow"]),
    ):
        fp.matmul(big, big.T, accumulate=unit)
