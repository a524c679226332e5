"""Explanations: agreement with the exact reference, the classical cases in words, HTML, errors."""

from __future__ import annotations

import math
import pickle
import xml.etree.ElementTree as ET
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fpemu as fp
from fpemu import exact, markup
from fpemu.chance import Chance
from fpemu.explaining import steps
from fpemu.explaining.aligned import Row, aligned
from fpemu.explaining.numbers import binary, expansion, portion
from fpemu.formats import NAMED
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

FORMATS = [
    *NAMED.values(),
    *map(fp.as_format, ("binary8p4se", "binary8p1uf", "binary6p3sf", "binary7p2ue")),
    fp.as_format("binary13p1se"),  # beyond float64
    fp.Format("scale", 3, 2, encoding="fnu"),
    fp.Format("unsigned", 4, 3, signed=False),
    fp.Format("powers", 4, 0, encoding="fn"),
]


@st.composite
def numbers(draw, f):
    """Numbers where something happens: near the values of `f`, at its ends, and anywhere."""
    kind = draw(st.sampled_from(["near", "near", "special", "float", "fraction"]))
    if kind == "special":
        specials = [0.0, -0.0, math.inf, -math.inf, math.nan, 0]
        return draw(st.sampled_from(specials))
    if kind == "float":
        return draw(st.floats(allow_nan=False))
    if kind == "fraction":
        return draw(st.fractions(-1000, 1000, max_denominator=10**6))
    code = draw(st.one_of(st.integers(0, (1 << f.bits) - 1), st.just(f.max_code)))
    value = exact.decode(code, f)
    if isinstance(value, float) and not math.isfinite(value):
        value = f.max
    e = max(exact.floor_log2(abs(Fraction(value))), f.emin) if value else f.emin
    tiny = Fraction(1, 2**45)
    part = draw(st.sampled_from([0, Fraction(1, 2), Fraction(1, 4), 1]))
    nudge = draw(st.sampled_from([-tiny, 0, tiny]))
    sign = draw(st.sampled_from([1, -1]))
    return Fraction(value) + sign * (part + nudge) * Fraction(2) ** (e - f.fraction_bits)


def same(a, b) -> bool:
    if a is None or b is None:
        return a is b
    if a != a or b != b:
        return a != a and b != b
    return a == b and (a != 0 or math.copysign(1, a) == math.copysign(1, b))


def a_setting(data):
    chosen = {
        "rounding": data.draw(st.sampled_from(sorted(ROUNDING))),
        "saturation": data.draw(st.sampled_from(sorted(SATURATION))),
        "subnormals": data.draw(st.sampled_from(sorted(SUBNORMALS))),
    }
    chance = Chance(
        data.draw(st.integers(0, 5)),
        data.draw(st.sampled_from([1, 3, 24, 64])),
        data.draw(st.sampled_from("ABC")),
    )
    drawn = {
        "seed": chance.seed,
        "random_bits": chance.random_bits,
        "random_variant": chance.variant,
    }
    return chosen, drawn, chance.away(0) if chosen["rounding"] == "stochastic" else None


def check_rounding(data) -> None:
    f = data.draw(st.sampled_from(FORMATS))
    x = data.draw(numbers(f))
    chosen, drawn, away = a_setting(data)
    try:
        want = exact.round_to(x, f, away=away, **chosen)
    except fp.ArgumentError:
        want = None
    told = fp.explain(x, f, **chosen, **drawn)
    assert same(told.result, want)
    if want is not None:
        assert told.facts["flags"] == sorted(exact.flags_of_rounding(x, f, away=away, **chosen))
        assert int(told.facts["code"], 16) == exact.encode(want, f)


@settings(max_examples=300)
@given(data=st.data())
def test_a_rounding_ends_where_the_reference_ends(data):
    check_rounding(data)


OPERATIONS = {"add": 2, "subtract": 2, "multiply": 2, "divide": 2, "sqrt": 1, "fma": 3}


