"""Accumulation models: arrays against the reference on one element, and against sums done by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import accumulation, exact
from fpemu.accumulation import ORDERS, Accumulator
from fpemu.chance import Chance
from fpemu.exact import accumulation as reference
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

FORMATS = [fp.as_format(n) for n in ("fp16", "bf16", "e4m3", "e5m2", "tf32", "fp32", "e4m3fnuz")]
FORMATS += [fp.Format("fp22", 8, 13), fp.p3109(8, 3)]
MODES = [mode for mode in ROUNDING if mode != "stochastic"]


@st.composite
def models(draw, modes=MODES) -> Accumulator:
    kind = draw(st.sampled_from(sorted(ORDERS)))
    number = draw(st.integers(1, 5))
    order = kind if ORDERS[kind] is None else f"{kind}:{number}"
    f = draw(st.sampled_from(FORMATS))
    compensated = kind in ("kahan", "neumaier")
    products = [None, None, fp.FP32, fp.BF16] + ([] if compensated else ["exact"])
    options = {
        "product": draw(st.sampled_from(products)),
        "rounding": draw(st.sampled_from(modes)),
        "saturation": draw(st.sampled_from(sorted(SATURATION))),
        "subnormals": draw(st.sampled_from(sorted(SUBNORMALS))),
    }
    if kind == "sequential" and draw(st.booleans()):
        options["promote"] = (draw(st.sampled_from([fp.FP32, fp.BF16])), draw(st.integers(1, 4)))
    if not compensated and kind != "exact" and draw(st.booleans()):
        options["round_every"] = (
            draw(st.sampled_from([fp.E5M2, fp.FP16])),
            draw(st.integers(1, 4)),
        )
    if (compensated or kind == "fabsum") and draw(st.booleans()):
        options["correction"] = fp.FP32
    return Accumulator(f, order, **options)


def numbers(draw, f: fp.Format, count: int) -> np.ndarray:
    """Values of `f` near one another often enough that something happens when they are added."""
    base = f._bias << f.fraction_bits
    near = st.integers(
        max(base - (3 << f.fraction_bits), 0), min(base + (6 << f.fraction_bits), f.max_code)
    )
    codes = st.one_of(
        near, near, st.integers(0, f.max_code + 1), st.sampled_from([0, 1, f.max_code])
    )
    values = [exact.decode(draw(codes), f) for _ in range(count)]
    signs = [draw(st.sampled_from([1.0, 1.0, -1.0])) for _ in range(count)]
    values = [v * s for v, s in zip(values, signs, strict=True)]
    return np.array(values).astype(np.float32)


def by_reference(a, b, formats, model, start, i, j, shape):
    fa, fb = formats
    terms = [((float(y), fb),) for y in b[:, j]]
    if a is not None:
        terms = [((float(x), fa), t[0]) for x, t in zip(a[i], terms, strict=True)]
    begin = None if start is None else (float(start[i, j]), model.result_format)
    decide = None
    element = i * shape[1] + j
    if model.rounding == "stochastic":
        chance = Chance(model.seed, model.random_bits)
        decide = lambda n: chance.derived(n).away(element)  # noqa: E731
    return reference.accumulate(
        terms, model, begin, decide=decide, element=(element, shape[0] * shape[1])
    )


def check(a, b, formats, model, start=None):
    got = accumulation.accumulate(a, b, formats, model, start)
    shape = (1 if a is None else a.shape[0], b.shape[1])
    assert got.shape == shape
    for i, j in np.ndindex(shape):
        want = by_reference(a, b, formats, model, start, i, j, shape)
        assert same(got[i, j], want), (str(model), got[i, j], want)


@given(data=st.data(), model=models())
@settings(max_examples=300, deadline=None)
def test_every_model_is_the_reference_step_by_step(data, model):
    f = data.draw(st.sampled_from(FORMATS))
    m, k, n = (
        data.draw(st.integers(1, 2)),
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(1, 3)),
    )
    b = numbers(data.draw, f, k * n).reshape(k, n)
    a = None if data.draw(st.booleans()) else numbers(data.draw, f, m * k).reshape(m, k)
    start = None
    if data.draw(st.booleans()):
        rows = 1 if a is None else m
        given_values = numbers(data.draw, f, rows * n).reshape(rows, n)
        start = fp.quantize(given_values, model.result_format)
    check(a, b, (f, f), model, start)


@given(data=st.data(), model=models(modes=["stochastic"]), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_random_rounding_draws_what_the_reference_draws(data, model, seed):
    from dataclasses import replace

    model = replace(model, seed=seed, random_bits=data.draw(st.integers(1, 30)))
    f = data.draw(st.sampled_from(FORMATS))
    b = numbers(data.draw, f, 12).reshape(6, 2)
    a = None if data.draw(st.booleans()) else numbers(data.draw, f, 12).reshape(2, 6)
    check(a, b, (f, f), model)


@pytest.mark.parametrize("order", ["sequential", "pairwise:8", "blocked:16", "tree:4", "split:3"])
@pytest.mark.parametrize("name", ["fp16", "bf16", "e4m3"])
def test_longer_sums_by_the_kernels(name, order):
    f = fp.as_format(name)
    rng = np.random.default_rng(3)
    a = fp.quantize(rng.normal(size=(3, 70)), f)
    b = fp.quantize(rng.normal(size=(70, 5)), f)
    model = accumulation.run.filled(Accumulator(f, order))
    check(a, b, (f, f), model)


# -- by hand -------------------------------------------------------------------------------------------

ONES = np.ones(4096, np.float16)
# 4096 ones: where the gap to the next number is 2, adding one changes nothing.
KNOWN_ONES = [
    ("fp16 sequential", 2048),
    ("fp16 pairwise", 4096),
    ("fp16 blocked:64", 4096),
    ("fp16 kahan", 4096),
    ("fp16 neumaier", 4096),
    ("fp16 exact", 4096),
    ("fp16 split:4", 4096),
    ("fp16 tree:8", 4096),
    ("fp16 ring:8", 4096),
    ("fp16 fabsum:32", 4096),
    ("fp16 permuted:3", 2048),
    ("fp16 sequential promote=fp32@128", 4096),
    ("fp16 sequential promote=fp32@4096", 2048),
    ("fp32 sequential", 4096),
    ("bf16 sequential", 256),
    ("bf16 blocked:64", 4096),
    ("e4m3 sequential", 16),
    ("e5m2 sequential", 8),
]


@pytest.mark.parametrize(("text", "want"), KNOWN_ONES)
def test_4096_ones(text, want):
    assert fp.sum(ONES, accumulate=text, out="fp32").item() == want
    row = ONES.reshape(1, -1)
    assert fp.matmul(row, row.T, accumulate=text, out="fp32").item() == want


def test_the_product_is_rounded_where_it_says():
    # 45 * 47 = 2115 is a tie in FP16 that goes to 2116; 3 + 2116 = 2119 is one that goes to 2120.
    a, b = np.float16([[3, 45]]), np.float16([[1], [47]])
    assert fp.matmul(a, b).item() == 2120
    assert fp.matmul(a, b, product="exact").item() == 2118
    assert fp.matmul(a, b, product="fp32").item() == 2118
    assert fp.matmul(a, b, product="e5m2").item() == 2052  # 3 + 2048, a tie that goes up
    assert fp.matmul(a, b, accumulate="fp32").item() == 2118
    # BF16: 7 * 37 = 259 is a tie; the fused step sees what lies below it (reference, section 2.3).
    x, y = fp.array([[1.0, 7.0]], "bf16"), fp.array([[-(2.0**-100)], [37.0]], "bf16")
    assert fp.matmul(x, y, product="exact").item() == 258
    assert fp.matmul(x, y).item() == 260
    # FP32: 4097**2 is a tie, too.
    x, y = np.float32([[1, 4097]]), np.float32([[2.0**-30], [4097]])
    assert fp.matmul(x, y, product="exact").item() == 16785410
    assert fp.matmul(x, y).item() == 16785408
    # TF32: a product that float32 would round up to two smallest subnormals.
    x, y = (fp.array([[v * 2.0**-78]], "tf32") for v in (1026.0, 1533.0))
    assert fp.matmul(x, y).item() == 2.0**-136


@pytest.mark.parametrize(
    ("rounding", "want"),
    # 1 and its neighbours; a sum in float32, or in float64, is 1 and then stays so.
    [
        ("nearest_even", 1.0),
        ("toward_positive", 1 + 2.0**-7),
        ("toward_negative", 1.0),
        ("to_odd", 1 + 2.0**-7),
    ],
)
def test_directed_modes_see_what_float64_drops(rounding, want):
    terms = fp.array([1.0, 2.0**-100], "bf16")
    model = Accumulator(fp.BF16, rounding=rounding)
    assert fp.sum(terms, accumulate=model).item() == want
    row, column = fp.array([[1.0, 2.0**-50]], "bf16"), fp.array([[1.0], [2.0**-50]], "bf16")
    for product in (None, "exact"):
        model = Accumulator(fp.BF16, product=product, rounding=rounding)
        assert fp.matmul(row, column, accumulate=model).item() == want


def test_random_rounding_sees_what_float32_drops():
    # 2**-25 is 2**-18 of the gap of BF16 above 1, and below half a gap of float32's there.
    terms = fp.array(np.stack([np.ones(1 << 20), np.full(1 << 20, 2.0**-25)]), "bf16")
    model = Accumulator(fp.BF16, rounding="stochastic", seed=11, random_bits=24)
    sums = fp.sum(terms, 0, accumulate=model).to_numpy()
    # The last of four roundings: terms are rounded, too, though they are values already.
    seed = Chance(11, 24).derived(3).seed
    want = fp.quantize(
        np.full(1 << 20, 1 + 2.0**-25), "bf16", rounding="stochastic", seed=seed, random_bits=24
    )
    assert_same(sums, want, want)
    assert 0 < np.count_nonzero(sums > 1) < 20  # 4 are to be expected


def test_compensated_sums_keep_what_plain_ones_lose():
    x = np.float16([2048, *[0.5] * 64])
    assert fp.sum(x).item() == 2048
    assert fp.sum(x, order="kahan").item() == 2080
    assert fp.sum(x, order="neumaier").item() == 2080
    y = np.float16([1, 60000, 1, -60000])  # Kahan's method loses both ones, Neumaier's none
    assert fp.sum(y, order="kahan").item() == 0
    assert fp.sum(y, order="neumaier").item() == 2
    assert fp.sum(y, order="exact").item() == 2


def test_exact_sums_round_once():
    rng = np.random.default_rng(0)
    for f in (fp.FP16, fp.E5M2, fp.BF16, fp.FP32):
        a, b = (
            fp.quantize(rng.normal(size=(1, 50)) * 2.0 ** rng.integers(-9, 9, 50), f) for _ in "ab"
        )
        got = fp.matmul(fp.array(a, f), fp.array(b.T, f), order="exact").item()
        total = sum(
            Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[0], b[0], strict=True)
        )
        assert got == exact.round_to(total, f)
    assert fp.sum(np.float16([65504, 65504, -65504]), order="exact").item() == 65504
    assert math.isnan(fp.sum(np.float16([math.inf, -math.inf]), order="exact").item())
    assert fp.sum(np.float16([60000, 60000]), order="exact").item() == math.inf


def test_a_random_sum_is_right_on_average():
    x = np.full((600, 400), 0.25, np.float16)
    x[0] = 1024  # where the gap is 1: each addition goes up with probability 1/4
    model = "fp16 sequential rounding=stochastic seed=5"
    sums = fp.sum(x, 0, accumulate=model).to_numpy()
    want = 1024 + 599 / 4
    assert abs(sums.mean() - want) < 5 * math.sqrt(599 * 3 / 16 / 400)
    assert len(set(sums.tolist())) > 20
    assert fp.sum(x, 0, accumulate=model).tolist() == sums.tolist()


# -- data ------------------------------------------------------------------------------------------------


@given(model=models())
def test_text_reads_back(model):
    assert Accumulator.parse(str(model)) == model
    assert hash(Accumulator.parse(str(model))) == hash(model)


def test_text_is_short():
    assert (
        Accumulator.parse("fp22 sequential promote=fp32@128").format.max
        == (2 - 2.0**-13) * 2.0**127
    )
    assert str(Accumulator("fp16")) == "fp16 sequential"
    assert str(Accumulator("fp16", "pairwise:128")) == "fp16 pairwise"
    assert str(Accumulator("fp16", product="fp16")) == "fp16 sequential"
    written = "bf16 blocked:64 product=fp32 out=e4m3 rounding=to_odd seed=3"
    assert str(Accumulator.parse(written)) == written


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Accumulator("fp16", "blocked"),
            "order 'blocked' needs a number, for example 'blocked:64'",
        ),
        (lambda: Accumulator("fp16", "kahan:3"), "order 'kahan' takes no number, got 'kahan:3'"),
        (lambda: Accumulator("fp16", "tree:0"), "the number of order 'tree' must be at least 1"),
        (
            lambda: Accumulator("fp16", "backwards"),
            "unknown order 'backwards'; allowed: sequential",
        ),
        (lambda: Accumulator("fp16", "kahan", product="exact"), "product='exact' does not go with"),
        (
            lambda: Accumulator("fp16", "tree:2", promote=("fp32", 4)),
            "promote goes with order 'seq",
        ),
        (lambda: Accumulator("fp16", promote=("fp32", 0)), "promote must count at least 1 term"),
        (lambda: Accumulator("fp16", promote="fp32"), "promote must be a format and a number"),
        (lambda: Accumulator("fp16", correction="fp32"), "correction goes with order kahan"),
        (lambda: Accumulator("fp16", "exact", round_every=("e5m2", 2)), "round_every does not go"),
        (lambda: Accumulator("fp16", rounding="up"), "unknown rounding 'up'"),
        (lambda: Accumulator.parse("fp16 sequential prodct=fp32"), "did you mean 'product'?"),
        (lambda: Accumulator.parse(""), "is written as 'fp16 sequential product=fp32'"),
        (
            lambda: fp.sum(ONES, accumulate="fp16 kahan", order="pairwise"),
            "says order and product; leave out",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, message):
    with pytest.raises(fp.ArgumentError) as caught:
        make()
    assert message in str(caught.value)


def test_steps_are_counted_where_they_happen():
    x = np.float16([2048, 1, 1, 1])
    for text in ("fp16 sequential", "fp16 sequential rounding=toward_zero"):
        with fp.trace() as t:
            fp.sum(x, accumulate=text)
        assert t.count("swamped") == 3, text
    with fp.trace() as t:
        fp.sum(np.float16([60000, 60000]), accumulate="fp16 kahan")
    assert t.count("overflow", op="sum") == 1
    assert t.first_overflow() == 2


def test_watching_changes_no_model():
    rng = np.random.default_rng(1)
    a, b = (fp.quantize(rng.normal(size=s), "e5m2") for s in ((2, 20), (20, 3)))
    for kind, number in ORDERS.items():
        order = kind if number is None else f"{kind}:4"
        plain = fp.matmul(fp.array(a, "e5m2"), fp.array(b, "e5m2"), order=order)
        with fp.trace(ranges=True), fp.arithmetic():
            watched = fp.matmul(fp.array(a, "e5m2"), fp.array(b, "e5m2"), order=order)
        assert_same(watched.to_numpy(), plain.to_numpy(), plain.to_numpy())


# -- found by a review -------------------------------------------------------------------------------------


def test_exact_sums_of_rounded_products():
    a, b = [1.0009765625, -1.0], [1.0009765625, 1.001953125]
    # 1.0009765625**2 is 1.00195407..., in FP16 1.001953125.
    rounded = fp.dot(np.float16(a), np.float16(b), order="exact", product="fp16")
    assert rounded.item() == 0
    assert fp.dot(np.float16(a), np.float16(b), order="exact").item() == 2.0**-20
    assert str(Accumulator("fp16", "exact", product="fp16")) == "fp16 exact product=fp16"


def test_elements_and_batches_draw_independently():
    model = "fp16 sequential rounding=stochastic seed=3"
    x = np.full((60, 6), 0.3, np.float16)
    assert len(set(fp.norm(x, 0, accumulate=model).tolist())) > 1
    rows = np.full((6, 1, 50), 0.3, np.float16)
    batch = fp.matmul(rows, np.full((50, 1), 0.7, np.float16), accumulate=model)
    assert len(set(batch.reshape(-1).tolist())) > 1
    model = "fp16 sequential rounding=stochastic"  # and the seed of the arithmetic in force
    batch = fp.matmul(rows, np.full((50, 1), 0.7, np.float16), accumulate=model)
    assert len(set(batch.reshape(-1).tolist())) > 1
    terms = np.float16([1.0, 2.0**-4])  # E4M3 has nothing between 1 and 1.125
    drawn = {
        fp.sum(terms, accumulate=f"fp32 sequential rounding=stochastic seed={k}", out="e4m3").item()
        for k in range(40)
    }
    assert drawn == {1.0, 1.125}


def test_an_accumulator_without_a_sign_has_no_negative_totals():
    f = fp.Format("unsigned", 4, 3, signed=False)
    terms = fp.array([2.0, -1.0, 1.0], "e4m3")
    for rounding in ("nearest_even", "nearest_away"):  # -1 becomes NaN there, or saturates at zero
        model = Accumulator(f, rounding=rounding, out=f)
        assert math.isnan(fp.sum(terms, accumulate=model).item())
        model = Accumulator(f, rounding=rounding, saturation="finite", out=f)
        assert fp.sum(terms, accumulate=model).item() == 3


def test_a_trap_names_the_step_and_its_bits():
    # 60000 + 5000 = 65000 in steps of 32 is 64992; with another 5000 it is beyond 65520.
    with (
        pytest.raises(fp.TrapError) as caught,
        fp.arithmetic(traps=["overflow"]),
    ):
        fp.sum(np.float16([1, 60000, 5000, 5000]))
    assert "0 11110 1111101111 (64992.0) + 0 11011 0011100010 (5000.0)" in str(caught.value)
    assert "gave 0 11111 0000000000 (inf) at index (0, 0)" in str(caught.value)
    tall = np.ones((5, 2), np.float16)
    tall[3] = 300  # computed transposed, told as it is
    for options in ({}, {"order": "kahan"}, {"product": "exact"}, {"accumulate": "fp16 blocked:1"}):
        with (
            pytest.raises(fp.TrapError, match=r"inf\).*at index \(3, 0\)|at index \(3, 0\).*inf"),
            fp.arithmetic(traps=["overflow"]),
        ):
            fp.matmul(tall, np.float16([[300], [1]]), **options)


def test_ring_deals_the_elements_of_a_norm():
    m = fp.array(np.random.default_rng(1).normal(size=(9, 4)) * 3, "e4m3")
    squares = fp.sum(m * m, 0, order="ring:3")
    assert fp.norm(m, 0, order="ring:3").tolist() == np.sqrt(squares).tolist()


def test_more_that_is_refused():
    with pytest.raises(
        fp.ArgumentError, match="random_bits must be an integer from 1 to 64, got 0"
    ):
        Accumulator("fp16", random_bits=0)
    with pytest.raises(fp.ArgumentError, match="seed of an accumulation model must be an integer"):
        Accumulator.parse("fp16 sequential seed=x")
    x = np.ones((2, 2), np.float16)
    with pytest.raises(fp.ArgumentError, match="einsum takes no initial accumulator"):
        fp.einsum("ij,jk->ki", x, x, c=x)
