"""The step-by-step kernels and the exact sums, against roads that share no kernel with them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from oracles import assert_same, same
from test_fast_loops import at_edges

import fpemu as fp
from fpemu import accumulation, elementwise, exact
from fpemu.accumulation import Accumulator, compensated, exact_sums, run, threads
from fpemu.accumulation.stepwise import Stepwise
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

FORMATS = [fp.as_format(n) for n in ("fp16", "bf16", "e4m3", "e5m2", "tf32", "fp32", "e2m1")]
FORMATS += [fp.as_format("e4m3fnuz"), fp.Format("fp22", 8, 13), fp.p3109(8, 3)]
FORMATS += [fp.Format("big", 9, 12), fp.Format("fine", 6, 20), fp.p3109(8, 4, extended=False)]
COUNTED = ("values", "nonzero", "inexact", "underflow", "flushed_to_zero", "subnormal")
COUNTED += ("overflow", "invalid", "saturated")
ORDERS = ["sequential", "kahan", "neumaier", "blocked:4", "permuted:2", "fabsum:3"]


def one_of(rng, choices):
    return choices[rng.integers(len(choices))]


def random_case(rng):
    """A model, formats of operands, operands and a start, of any kind that goes together."""
    while True:
        order = one_of(rng, ORDERS)
        compensated_order = order in ("kahan", "neumaier")
        options = {
            "product": one_of(rng, [None, one_of(rng, FORMATS), None, "exact"]),
            "rounding": one_of(rng, sorted(ROUNDING)),
            "saturation": one_of(rng, sorted(SATURATION)),
            "subnormals": one_of(rng, ["gradual", *sorted(SUBNORMALS)]),
            "seed": 3,
            "random_bits": int(rng.integers(1, 32)),
        }
        if compensated_order or order.startswith("fabsum"):
            options["correction"] = one_of(rng, [None, one_of(rng, FORMATS)])
        try:
            model = Accumulator(one_of(rng, FORMATS), order, **options)
            break
        except fp.ArgumentError:
            continue
    fa = one_of(rng, FORMATS)
    fb = one_of(rng, [fa, one_of(rng, FORMATS)])
    specials = bool(rng.integers(2))
    a, b = (
        at_edges(rng, f, *shape, specials=specials and f.has_nan and f.has_inf)
        for f, shape in ((fa, (3, 9)), (fb, (9, 7)))
    )
    if rng.random() < 0.2:
        a = None
    start = None
    if rng.random() < 0.5:
        start = at_edges(rng, model.format, 3 if a is not None else 1, 7, specials=False)
    return model, (fa, fb), a, b, start


def spied(monkeypatch) -> list[bool]:
    """Fills with whether a kernel was found."""
    taken, kept = [], Stepwise.has_kernel

    def has_kernel(*arguments):
        taken.append(kept(*arguments))
        return taken[-1]

    monkeypatch.setattr(Stepwise, "has_kernel", has_kernel)
    return taken


def step_by_step(monkeypatch):
    """Every step through `elementwise`."""

    def sequential(self, terms, begin, before):
        self.by_kernel = False
        return run._Run.sequential(self, terms, begin)

    monkeypatch.setattr(Stepwise, "has_kernel", lambda *_: False)
    monkeypatch.setattr(compensated, "run", lambda *_: None)
    monkeypatch.setattr(run._Run, "_by_kernel", sequential)


@pytest.mark.parametrize("seed", range(8))
def test_kernels_do_what_the_steps_do(seed, monkeypatch):
    rng, by_kernel = np.random.default_rng(seed), 0
    for _ in range(60):
        model, formats, a, b, start = random_case(rng)
        tininess = one_of(rng, ["after", "before"])

        def traced(model=model, formats=formats, a=a, b=b, start=start, tininess=tininess):
            with fp.arithmetic(tininess=tininess), fp.trace() as t:
                result = accumulation.accumulate(a, b, formats, model, start)
            rows = [[row[name] for name in ("op", "format", *COUNTED)] for row in t.to_dicts()]
            return result, sorted(rows)

        with monkeypatch.context() as m:
            taken = spied(m)
            try:
                got = accumulation.accumulate(a, b, formats, model, start)
            except fp.ArgumentError:  # NaN that a format does not have
                continue
            watched, counts = traced()
        with monkeypatch.context() as m:
            step_by_step(m)
            want, steps = traced()
        assert_same(got, want, got)
        assert_same(watched, want, watched)
        # Which format the larger addend has may differ by element: then the steps count twice.
        mixed = model.order == "neumaier" and model.product not in (None, model.format)
        if any(taken) and not mixed and not model.order.startswith("fabsum"):
            assert counts == steps, str(model)
            by_kernel += 1
    assert by_kernel > 20


@pytest.mark.parametrize("rounding", ["nearest_even", "toward_negative", "to_odd", "stochastic"])
@pytest.mark.parametrize("name", ["fp16", "e4m3", "bf16", "fp32"])
def test_exact_sums_against_fractions(name, rounding):
    f = fp.as_format(name)
    rng = np.random.default_rng(5)
    k = 300
    a, b = (fp.decode(rng.integers(0, f.max_code + 1, k), f) * rng.choice([-1, 1], k) for _ in "ab")
    start = fp.quantize(np.array([[rng.normal()]]), f)
    # All of these products cancel, so that some small ones decide.
    small = fp.decode(rng.integers(1, f.max_code // 3, (2, 20)), f)
    a, b = np.concatenate([a, a, small[0]]), np.concatenate([b, -b, small[1]])
    order = rng.permutation(a.size)
    a, b = a[order], b[order]
    for accumulator in (f, fp.FP32, fp.FP16):
        model = Accumulator(accumulator, "exact", rounding=rounding, seed=2, random_bits=16)
        begin = fp.quantize(start, accumulator)
        got = accumulation.accumulate(a[None], b[:, None], (f, f), model, begin)
        total = sum(
            (Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)),
            start=Fraction(float(begin[0, 0])),
        )
        chance = fp.chance.Chance(2, 16).derived(0)
        away = chance.away(0) if rounding == "stochastic" else None
        want = exact.round_to(total, accumulator, rounding=rounding, away=away)
        assert same(got[0, 0], want)


def test_exact_sums_of_fp64_are_those_of_fsum():
    rng = np.random.default_rng(1)
    for spread in (5, 40, 300):
        x = np.ldexp(rng.normal(size=401), rng.integers(-spread, spread, 401))
        x[200:400] = -x[:200] * rng.choice([1.0, 1.0 + 2.0**-52], 200)
        assert fp.sum(x, order="exact").item() == math.fsum(x)
        y = np.ldexp(rng.normal(size=401), rng.integers(-spread, spread, 401))
        want = sum(
            (Fraction(p) * Fraction(q) for p, q in zip(x.tolist(), y.tolist(), strict=True)),
            start=Fraction(0),
        )
        assert fp.dot(x, y, order="exact").item() == float(want)


def test_exact_sums_with_infinities_are_not_slow_nor_wrong():
    x = np.ones((60, 200), np.float16)
    x[3, 5], x[4, 6], x[4, 7], x[5, 5] = np.inf, np.inf, -np.inf, np.nan
    y = np.ones((200, 60), np.float16)
    y[5, 9] = 0  # times infinity
    got = fp.matmul(x, y, order="exact").to_numpy()
    want = np.full((60, 60), 200.0)
    want[:, 9] = 199
    want[3], want[3, 9], want[4], want[5] = np.inf, np.nan, np.nan, np.nan
    assert_same(got, want, want)


def test_the_sign_of_an_exact_zero():
    for terms, down, nearest in (
        ([0.0, 0.0], 0.0, 0.0),
        ([0.0, -0.0], -0.0, 0.0),
        ([1.0, -1.0], -0.0, 0.0),
        ([-0.0, -0.0], -0.0, 0.0),  # a sum starts at +0
    ):
        x = np.float16(terms)
        for rounding, want in (("toward_negative", down), ("nearest_even", nearest)):
            for order in ("exact", "sequential", "pairwise", "kahan"):
                if order == "kahan" and rounding == "toward_negative":
                    continue  # where a correction has a say, too
                got = fp.sum(x, accumulate=Accumulator(fp.FP16, order, rounding=rounding)).item()
                assert (got, math.copysign(1, got)) == (0, math.copysign(1, want)), (terms, order)


MODELS = [
    *("fp16 kahan", "bf16 neumaier", "fp16 kahan correction=fp32", "bf16 fabsum:8"),
    *("fp16 sequential rounding=toward_positive", "bf16 sequential product=exact"),
    *("fp16 sequential rounding=stochastic seed=4", "fp32 exact"),
]


@pytest.mark.parametrize("text", MODELS)
def test_threads_and_layouts_do_not_matter(text, monkeypatch):
    monkeypatch.setattr(threads, "_LEAST_WORK", 0)
    rng = np.random.default_rng(2)
    f = fp.BF16 if "bf16" in text else fp.FP16
    a, b = (fp.quantize(rng.normal(size=s), f) for s in ((37, 50), (50, 61)))
    model = Accumulator.parse(text)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "threads", lambda count=count: count)
        for x, y in ((a, b), (np.asfortranarray(a), b[::-1][::-1].copy("F"))):
            with fp.trace() as t:
                watched = accumulation.accumulate(x, y, (f, f), model)
            plain = accumulation.accumulate(x, y, (f, f), model)
            assert_same(watched, plain, plain)
            found.append((plain, t.to_dicts()))
    for plain, counts in found[1:]:
        assert_same(plain, found[0][0], plain)
        assert counts == found[0][1]


def test_where_a_sum_overflows_and_what_cancels():
    x = np.float16([[60000, 1], [1, 1], [6000, 60000], [60000, 10000], [-1, 1]])
    with fp.trace() as t:
        fp.sum(x, 0)
    assert t.first_overflow(op="sum") == 3
    assert t.first_overflow(op="matmul") is None
    with fp.trace() as t:
        fp.sum(np.float16([1, 1, 60000, 5000, 9000, 60000]), order="blocked:2")
    assert t.first_overflow() == 6
    with fp.trace() as t:
        fp.sum(np.float16([1024, -1023, 8, -8, -1]))
    # 1024 - 1023 = 1 cancels ten bits; 9 - 8 = 1 three; 1 - 1 all of them.
    assert (t.count("cancelled"), t.bits_cancelled()) == (3, 10)
    assert t.to_dicts()[-1]["bits_cancelled"] == 10


@pytest.mark.parametrize(
    ("order", "options", "want"),
    [
        ("blocked:4", {}, 6),
        ("blocked:4", {"rounding": "toward_positive"}, 6),
        ("blocked:4", {"product": "exact"}, 6),
        ("fabsum:4", {"rounding": "nearest_away"}, 6),
        ("fabsum:1", {"rounding": "nearest_away"}, None),  # only where sums of blocks are added
        ("sequential", {"promote": ("fp32", 4), "rounding": "toward_positive"}, 6),
        ("sequential", {"round_every": ("bf16", 4)}, 6),
        ("permuted:1", {"rounding": "toward_positive"}, 8),
    ],
)
def test_terms_are_numbered_through_all_blocks(order, options, want):
    x = np.float16([1, 1, 1, 1, 60000, 60000, 1, 1])
    with fp.trace() as t:
        fp.sum(x, accumulate=Accumulator("fp16", order, **options))
    assert t.count("overflow") > 0
    assert t.first_overflow() == want


def test_cumsum_numbers_its_terms():
    with (
        fp.arithmetic(rounding="toward_positive"),
        fp.trace() as t,
    ):
        fp.cumsum(np.float16([1, 1, 60000, 60000]))
    assert t.first_overflow() == 4


@pytest.mark.parametrize("order", ["kahan", "neumaier"])
def test_compensated_sums_in_fp64_saturate(order):
    x = np.array([[1e308], [1e308], [1.0]])
    model = Accumulator("fp64", order, saturation="finite")
    got = fp.sum(x, 0, accumulate=model)
    with fp.trace():  # another road
        assert fp.sum(x, 0, accumulate=model).tolist() == got.tolist() == [fp.FP64.max]
    small = np.array([1.0, 1e-17, 1e-17])
    assert fp.sum(small, accumulate=model).item() == math.fsum(small)


@pytest.mark.parametrize("rounding", ["toward_positive", "toward_negative", "to_odd"])
def test_single_values_need_not_lie_where_products_do(rounding):
    # Values from 2**31 to below 2**49: their products fill the accumulator's range, they do not.
    large = fp.Format("large", 4, 4, bias=-34)
    f = fp.Format("larger", 5, 10, bias=-71)
    model = Accumulator(f, product="exact", rounding=rounding)
    x, start = 2.0**31, 2.0**101
    got = accumulation.accumulate(None, np.array([[x]]), (large,) * 2, model, np.array([[start]]))
    assert same(got[0, 0], exact.round_to(Fraction(x) + Fraction(start), f, rounding=rounding))


def test_corrections_beyond_float64_trouble_no_plain_sum():
    model = Accumulator("fp16", "fabsum:2", correction=fp.p3109(15, 2), rounding="nearest_away")
    assert fp.sum(np.float16([1, 2, 1, 2]), accumulate=model).item() == 6


def test_what_the_reference_computes_does_not_cancel_more():
    # 50 bits leave float64 no room.
    for f in (fp.FP64, fp.Format("precise", 8, 49)):
        with fp.arithmetic(rounding="toward_positive"), fp.trace() as t:
            fp.sum(fp.array([1.0, 8.0, 16.0], f))
        assert t.count("cancelled") == 0
        with fp.arithmetic(rounding="toward_positive"), fp.trace() as t:
            fp.array([8.0, 8.0, 8.0], f) - fp.array([1.0, 7.0, 8.0], f)
        assert t.count("cancelled") == 2


def test_fp64_is_fast_and_right_for_operands_of_other_formats(monkeypatch):
    rng = np.random.default_rng(4)
    a, b = (np.float16(rng.normal(size=s)) for s in ((3, 40), (40, 5)))
    plain = fp.matmul(a, b, accumulate="fp64 kahan")
    monkeypatch.setattr(elementwise, "_by_reference", None)
    with fp.trace() as t:
        watched = fp.matmul(a, b, accumulate="fp64 kahan")
    assert_same(watched.to_numpy(), plain.to_numpy(), a)
    assert t.count("values", format="fp64") == 5 * a.size * b.shape[1]


def test_nan_that_saturates_signals_nothing():
    x = fp.array([np.nan, 1.0], "fp16")
    model = Accumulator("fp16", promote=("e2m1", 1), saturation="finite")
    with fp.arithmetic() as ctx, fp.trace() as t:
        assert fp.sum(x, accumulate=model, out="e2m1").item() == 6
    assert t.count("inexact") == 1  # 6 + 1
    assert ctx.flags == {"inexact", "overflow"}


# -- bugs that must be seen -----------------------------------------------------------------------


def test_sums_that_are_not_made_odd_are_caught(monkeypatch):
    import test_accumulation

    check = test_accumulation.test_the_product_is_rounded_where_it_says
    check()
    monkeypatch.setattr(Stepwise, "needs_odd", False)
    with pytest.raises(AssertionError):
        check()


def test_exact_sums_that_are_not_exact_are_caught(monkeypatch):
    """Sums rounded on the way, as by a matrix product in float64."""

    def rounded(a, b, start, squares=False, short=True):
        high = start + a @ b
        return high, high * 0.0

    test_exact_sums_against_fractions("bf16", "nearest_even")
    monkeypatch.setattr(exact_sums, "in_bins", rounded)
    with pytest.raises(AssertionError):
        test_exact_sums_against_fractions("bf16", "nearest_even")