@settings(max_examples=300)
@given(data=st.data())
def test_an_operation_ends_where_the_reference_ends(data):
    f = data.draw(st.sampled_from(FORMATS))
    op = data.draw(st.sampled_from(sorted(OPERATIONS)))
    operands = [data.draw(numbers(f)) for _ in range(OPERATIONS[op])]
    chosen, drawn, away = a_setting(data)
    try:
        read = [operand_of(x, f, chosen["saturation"]) for x in operands]
    except fp.ArgumentError:
        with pytest.raises(fp.ArgumentError, match="NaN cannot be stored"):
            getattr(fp.explain, op)(*operands, f, **chosen, **drawn)
        return
    try:
        want = exact.compute(op, *read, f=f, away=away, **chosen)
    except fp.ArgumentError:
        want = None
    told = getattr(fp.explain, op)(*operands, f, **chosen, **drawn)
    assert same(told.result, want)
    if want is not None:
        flags = exact.flags_of_operation(op, *read, f=f, away=away, **chosen)
        assert told.facts["flags"] == sorted(flags)


def operand_of(x, f, saturation):
    """A number rounded to the format; the format's own infinities are values already."""
    own = isinstance(x, float) and math.isinf(x) and f.has_inf and (f.signed or x > 0)
    return x if own else exact.round_to(x, f, saturation=saturation)


@pytest.mark.parametrize(
    "bug",
    [
        lambda g: {"outer": g.inner},
        lambda g: {"odd": not g.odd},
        lambda g: {"rest": g.rest / 2},
        lambda g: {"inner": 2 * g.inner},
    ],
    ids=["one neighbour", "parity", "part of the gap", "inner"],
)
def test_a_planted_bug_in_the_steps_is_caught(monkeypatch, bug):
    right = steps.grid_of

    def wrong(x, f):
        grid = right(x, f)
        return steps.Grid(**{**grid.__dict__, **bug(grid)})

    monkeypatch.setattr(steps, "grid_of", wrong)
    with pytest.raises(AssertionError):
        settings(max_examples=300, derandomize=True, report_multiple_bugs=False)(
            given(data=st.data())(check_rounding)
        )()


# -- neighbours, position, error: against NumPy's float16 and exact rationals -------------------


def check_neighbours(x: float) -> None:
    told = fp.explain(x, "fp16").facts
    near = np.float16(x)
    below = near if float(near) <= x else np.nextafter(near, np.float16(-np.inf))
    above = near if float(near) >= x else np.nextafter(near, np.float16(np.inf))
    if below == above:  # x itself is a float16
        below, above = (np.nextafter(near, np.float16(end)) for end in (-np.inf, np.inf))
    assert float(told["below"]["value"]) == below
    assert float(told["above"]["value"]) == above
    assert int(told["below"]["code"], 16) == below.view(np.uint16)
    assert int(told["above"]["code"], 16) == above.view(np.uint16)
    assert int(told["code"], 16) == near.view(np.uint16)


@given(x=st.floats(-65000, 65000).filter(lambda x: x == 0 or abs(x) > 1e-7))
def test_neighbours_are_numpys(x):
    if x:
        check_neighbours(x)


def test_a_planted_bug_in_a_neighbour_is_caught(monkeypatch):
    right = steps.grid_of

    def wrong(x, f):
        grid = right(x, f)
        unit = Fraction(2) ** grid.place
        return steps.Grid(**{**grid.__dict__, "outer": grid.outer + unit})

    check_neighbours(0.1)
    monkeypatch.setattr(steps, "grid_of", wrong)
    with pytest.raises(AssertionError):
        check_neighbours(0.1)


def lines_of(told: str) -> dict[str, str]:
    """The explanation by label, the lines of each joined with single blanks."""
    by_label: dict[str, str] = {}
    label = ""
    for line in told.splitlines()[1:]:
        if not line.startswith(" "):
            label, _, line = line.partition("  ")
        by_label[label] = f"{by_label.get(label, '')} {' '.join(line.split())}".strip()
    return by_label


