"""Every operation in every mode against exact.py, and exact.py against SoftFloat, flags included."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import softfloatpy as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import elementwise, exact
from fpemu.chance import Chance
from fpemu.flags import Flag
from fpemu.formats import ENCODINGS, NAMED
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
OPERANDS = dict.fromkeys((*exact.OPERATIONS, "hypot"), 2)
OPERANDS |= {"sqrt": 1, "round_to_integer": 1, "fma": 3, "exp2": 1, "tanh": 1}
FORMATS = [f for f in NAMED.values() if f.has_nan]
FORMATS += [
    fp.p3109(8, 3),
    fp.p3109(8, 5, extended=False),
    fp.p3109(8, 4, signed=False),
    fp.Format("g30", 8, 30),
    fp.Format("wide", 10, 20, bias=300),
    fp.Format("g52", 8, 52),
]


@st.composite
def formats(draw) -> fp.Format:
    """A named format, or one of the user's: odd widths, biases and encodings, without a sign."""
    if draw(st.booleans()):
        return draw(st.sampled_from(FORMATS))
    fields = (
        draw(st.integers(1, 9)),
        draw(st.integers(0, 25)),
        draw(st.sampled_from([None, None, 0, 1, 100, 127, -50])),
        draw(st.sampled_from([e for e in ENCODINGS if e != "finite"])),
        draw(st.booleans()),
    )
    try:
        return fp.Format("own", *fields)
    except fp.ArgumentError:
        return fp.FP16