def test_a_tenth_in_fp16():
    told = fp.explain("0.1", "fp16")
    said = lines_of(told)
    # 0.1 * 2**14 = 1638.4: between 1638 and 1639 units, 2/5 up.
    assert said["exact value"].startswith("0.1 1.1001100110|0110011")
    assert "2**-4 <= |x| < 2**-3" in said["grid"]
    assert "2**-14 = 0.00006103515625 apart" in said["grid"]
    assert said["position"] == "2/5 (0.4) of the way up"
    assert "0x2e66" in said["neighbours"]
    assert "0x2e67" in said["neighbours"]
    assert said["result"] == "0.0999755859375 0x2e66 0 01011 1001100110 1638*2**-14"
    assert said["error"] == "-0.4 ulp"
    assert said["flags"] == "inexact"
    assert told.facts["error_ulps"] == -0.4
    assert not any(label.startswith("via") for label in said)


def test_a_float_is_the_float64_that_it_is():
    said = lines_of(fp.explain(0.1, "fp16"))
    assert "0.1, which as a float64 is 0.1000000000000000055511151231257827" in said["exact value"]


def test_464_is_the_tie_that_e4m3_takes_down():
    told = fp.explain(464, "e4m3")
    said = lines_of(told)
    assert "448 0x7e 0 1111 110" in said["neighbours"]
    assert "480 - (beyond the largest number)" in said["neighbours"]
    assert said["position"] == "1/2 of the way up, a tie"
    assert said["decision"].endswith("takes the neighbour whose last bit is 0, 448")
    assert "464 is the tie beyond the largest number, 448" in said["overflow"]
    assert said["overflow"].startswith("none: it is judged after rounding")
    assert (told.result, told.facts["tie"], told.facts["flags"]) == (448, True, ["inexact"])


def test_465_overflows_and_saturation_is_a_choice():
    told = fp.explain(465, "e4m3")
    said = lines_of(told)
    assert "480 is beyond the largest number" in said["overflow"]
    assert "e4m3 has no infinity: the result is NaN" in said["overflow"]
    assert told.facts["code"] == "0x7f"
    assert told.facts["flags"] == ["inexact", "overflow"]
    saturated = fp.explain(465, "e4m3", saturation="finite")
    assert "takes the largest number, 448, instead of NaN" in lines_of(saturated)["overflow"]
    assert saturated.result == 448
    assert "e4m3, nearest_even, saturation finite" in saturated.splitlines()[0]


def test_65520_is_where_fp16_overflows():
    assert fp.explain("65519.99", "fp16").result == 65504
    told = fp.explain("65520", "fp16")
    said = lines_of(told)
    assert told.result == math.inf
    assert "65520 is the tie beyond the largest number, 65504" in said["overflow"]
    assert "nearest_even overflows from there on" in said["overflow"]
    assert "from there on" in lines_of(fp.explain("65519.99", "fp16"))["overflow"]
    assert fp.explain(-1e9, "fp16", rounding="toward_positive").result == -65504
    said = lines_of(fp.explain(-1e9, "fp16", rounding="toward_positive"))
    assert "toward_positive goes no further than the largest number, -65504" in said["overflow"]


def test_double_rounding_through_float32_is_shown_where_it_matters():
    x = 1 + 2.0**-11 + 2.0**-40
    assert np.float16(np.float32(x)) == 1  # what the line says
    said = lines_of(fp.explain(x, "fp16"))
    assert said["via float32"].startswith("through float32 this would have become 1, by rounding")
    assert "1.00048828125" in said["via float32"]
    assert "via float64" not in said
    told = fp.explain("1.00048828125000000000000000001", "fp16")  # not a float64 either
    assert told.facts["double_rounding"] == {"float32": "1", "float64": "1"}
    assert fp.explain(0.1, "fp16").facts["double_rounding"] == {}
    assert fp.explain("1.00000005960464477540000001", "fp32").facts["double_rounding"] == {
        "float64": "1"
    }


def test_2_to_the_minus_25_is_a_tie_that_goes_to_zero():
    told = fp.explain("2^-25", "fp16")
    said = lines_of(told)
    assert "below the smallest normal, 2**-14" in said["grid"]
    assert "0x0000" in said["neighbours"]
    assert "0x0001" in said["neighbours"]
    assert "last bit is 0, 0" in said["decision"]
    assert told.facts["flags"] == ["inexact", "underflow"]
    assert told.result == 0


@pytest.mark.parametrize(
    ("mode", "want", "reason"),
    [  # 1 + 3/4 of a gap of 2**-10, and its negative
        ("nearest_even", ("1.0009765625", "-1.0009765625"), "takes the nearer neighbour"),
        ("nearest_away", ("1.0009765625", "-1.0009765625"), "takes the nearer neighbour"),
        ("toward_zero", ("1", "-1"), "of smaller magnitude"),
        ("toward_positive", ("1.0009765625", "-1"), "takes the upper neighbour"),
        ("toward_negative", ("1", "-1.0009765625"), "takes the lower neighbour"),
        ("to_odd", ("1.0009765625", "-1.0009765625"), "whose last bit is 1"),
    ],
)
def test_every_mode_says_why(mode, want, reason):
    x = 1 + 3 * 2.0**-12
    for sign, value in zip((1, -1), want, strict=True):
        told = fp.explain(sign * x, "fp16", rounding=mode)
        assert told.facts["value"] == value
        assert reason in lines_of(told)["decision"]
        assert value in lines_of(told)["decision"]
        assert told.facts["position"] == ("3/4 (0.75)" if sign > 0 else "1/4 (0.25)")


def test_ties_away_and_tinies_under_each_tininess():
    told = fp.explain(1 + 2.0**-11, "fp16", rounding="nearest_away")
    assert "of larger magnitude, 1.0009765625" in lines_of(told)["decision"]
    x = 2.0**-14 * (1 - 2.0**-12)  # number-formats.md, 20: only tiny before rounding
    after, before = (fp.explain(x, "fp16", tininess=rule) for rule in ("after", "before"))
    assert after.facts["flags"] == ["inexact"]
    assert before.facts["flags"] == ["inexact", "underflow"]
    assert "judged before, underflow, too" in lines_of(after)["flags"]
    assert "judged after, no underflow" in lines_of(before)["flags"]


# -- chance --------------------------------------------------------------------------------------


@given(
    rest=st.fractions(0, Fraction(999, 1000), max_denominator=1000),
    bits=st.integers(1, 6),
    variant=st.sampled_from("ABC"),
)
def test_probabilities_are_counted(rest, bits, variant):
    away = [exact.rounds_away_by_chance(rest, r, bits, variant) for r in range(1 << bits)]
    want = Fraction(sum(away), 1 << bits)
    assert steps.chances(rest, Chance(random_bits=bits, variant=variant)) == want


def test_stochastic_tells_both_outcomes_or_draws():
    told = fp.explain("1.000244140625", "fp16", rounding="stochastic")  # a quarter up
    assert told.result is None
    assert "takes 1.0009765625 with probability 1/4 (0.25), 1 with" in lines_of(told)["decision"]
    assert [row["value"] for row in told.facts["results"]] == ["1", "1.0009765625"]
    for seed in range(20):
        told = fp.explain("1.000244140625", "fp16", rounding="stochastic", seed=seed, random_bits=8)
        draw = exact.random_integer(0, seed, 8)
        want = 1.0009765625 if draw + 64 >= 256 else 1.0  # variant A: 1/4 of 256, plus the draw
        assert (
            told.result
            == want
            == fp.quantize(
                [1.000244140625], "fp16", rounding="stochastic", seed=seed, random_bits=8
            )
        )
        assert f"seed {seed} draws {draw} of 0 to 2**8 - 1" in lines_of(told)["decision"]
        assert "from 192 on" in lines_of(told)["decision"]
    assert fp.explain(1, "fp16", rounding="stochastic").result == 1