def samples(f: fp.Format, draw) -> float:
    """A value of `f`: any code, or one near an edge."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return exact.decode(draw(st.integers(0, (1 << f.bits) - 1)), f)
    edge = {1: 1 << f.fraction_bits, 2: f.max_code, 3: 0}[kind]  # smallest normal, largest, zero
    code = min(max(edge + draw(st.integers(-3, 3)), 0), f.max_code + (f.max_code + 1 < 1 << f.bits))
    sign = draw(st.booleans()) << (f.bits - 1) if f.signed else 0
    return exact.decode((code | sign) & ((1 << f.bits) - 1), f)


@settings(max_examples=3000)
@given(data=st.data())
def test_arrays_compute_what_the_reference_says(data):
    f = data.draw(formats())
    op = data.draw(st.sampled_from((*exact.OPERATIONS, "exp2", "hypot", "tanh")))
    values = [samples(f, data.draw) for _ in range(OPERANDS[op])]
    rounding = data.draw(st.sampled_from(list(ROUNDING)))
    chosen = {
        "rounding": rounding,
        "saturation": data.draw(st.sampled_from(list(SATURATION))),
        "subnormals": data.draw(st.sampled_from(list(SUBNORMALS))),
    }
    chance = Chance(
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(1, 64)),
        data.draw(st.sampled_from("ABC")),
    )
    away = chance.away(0) if rounding == "stochastic" else None
    arrays = [np.array([v]) for v in values]
    got = elementwise.apply(op, *arrays, f=f, chance=chance, **chosen)
    assert same(got[0], exact.compute(op, *values, f=f, away=away, **chosen))
    for tininess in exact.TININESS:
        flags = elementwise.flags_of(op, *arrays, f=f, chance=chance, tininess=tininess, **chosen)
        want = exact.flags_of_operation(op, *values, f=f, away=away, tininess=tininess, **chosen)
        assert names_of(flags[0]) == want, tininess


def names_of(bits: int) -> set[str]:
    return {flag.name.lower() for flag in Flag if flag & int(bits)}


@given(data=st.data())
def test_watching_changes_nothing_and_counts_the_flags(data):
    f = data.draw(st.sampled_from(FORMATS))
    op = data.draw(st.sampled_from(exact.OPERATIONS))
    pairs = [[samples(f, data.draw) for _ in range(4)] for _ in range(OPERANDS[op])]
    arrays = [np.array(values) for values in pairs]
    mode = data.draw(st.sampled_from(MODES))
    plain = elementwise.apply(op, *arrays, f=f, rounding=mode)
    with fp.trace() as t:
        watched = elementwise.apply(op, *arrays, f=f, rounding=mode)
    assert_same(watched, plain, arrays[0])
    bits = elementwise.flags_of(op, *arrays, f=f, rounding=mode)
    for flag in Flag:
        assert t.count(flag.name.lower()) == np.count_nonzero(bits & flag), flag


# -- SoftFloat: values and flags of binary16 and binary32, an implementation of another kind --------

SOFT_MODES = {
    "nearest_even": sf.RoundingMode.NEAR_EVEN,
    "nearest_away": sf.RoundingMode.NEAR_MAX_MAG,
    "toward_zero": sf.RoundingMode.MIN_MAG,
    "toward_positive": sf.RoundingMode.MAX,
    "toward_negative": sf.RoundingMode.MIN,
}
SOFT = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "sqrt": "sqrt",
    "fma": "mul_add",
    "remainder": "rem",
    "round_to_integer": "round_to_int",
}


@pytest.fixture
def reset_softfloat():
    yield
    sf.set_rounding_mode(sf.RoundingMode.NEAR_EVEN)
    sf.set_tininess_mode(sf.TininessMode.AFTER_ROUNDING)


def soft(prefix: str, op: str, codes, mode: str, tininess: str):
    kind, size = {"f16": (sf.Float16, 2), "f32": (sf.Float32, 4)}[prefix]
    numbers = [kind.from_bytes(int(code).to_bytes(size, "big")) for code in codes]
    sf.set_rounding_mode(SOFT_MODES[mode])  # undone by `reset_softfloat`
    rule = {"after": sf.TininessMode.AFTER_ROUNDING, "before": sf.TininessMode.BEFORE_ROUNDING}
    sf.set_tininess_mode(rule[tininess])
    sf.set_exception_flags(sf.ExceptionFlag(0))
    function = getattr(sf, f"{prefix}_{SOFT[op]}")
    extra = (SOFT_MODES[mode], True) if op == "round_to_integer" else ()
    result = function(*numbers, *extra)
    flags = int(sf.get_exception_flags())
    return int.from_bytes(result.to_bytes(), "big"), flags


def codes_near_edges(rng, f: fp.Format, count: int) -> np.ndarray:
    edges = np.array([0, 1 << f.fraction_bits, f.max_code, f.inf_code, f._bias << f.fraction_bits])
    near = rng.choice(edges, count) + rng.integers(-4, 5, count)
    every = np.where(rng.random(count) < 0.5, near, rng.integers(0, f.nan_code, count))
    return np.clip(every, 0, f.inf_code) | (rng.integers(0, 2, count) << (f.bits - 1))


@pytest.mark.parametrize("mode", SOFT_MODES)
@pytest.mark.parametrize("op", SOFT)
@pytest.mark.parametrize("prefix", ["f16", "f32"])
def test_values_and_flags_are_softfloats(prefix, op, mode, reset_softfloat):
    f = {"f16": fp.FP16, "f32": fp.FP32}[prefix]
    rng = np.random.default_rng([len(op), MODES.index(mode)])
    codes = [codes_near_edges(rng, f, 400) for _ in range(OPERANDS[op])]
    for tininess in exact.TININESS:
        judged = [soft(prefix, op, row, mode, tininess) for row in zip(*codes, strict=True)]
        want = [exact.decode(code, f) for code, _ in judged]
        arrays = [fp.decode(c, f) for c in codes]
        assert_same(elementwise.apply(op, *arrays, f=f, rounding=mode), want, codes[0])
        got = elementwise.flags_of(op, *arrays, f=f, rounding=mode, tininess=tininess)
        # The five bits are SoftFloat's own.
        wrong = np.flatnonzero(got != np.array([flags for _, flags in judged]))
        shown = [([exact.decode(int(c[i]), f) for c in codes], got[i], judged[i][1]) for i in wrong]
        assert not shown, (tininess, len(shown), shown[:4])


@pytest.mark.parametrize(("tininess", "flags"), [("after", 1), ("before", 3)])
def test_a_block_chooses_the_rule_of_tininess(tininess, flags):
    x = fp.array([1.25 * 2.0**-7], "e5m2")
    y = fp.array([1.5 * 2.0**-8], "e5m2")  # the product is a tie that goes up to 2**-14
    assert fp.flags_of("multiply", x, y, tininess=tininess).tolist() == [flags]
    with fp.arithmetic(tininess=tininess) as ctx:
        assert (x * y).tolist() == [2.0**-14]
        assert ("underflow" in ctx.flags) == (tininess == "before")
        assert fp.flags_of("multiply", x, y).tolist() == [flags]
    with fp.arithmetic(tininess=tininess) as ctx:
        fp.quantize(2.0**-14 * (1 - 2.0**-12), "fp16")
        assert ("underflow" in ctx.flags) == (tininess == "before")


def test_found_by_random_formats():
    """Once wrong: half of the smallest number a float32 subnormal; hypot with a zero; flags of what
    "ftz" flushes where there is no sign."""
    tiny = fp.Format("own", 5, 0, bias=127, encoding="finite", signed=False)
    x = np.float32([2.8698592549372254e-42])
    assert fp.quantize(x, tiny, rounding="nearest_away", saturation="finite") == 0
    huge = fp.Format("own", 8, 5, bias=-5, encoding="fnuz")
    for operands in ([huge.max, 0.0], [0.0, huge.max]):
        arrays = [np.array([v]) for v in operands]
        for mode in MODES:
            assert elementwise.apply("hypot", *arrays, f=huge, rounding=mode)[0] == huge.max


def test_underflow_by_both_rules_of_tininess():
    seam = 2.0**-14
    for x, after, before in [
        (seam * (1 - 2.0**-12), {"inexact"}, {"inexact", "underflow"}),
        (seam * (1 - 2.0**-11), {"inexact", "underflow"}, {"inexact", "underflow"}),
        (2.0**-24, set(), set()),
    ]:
        assert exact.flags_of_rounding(x, fp.FP16) == after
        assert exact.flags_of_rounding(x, fp.FP16, tininess="before") == before


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide"])
@pytest.mark.parametrize("f", [f for f in NAMED.values() if f.bits <= 6], ids=str)
def test_every_pair_of_the_smallest_formats_in_every_mode(f, op):
    every = np.array([exact.decode(code, f) for code in range(1 << f.bits)])
    for x, y in itertools.product(every, every):
        if op == "divide" and x == 0 and y == 0:
            continue
        for mode in MODES:
            got = elementwise.apply(op, np.array([x]), np.array([y]), f=f, rounding=mode)
            assert same(got[0], exact.compute(op, x, y, f=f, rounding=mode))


# -- settings that scope -------------------------------------------------------------------------


def test_a_block_sets_the_arithmetic_of_everything_inside():
    x = fp.array([1.0, 60000.0], "fp16")
    with fp.arithmetic(rounding="toward_positive", saturation="finite") as ctx:
        assert (x + 2.0**-24).tolist() == [1.0009765625, 60032.0]
        assert (x * x).tolist() == [1.0, 65504.0]
        assert fp.quantize(0.1, "bf16") == 0.10009765625
        assert fp.quantize(0.1, "bf16", rounding="toward_zero") == 0.099609375
        with fp.arithmetic(rounding="to_odd"):
            assert (x * x).tolist() == [1.0, 65504.0]
            assert fp.quantize(1 + 2.0**-9, "bf16") == 1.0078125
    assert ctx.flags == {"inexact", "overflow"}
    assert (x * x).tolist() == [1.0, math.inf]
    assert repr(ctx) == "fp.arithmetic(rounding='toward_positive', saturation='finite')"


def test_operations_in_a_stochastic_block_are_independent_and_repeatable():
    x = fp.array(np.ones(2000), "bf16")

    def run():
        with fp.arithmetic(rounding="stochastic", seed=3):
            return [(x + 2.0**-9).to_numpy() for _ in range(2)]

    first, second = run()
    assert not np.array_equal(first, second)
    assert abs(np.mean(first > 1) - 0.25) < 0.04
    again = run()
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "up"}, "unknown rounding 'up'"),
        ({"tininess": "later"}, "unknown tininess 'later'"),
        ({"random_bits": 65}, "random_bits must be an integer from 1 to 64"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"traps": ["overflw"]}, "unknown trap 'overflw'; did you mean 'overflow'?"),
    ],
)
def test_bad_settings_are_refused_when_named(options, message):
    with pytest.raises(fp.ArgumentError, match=message):
        fp.arithmetic(**options)


def test_flags_of_divide_and_friends():
    x = fp.array([1.0, 0.0, np.inf, 60000.0, 3.0], "fp16")
    y = fp.array([0.0, 0.0, np.inf, 0.5, 3.0], "fp16")
    assert fp.flags_of("divide", x, y).tolist() == [
        Flag.DIVIDE_BY_ZERO,
        Flag.INVALID,
        Flag.INVALID,
        Flag.OVERFLOW | Flag.INEXACT,
        0,
    ]
    e4m3 = fp.array([1.0, 448.0], fp.E4M3)
    assert fp.flags_of("divide", e4m3, [0.0, 0.5]).tolist() == [
        Flag.DIVIDE_BY_ZERO,
        Flag.OVERFLOW | Flag.INEXACT,
    ]


def test_sums_take_the_settings_of_a_block():
    x = fp.array([60000.0, 60000.0], "fp16")
    with fp.arithmetic(saturation="finite"):
        assert x.sum().item() == 65504
        assert (x @ fp.array([1.0, 1.0], "fp16")).item() == 65504
    with fp.arithmetic(rounding="toward_zero"):
        assert fp.sum(x).item() == 65504
    small = fp.array([2.0**-20, 2.0**-20], "fp16")
    with fp.arithmetic(subnormals="ftz"):
        assert fp.sum(small).item() == 0


def test_a_trap_raises_after_setting_the_flag():
    x = fp.array([1.0, 60000.0], "fp16")
    with fp.arithmetic(traps=["overflow", "divide_by_zero"]) as ctx:
        assert (x * 1.0).tolist() == [1.0, 60000.0]
        _ = x + 2.0**-24  # inexact, which is not trapped
        with pytest.raises(fp.TrapError, match="multiply signalled overflow") as caught:
            x * x
        assert isinstance(caught.value, ArithmeticError)
        with pytest.raises(fp.TrapError, match="divide signalled divide_by_zero"):
            x / 0.0
        with pytest.raises(fp.TrapError, match="quantize signalled overflow"):
            fp.quantize(1e9, "fp16")
    assert ctx.flags == {"inexact", "overflow", "divide_by_zero"}
    assert repr(ctx) == "fp.arithmetic(traps=['divide_by_zero', 'overflow'])"


def test_watching_formats_that_span_float64s_range():
    """Once wrong: overflow of stochastic rounding where no format has more exponents; an error for
    formats without a sign."""
    f = fp.p3109(12, 2)
    x = np.full(64, f.max * (1 + 1 / 16))
    with fp.arithmetic(rounding="stochastic", seed=1) as ctx, fp.trace() as t:
        beyond = np.isinf(fp.quantize(x, f))
    assert 0 < t.count("overflow") == np.count_nonzero(beyond) < 64
    assert ctx.flags == {"inexact", "overflow"}
    small = f.smallest_normal * (1 - 1 / 32)
    with fp.arithmetic(rounding="stochastic", seed=1), fp.trace() as t:
        fp.quantize(np.full(64, small), f)
    assert 0 < t.count("underflow") < 64
    unsigned = fp.Format("u", 11, 20, signed=False)
    with fp.arithmetic(), fp.trace() as t:
        assert fp.quantize([1.5, -1.0, -1e-320], unsigned).tolist()[0] == 1.5
    assert (t.count("inexact"), t.count("invalid")) == (1, 1)


def test_what_daz_reads_as_zero_signals_nothing_in_any_list():
    for other in (1.0, 2.0**60):
        with fp.arithmetic(subnormals="daz") as ctx, fp.trace() as t:
            fp.quantize([1e-310, other], "fp32")
        assert ctx.flags == set()
        assert (t.count("nonzero"), t.count("flushed_to_zero")) == (1, 0)


@pytest.mark.parametrize("op", exact.OPERANDS)
def test_the_number_of_operands_is_checked(op):
    x = fp.array([1.0, 2.0], "fp16")
    right = exact.OPERANDS[op]
    assert fp.compute(op, *[x] * right).shape == (2,)
    for count in {1, 2, 3, 4} - {right}:
        for function in (fp.compute, fp.flags_of):
            with pytest.raises(fp.ArgumentError, match=f"{op} takes {right} operands, got {count}"):
                function(op, *[x] * count)


def test_negation_changes_the_sign_and_nothing_else():
    x = fp.array([math.inf, -math.inf, 2.0**-24, 0.0, math.nan], "fp16")
    with fp.arithmetic(saturation="finite", subnormals="ftz"):
        assert_same((-x).to_numpy(), [-math.inf, math.inf, -(2.0**-24), -0.0, math.nan], [0] * 5)
        # A conversion does what the block says, also from the format to itself.
        assert fp.array(x, "fp16").tolist()[:3] == [65504.0, -65504.0, 0.0]
    assert not np.signbit((-x).to_numpy()[4])
    assert_same((-fp.array([0.0, 1.0], "e4m3fnuz")).to_numpy(), [0.0, -1.0], [0, 1])