# -- special values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "f", "options", "value", "facts"),
    [
        (-0.0, "e4m3fnuz", {}, "0", "e4m3fnuz has no -0: it becomes +0"),
        (-0.0, "fp16", {}, "-0", "keeps its sign: -0"),
        ("-1e-30", "e4m3fnuz", {}, "0", "e4m3fnuz has no -0: the result is +0"),
        ("-1e-30", "fp16", {}, "-0", "nearest_even takes the nearer neighbour, -0"),
        (math.nan, "e2m1", {}, None, "e2m1 has no NaN, so that storing it is an error"),
        (math.nan, "e2m1", {"saturation": "finite"}, "6", "stores the largest number, 6"),
        (math.nan, "fp16", {}, "nan", "NaN stays NaN"),
        (math.inf, "e4m3", {}, "nan", "e4m3 has no infinity: it becomes NaN"),
        (math.inf, "e2m1", {}, "6", "e2m1 has neither infinity nor NaN"),
        (-math.inf, "e5m2", {"saturation": "finite"}, "-57344", "largest number, -57344"),
        (-math.inf, "e5m2", {"saturation": "propagate"}, "-inf", "infinity is exact"),
        (5, "e2m1", {}, "4", "a tie"),
        (100, "e2m1", {}, "6", "e2m1 has neither infinity nor NaN: the result is the largest"),
        (0, "e8m0", {}, "nan", "e8m0 has no zero; saturation 'none' makes it NaN"),
        (-3, "e8m0", {}, "nan", "e8m0 has no negative numbers: saturation 'none' gives NaN"),
        ("1e-60", "e8m0", {}, None, "e8m0 has no zero: the result is its smallest number"),
        ("-2^-15", "fp16", {"subnormals": "ftz"}, "-0", "ftz: a result below the smallest normal"),
        ("2^-15", "fp16", {"subnormals": "daz"}, "0.000030517578125", "daz concerns operands"),
        (1e9, "fp16", {"rounding": "to_odd"}, "65504", "whose last bit is 1"),
        (1e9, "e4m3", {"rounding": "to_odd"}, "448", "rather than NaN"),
        (3, "e8m0", {}, "2", "whose last bit is 0, 2"),
    ],
)
def test_rules_of_formats_and_settings_are_named(x, f, options, value, facts):
    told = fp.explain(x, f, **options)
    assert facts in " ".join(told.split())
    if value is not None:
        assert told.facts["value"] == value
    if x != x and value is None:
        assert told.result is None
        assert told.facts["value"] is None


def test_what_is_a_number_of_the_format_is_not_rounded():
    told = fp.explain(448, "e4m3")
    said = lines_of(told)
    assert said["exact"] == "it is a number of e4m3: nothing to round, in any mode"
    assert "next below 416 0x7d" in said["neighbours"]
    assert "next above NaN 0x7f" in said["neighbours"]
    assert (said["error"], said["flags"]) == ("none: exact", "none")


def test_settings_of_a_block_apply():
    with fp.arithmetic(rounding="toward_positive"):
        assert fp.explain("0.1", "fp16").result == 0.10003662109375
    assert fp.explain("0.1", "fp16").result == 0.0999755859375


# -- operations --------------------------------------------------------------------------------------


def test_one_is_swamped_by_2048_in_fp16():
    told = fp.explain.add(2048, 1, "fp16")
    assert np.float16(2048) + np.float16(1) == told.result == 2048
    assert told.facts["swamped"] == "b"
    said = lines_of(told)
    assert "1/2 of the gap of 2 to the next number: a tie, which goes back" in said["swamped"]
    assert "11 places apart" in said["aligned"]
    assert "behind the last place, 2**1, there is 1: 1/2 of it" in said["cut off"]
    assert "| 10000000000" not in told
    assert "sum  + 10000000000|1" in told
    assert fp.explain.add(1, 2048, "fp16").facts["swamped"] == "a"
    assert fp.explain.add(2048, 2, "fp16").facts["swamped"] is None
    assert fp.explain.add(2048, 3, "fp16").facts["swamped"] is None
    assert fp.explain.add(1, 0, "fp16").facts["swamped"] is None
    subtracted = fp.explain.subtract("0.0001", 1, "fp16")
    assert (subtracted.result, subtracted.facts["swamped"]) == (-1, "a")
    assert fp.explain.fma(0.001, 0.001, 1, "fp16").facts["swamped"] == "product"


def test_swamped_in_other_modes_and_by_saturation():
    told = fp.explain.add(1, 2.0**-11 + 2.0**-12, "fp16", rounding="toward_zero")
    # 3/4 of the gap: only a directed mode goes back over that.
    assert told.facts["swamped"] == "b"
    assert "3/4 (0.75) of the gap of 0.0009765625" in lines_of(told)["swamped"]
    assert "toward_zero goes back over that" in lines_of(told)["swamped"]
    assert fp.explain.add(1, 2.0**-11 + 2.0**-12, "fp16").facts["swamped"] is None
    # Below a power of two the gap is half as wide: 2**-13 is a quarter of 2**-11.
    told = fp.explain.subtract(1, 2.0**-13, "fp16")
    assert "1/4 (0.25) of the gap of 0.00048828125" in lines_of(told)["swamped"]
    told = fp.explain.add(448, 96, "e4m3", saturation="finite")
    assert "because of what the format does" in lines_of(told)["swamped"]


def test_operands_are_rounded_first_and_that_is_said():
    told = fp.explain.add(1, "0.0001", "fp16")
    assert "0.0001 is not a number of fp16: first rounded to nearest even" in told
    assert [row["exact"] for row in told.facts["operands"]] == [True, False]
    assert told.facts["operands"][1]["value"] == "0.00010001659393310546875"
    told = fp.explain.add(2.0**-24, 1, "fp16", subnormals="daz")
    assert "subnormal, and daz reads it as 0" in told


def test_products_quotients_and_roots():
    told = fp.explain.multiply("0.1", "0.1", "fp16")
    said = lines_of(told)
    assert f"1638 * 1638 = {1638 * 1638}, 22 bits; fp16 has room for 11" in said["significands"]
    assert "exponents -14 + (-14) = -28" in said["significands"]
    said = lines_of(fp.explain.divide(1, 3, "fp16"))
    assert "does not end in binary" in said["significands"]
    assert said["exact value"].startswith("1 / 3 = 0.33333")
    assert "ends in binary" in lines_of(fp.explain.divide(1, 4, "fp16"))["significands"]
    assert "irrational" in lines_of(fp.explain.sqrt(2, "fp16"))["root"]
    assert lines_of(fp.explain.sqrt(4, "fp16"))["root"] == "exact"
    told = fp.explain.fma(192, 192, 2.0**-16, "e5m2")  # number-formats.md, 3
    assert told.result == 40960
    assert told.facts["double_rounding"]["float32"] == "32768"


def test_operations_without_a_number_for_a_result():
    told = fp.explain.sqrt(-2, "fp16")
    assert "invalid: there is no such number, so it is NaN" in told
    assert told.facts["flags"] == ["invalid"]
    told = fp.explain.divide(1, 0, "e4m3")
    assert "divide_by_zero: a finite number over zero is an infinity" in told
    assert told.facts["flags"] == ["divide_by_zero"]
    told = fp.explain.subtract(1.5, 1.5, "fp16", rounding="toward_negative")
    assert math.copysign(1, told.result) == -1
    assert "but -0 in toward_negative" in told


@given(a=st.fractions(0, 100, max_denominator=64), b=st.fractions(0, 100, max_denominator=64))
def test_aligned_digits_stand_under_each_other(a, b):
    dyadic = [Fraction(int(x * 64), 64) for x in (a, b)]
    rows = [Row("a", False, dyadic[0], -6), Row("b", False, dyadic[1], -6)]
    first, second = (line[5:] for line in aligned(rows, -2))
    assert first.index("|") == second.index("|")
    for value, line in zip(dyadic, (first, second), strict=True):
        before, after = line.split("|")
        shift = 2 + len(after.rstrip())  # the bar stands behind 2**-2
        assert "..." not in line
        assert Fraction(int((before + after).strip() or "0", 2), 2**shift) == value


def test_far_apart_exponents_are_shortened_and_counted():
    told = fp.explain.add(1, "2^-100", "fp32")
    (row,) = [line for line in told.splitlines() if " sum " in line]
    assert len(row) < 80
    # 1.0 to 2**-23 before the bar: 23 zeros; behind it 2**-24 to 2**-99 are 76 zeros, then the 1.
    assert "...19 zeros..." in row
    shown, cut = row.split("|")[1].split("..."), "...72 zeros..."
    assert cut in row
    assert shown[0].strip() == "00"
    assert shown[2].strip() == "001"


# -- numbers as text ---------------------------------------------------------------------------


@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_expansions_are_exact_or_end_in_dots(x):
    text = expansion(x)
    if "..." in text:
        cut = Fraction(text.replace("...", ""))
        assert abs(cut) < abs(Fraction(x))
        assert abs(cut - Fraction(x)) < abs(Fraction(x)) * Fraction(1, 10**28)
    else:
        assert Decimal(text) == Decimal(x)


@given(x=st.fractions(Fraction(1, 10**6), 10**6), place=st.integers(-30, 10))
def test_binary_digits_say_the_number(x, place):
    text = binary(x, place)
    digits, _, e = text.partition(" * 2**")
    clean = digits.replace("|", "").replace("...", "")
    value = Fraction(int(clean.replace(".", ""), 2), 2 ** (len(clean) - 2)) * Fraction(2) ** int(e)
    if "..." in digits:
        assert 0 < x - value < x * Fraction(1, 2**11)
    else:
        assert value == x
    if "|" in digits:
        assert int(e) - (digits.index("|") - 2) == place


def test_what_is_nearly_a_half_never_looks_like_one():
    assert portion(Fraction(1, 2) - Fraction(1, 10**30)) == "1/2 - 1e-30"
    assert portion(1 - Fraction(1, 2**100)).startswith("1 - 7.88861e-31")
    told = fp.explain(1 + 2.0**-11 + 2.0**-40, "fp16")  # an ulp is 2**-10: 1/2 - 2**-30 of it
    assert lines_of(told)["error"] == "+(1/2 - 9.31323e-10) ulp"


# -- notebooks -----------------------------------------------------------------------------------


def pages():
    yield fp.show("0.1")
    yield fp.show(math.nan, ["e2m1", "e8m0"])
    yield fp.explain("0.1", "fp16")
    yield fp.explain(-465, "e4m3", saturation="finite")
    yield fp.explain("0.1", fp.Format("<b>&", 5, 10))
    yield fp.explain.fma(1, 2, 3, "bf16")
    yield fp.explain.sum([1, 2, 0.1], fp.Format("<b>&", 5, 10))
    yield fp.explain(0.1, "fp16", rounding="stochastic")


@pytest.mark.parametrize("shown", list(pages()))
def test_html_is_well_formed_and_takes_nothing_from_elsewhere(shown):
    page = shown._repr_html_()
    root = ET.fromstring(page)
    assert root.iter("table") is not None
    assert next(root.iter("td")) is not None
    for forbidden in ("<script", "http", "<link", "<style", "<b>"):
        assert forbidden not in page
    text = "".join(root.itertext())
    assert "<b>&" in text or "<b>&" not in shown


def test_fields_are_in_three_colours_that_can_be_read():
    root = ET.fromstring(fp.show("0.1", "fp16")._repr_html_())
    spans = list(root.iter("span"))
    assert [(s.get("title"), s.text) for s in spans] == [
        ("sign", "0"),
        ("exponent", "01011"),
        ("fraction", "1001100110"),
    ]
    assert len({s.get("style") for s in spans}) == 3
    assert [
        s.get("title") for s in ET.fromstring(fp.show(1, "e8m0")._repr_html_()).iter("span")
    ] == ["exponent"]
    for colour in markup.COLOURS.values():  # WCAG 2: 4.5 for text, whatever the page's colour
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) > 4.5


def test_an_explanation_is_text_that_can_be_stored():
    told = fp.explain("0.1", "fp16")
    assert isinstance(told, str)
    assert repr(told) == str(told)
    assert repr(fp.explain) == "fp.explain"
    again = pickle.loads(pickle.dumps(told))
    assert (again, again.facts, again._repr_html_()) == (told, told.facts, told._repr_html_())


# -- show ------------------------------------------------------------------------------------------


@given(code=st.integers(0, 0x7BFF), f=st.just(fp.FP16))
def test_the_integer_times_a_power_is_the_value(code, f):
    value = np.uint16(code).view(np.float16)
    (line,) = fp.show(float(value), f).splitlines()[2:]
    (cell,) = [cell for cell in line.split() if "*2**" in cell]
    n, e = cell.split("*2**")
    assert math.ldexp(int(n), int(e)) == value
    assert int(n) == (code if code < 1024 else 1024 + code % 1024)


def test_show_takes_every_kind_of_number_exactly():
    for x in (Decimal("0.1"), Fraction(1, 10), "0.1", "1/10"):
        assert fp.show(x, "fp64") == fp.show("0.1", "fp64")
    assert fp.show(np.float32(0.1), "fp32") == fp.show(float(np.float32(0.1)), "fp32")
    assert (
        "1.0009765625"
        in fp.show(np.longdouble(1) + np.longdouble(2) ** -11 + np.longdouble(2) ** -60, "fp16")
        or np.finfo(np.longdouble).nmant < 60
    )
    assert " -0 " in fp.show(Decimal("-0"), "fp16")
    assert "inf" in fp.show(Decimal("inf"), "fp16")
    assert "nan" in fp.show(Decimal("nan"), "fp16")
    assert "-inf" in fp.show("1e5000", "e2m1")  # an error beyond float64: no exception
    assert fp.show(np.int64(2**53 + 1), "fp64") == fp.show("9007199254740993", "fp64")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.explain("abc", "fp16"), "'abc' is not a number; write for example 0.1"),
        (lambda: fp.explain(1j, "fp16"), "explain takes one number or its text, got 1j"),
        (lambda: fp.explain([1, 2], "fp16"), r"explain takes one number or its text, got \[1, 2\]"),
        (lambda: fp.explain(1, "fp61"), "unknown format 'fp61'; did you mean"),
        (lambda: fp.explain(1, "fp16", rounding="up"), "unknown rounding 'up'"),
        (lambda: fp.explain(1, "fp16", seed=-1), "seed must be an integer from 0"),
        (lambda: fp.explain(1, "fp16", random_bits=65), "random_bits must be an integer from 1 to"),
        (lambda: fp.explain(1, "fp16", random_variant="D"), "unknown random_variant 'D'"),
        (lambda: fp.explain(1, "fp16", tininess="never"), "unknown tininess 'never'"),
        (lambda: fp.explain.add(1, None, "fp16"), "explain.add takes one number or its text"),
        (lambda: fp.explain.add(1, 2, "fp16", round="x"), "unknown setting 'round'; did you mean"),
        (lambda: fp.explain.add(1, math.nan, "e2m1"), "NaN cannot be stored in e2m1"),
        (lambda: fp.show(Decimal("1e999999"), "fp16"), "1E.999999 is out of range"),
        (lambda: fp.show(object(), "fp16"), "show takes one number or its text"),
    ],
)
def test_errors_say_what_and_what_is_allowed(call, message):
    with pytest.raises(fp.ArgumentError, match=message):
        call()


def test_infinite_operands_are_values_of_the_format():
    """Once said to be rounded first, to what saturation makes of them."""
    for op, operands in (
        ("sqrt", (math.inf,)),
        ("multiply", (math.inf, 0.5)),
        ("subtract", (math.inf, math.inf)),
    ):
        told = getattr(fp.explain, op)(*operands, "fp16", saturation="finite")
        want = exact.compute(op, *operands, f=fp.FP16, saturation="finite")
        assert told.result == want or (want != want and told.result != told.result)
        assert "is not a number of" not in told
