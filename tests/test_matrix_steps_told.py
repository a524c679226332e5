"""Steps of every matrix unit told: the results are the kernels', what is said of the bits adds up, and every
reason given holds when it is tried by other means; pictures; chains."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import xml.etree.ElementTree as ET
from fractions import Fraction

import numpy as np
import pytest

import fpemu as fp
from fpemu.carriers import code_dtype
from fpemu.cli.main import main
from fpemu.convert import decode
from fpemu.explaining.matrix_steps import amd, chains, nvidia, reasons, sums
from fpemu.explaining.matrix_steps.operands import read
from fpemu.matrix_units import every_instruction
from fpemu.verify.units import KINDS, random_codes

INSTRUCTIONS = list(every_instruction())
DIFFERENT = list({(*dataclasses.astuple(i)[3:13],): i for i in INSTRUCTIONS}.values())
BY_ARITHMETIC = list({i.arithmetic: i for i in INSTRUCTIONS}.values())


def operands(rng, made, kind):
    """a, b and c as Arrays of random codes, up to a step of them."""
    most = 5 if made.arithmetic == "fma" else made.length
    k = int(rng.integers((most + 1) // 2, most + 1))
    return [
        fp.array(decode(random_codes(rng, f, n, kind).astype(code_dtype(f)), f), f)
        for f, n in ((made.a, k), (made.b, k), (made.accumulator, 1))
    ]


def by_kernel(a, b, c, made):
    return fp.dot(a, b, c.reshape(()), accumulate=made).item()


def same(x, y):
    both_nan = math.isnan(x) and math.isnan(y)
    return both_nan or (x == y and math.copysign(1, x) == math.copysign(1, y))


def wrong(made, seed=0, rounds=1):
    """How many of some steps told end in another number than the kernel's."""
    rng, count = np.random.default_rng(seed), 0
    for kind in KINDS * rounds:
        a, b, c = operands(rng, made, kind)
        told = reasons.told(read(a, b, c.item(), made, None, None))
        count += not same(float(told.result), by_kernel(a, b, c, made))
    return count


def test_every_instruction_ends_where_the_kernel_does():
    for made in INSTRUCTIONS:
        assert wrong(made) == 0, made


@pytest.mark.parametrize("made", BY_ARITHMETIC, ids=lambda made: made.arithmetic)
def test_what_is_told_adds_up(made):
    rng = np.random.default_rng(1)
    for kind in ("narrow", "finite", "zeros", "tiny"):
        a, b, c = operands(rng, made, kind)
        told = fp.explain.matrix_step(a, b, c.item(), made)
        assert same(float(told.result), by_kernel(a, b, c, made))
        if not told.svg:  # a product beyond CDNA3's limit decides
            continue
        exactly = sum(
            (Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)),
            Fraction(c.item()),
        )
        assert Fraction(number(told.facts["exact_sum"])) == exactly
        for one in told.facts["sums"]:
            for p in one["addends"]:
                assert number(p["value"]) == number(p["kept"]) + number(p["cut"])
        assert len(told.facts["why"]) >= 1
        json.dumps(told.facts)
        ET.fromstring(told.svg)


def number(text):
    """A number as `reals.written` writes it."""
    found = re.fullmatch(r"(-?)(?:(\d+)\*)?2\*\*(-?\d+)", text)
    if found:
        sign, n, e = found.groups()
        return Fraction(int(n or 1)) * Fraction(2) ** int(e) * (-1 if sign else 1)
    return Fraction(text) if "/" in text else Fraction(float(text))


# -- block-scaled ------------------------------------------------------------------------------

SCALED = [
    ("e4m3", "e8m0", 32, 32),
    ("e2m3", "e8m0", 32, 32),
    ("e2m1", "e8m0", 32, 64),
    ("e2m1", "e4m3", 16, 64),
    ("e2m1", "e8m0", 16, 48),
]


@pytest.mark.parametrize(("f", "scale", "block", "k"), SCALED)
def test_scaled_steps_end_where_the_kernel_does(f, scale, block, k):
    rng = np.random.default_rng(0)
    for _ in range(3):
        a, b = (fp.array(rng.normal(size=k) * 2, f) for _ in range(2))
        left, right = (fp.array(2 ** rng.normal(size=k // block) * 3, scale) for _ in range(2))
        c = float(np.float32(rng.normal()))
        told = fp.explain.matrix_step(a, b, c, "b200 tcgen05", scales=(left, right))
        row, column = a.reshape((1, k)), b.reshape((k, 1))
        scales = left.reshape((1, k // block)), right.reshape((k // block, 1))
        want = fp.scaled_matmul(row, column, *scales, fp.array([[c]], "fp32"))
        assert told.result == want.item()
        ET.fromstring(told.svg)


def test_scales_as_numbers_and_nan():
    ones = [1.0] * 32
    told = fp.explain.matrix_step(ones, ones, 0, "b200 tcgen05", f="e4m3", scales=([4], [0.5]))
    assert told.result == 64.0
    assert told.facts["exponents"][0] == 1
    told = fp.explain.matrix_step(
        ones, ones, 0, "b200 tcgen05", f="e4m3", scales=(fp.array([np.nan], "e8m0"), [1])
    )
    assert math.isnan(told.result)
    told = fp.explain.matrix_step(
        ones, ones, 0, "b200 tcgen05", f="e2m1", scales=([1.5] * 2, [1] * 2)
    )
    assert told.result == 48.0
    assert "4 groups of 16" in told


@pytest.mark.parametrize(
    ("scales", "unit", "message"),
    [
        (([1], [1, 1]), "b200 tcgen05", "as many scales for a as for b"),
        (([1],), "b200 tcgen05", "scales must be two"),
        (([1], [1]), "h100 wgmma", "takes no scales"),
        ((fp.array([1], "e8m0"), fp.array([1], "e4m3")), "b200 tcgen05", "share a format"),
        (([1], [1]), fp.matrix_unit("b200", "tcgen05").on("e4m3"), "unit must be a MatrixUnit"),
    ],
)
def test_scales_that_do_not_fit(scales, unit, message):
    with pytest.raises(fp.FpemuError, match=message):
        fp.explain.matrix_step([1.0] * 32, [1.0] * 32, 0, unit, f="e4m3", scales=scales)


# -- planted bugs ------------------------------------------------------------------------------


def _one_bit_more(addends, place, off, rule="cut"):
    return sums.placed(addends, place - 1, off, rule)


def _toward_zero(addends, place, off, rule="cut"):
    return sums.placed(addends, place, off, "cut")


@pytest.mark.parametrize(
    ("unit", "f", "room", "name", "planted"),
    [
        ("h100", "bf16", nvidia, "placed", _one_bit_more),
        ("h100 mma", "e4m3", nvidia, "_added", lambda x, c, f: fp.exact.round_to(Fraction(x) + Fraction(c), f, rounding="toward_zero")),
        ("mi300", "fp16", amd, "placed", _toward_zero),
        ("mi300", "e5m2fnuz", amd, "placed", _one_bit_more),
        ("mi300", "bf16", amd, "floored", lambda x, place: math.ceil(x / Fraction(2) ** (place + 8)) * Fraction(2) ** (place + 8)),
    ],
)  # fmt: skip
def test_a_planted_bug_is_caught(monkeypatch, unit, f, room, name, planted):
    made = fp.MatrixUnit.parse(unit).on(f)
    some = ("narrow", "finite", "zeros")
    monkeypatch.setitem(globals(), "KINDS", some)
    assert wrong(made, rounds=10) == 0
    monkeypatch.setattr(room, name, planted)
    assert wrong(made, rounds=10) > 0


# -- reasons -----------------------------------------------------------------------------------


def test_reasons_name_the_rule():
    step = fp.explain.matrix_step
    said = step([1, -1, "2^-25"], [1, 1, 1], 0, "a100", f="bf16").facts["why"][0]
    assert said.endswith("with the bits that p2 lost it would be that")
    said = step([1, 1, 1.5 * 2.0**-11], [1, 1, 2.0**-12], 0, "h100", f="fp16").facts["why"][0]
    assert said.endswith("with a rounding to nearest instead of toward zero it would be that")
    said = step([0.0], [0.0], 1 + 2.0**-14, "ada", f="e4m3").facts["why"]
    assert "23 bits of fraction, not 13" in said[0]
    tiny = step([2.0**-75, 2.0**-84], [2.0**-74, 2.0**-80], 0, "a100", f="bf16")
    assert "an alignment without a floor" not in tiny.facts["why"][0]
    said = step([2.0**-15], [1.0], 0, "mi200", f="fp16").facts["why"][0]
    assert said.endswith("with subnormals that are kept it would be that")
    told = step([2.0**-12] * 4, [2.0**-12] * 4, 1.0, "v100", f="fp16")
    assert told.facts["why"][-1] == (
        "c takes part in the sum; added to the products' result afterwards, it would give "
        "1.000000238418579"
    )


def test_the_floor_is_a_reason():
    """Two products of 2^-150 and 2^-157: the grid of A100 ends at 2^-156, and the exact sum, just above half
    of the smallest FP32 number, would become that number."""
    made = dataclasses.replace(fp.matrix_unit("a100").on("bf16"), nearest=True)
    a, b = [2.0**-75, 2.0**-79], [2.0**-75, 2.0**-78]
    told = fp.explain.matrix_step(a, b, 0, made, f="bf16")
    assert told.result == 0.0
    assert told.facts["once"] == str(2.0**-149)
    assert told.facts["why"][0].endswith("with an alignment without a floor it would be that")


@pytest.mark.parametrize("name", ["v100 fp16", "h100 bf16", "ada e4m3"])
def test_reasons_hold_by_other_means(name):
    """Where bits that were cut off are named as the whole reason, the step without that cut, made here in
    Fractions, gives the exact sum rounded once, and the step with it does not."""
    unit, f = name.split()
    made, rng, seen = fp.MatrixUnit.parse(unit).on(f), np.random.default_rng(3), 0
    for _ in range(60):
        a, b, c = operands(rng, made, "narrow")
        given = read(a, b, c.item(), made, None, None)
        step = reasons.told(given)
        once = reasons.once(given)
        if step.result == once:
            continue
        rules = reasons._fewest(given, once)
        values = [Fraction(x) * Fraction(y) for x, y in given.pairs] + [Fraction(given.c)]
        exponents = [p.exponent for p in step.sums[0].addends if p.exponent is not None]
        unit_place = Fraction(2) ** (max(exponents) - made.bits)
        cut = [v if "cut" in rules else math.trunc(v / unit_place) * unit_place for v in values]
        bits = 23 if "fraction" in rules else made.output.fraction_bits
        rounding = "nearest_even" if "zero" in rules else "toward_zero"
        narrow = fp.Format("narrow", 8, bits)
        assert fp.exact.round_to(sum(cut), narrow, rounding=rounding) == once
        seen += 1
    assert seen > 5


# -- pictures ----------------------------------------------------------------------------------

_SVG = "{http://www.w3.org/2000/svg}"


def picture(*arguments, **options):
    return ET.fromstring(fp.explain.matrix_step(*arguments, **options).svg)


def test_a_picture_shows_every_digit():
    """Cut digits are hatched, the kept ones in the colour of their kind, a bar, and words for who cannot see it."""
    root = picture([1, 63 * 2.0**-14], [1, 2.0**-15], 1.5, "h100", f="fp16")
    rects = [r.get("fill") for r in root.iter(f"{_SVG}rect") if r.get("height") == "15"]
    # 63 * 2^-29 has four digits behind 2^-25, and the sum, above 2, three behind FP32's last place there.
    assert sum(fill.startswith("url(#") for fill in rects) == 4 + 3
    assert {"#1d4ed8", "#9a3412", "#475569", "#0f766e"} <= set(rects)
    assert root.get("role") == "img"
    ids = {e.get("id") for e in root.iter() if e.get("id")}
    assert set(root.get("aria-labelledby").split()) <= ids
    assert "p1 loses" in root.find(f"{_SVG}desc").text
    assert any(line.get("stroke-width") == "2" for line in root.iter(f"{_SVG}line"))


@pytest.mark.parametrize(
    ("count", "unit", "f"), [(4, "v100", "fp16"), (16, "h100", "bf16"), (32, "h100 wgmma", "e4m3")]
)
def test_nothing_overlaps_and_nothing_is_outside(count, unit, f):
    rng = np.random.default_rng(count)
    a = rng.normal(size=count)
    root = picture(a, 2.0 ** (a * (3 if f == "e4m3" else 9)), 0.1, unit, f=f)
    width, height = float(root.get("width")), float(root.get("height"))
    texts = [
        (float(t.get("x")), float(t.get("y")), t.text or "", t.get("text-anchor"))
        for t in root.iter(f"{_SVG}text")
    ]
    assert all(0 <= y <= height for _, y, _, _ in texts)
    for x, _, words, anchor in texts:
        assert x + (0 if anchor else 6.7 * len(words)) <= width
    cells = [
        (float(r.get("x")), float(r.get("y")))
        for r in root.iter(f"{_SVG}rect")
        if r.get("height") == "15"
    ]
    assert len(cells) == len(set(cells)) > count
    rows = sorted({y for _, y in cells})
    assert min((b - a for a, b in itertools.pairwise(rows)), default=99) >= 18


def test_wide_spans_are_shortened():
    root = picture([2.0**100, 2.0**-100], [1, 1], 1.5, "h100", f="bf16")
    assert float(root.get("width")) < 700
    assert [t.text for t in root.iter(f"{_SVG}text")].count("...") >= 2


def test_pictures_are_in_notebooks_and_specials_have_none():
    told = fp.explain.matrix_step([1], [1], 0, "h100", f="fp16")
    assert told.svg in told._repr_html_()
    assert fp.explain.matrix_step([np.inf], [1], 0, "h100", f="fp16").svg == ""
    assert fp.explain(1, "fp16").svg == ""


# -- chains ------------------------------------------------------------------------------------

CHAINS = [
    ("v100", "fp16"),
    ("a100 accumulator=fp16", "fp16"),
    ("h100 wgmma promote=64", "e4m3"),
    ("h100 wgmma split=3", "fp16"),
    ("h100 wgmma promote=128 split=2", "e4m3"),
    ("h100 mma", "e5m2"),
    ("b200", "fp64"),
    ("mi200", "bf16"),
    ("mi300", "e4m3fnuz"),
    ("fp32", "fp16"),
    ("fp16 pairwise:8", "fp16"),
    ("fp32 sequential product=exact", "bf16"),
]


@pytest.mark.parametrize(("unit", "f"), CHAINS)
@pytest.mark.parametrize("k", [1, 37, 300])
def test_chains_are_what_dot_gives(unit, f, k):
    rng = np.random.default_rng(k)
    a, b = (fp.array(rng.normal(size=k), f) for _ in range(2))
    told = fp.explain.matrix_chain(a, b, [unit], 0.5)
    model = told.facts["chains"][0]
    out = "fp64" if f == "fp64" else "fp16" if "fp16" in unit else "fp32"
    c = fp.array(0.5, out)
    want = fp.dot(a, b, c, accumulate=unit, out=out).item()
    assert told.result == want
    if model["steps"]:
        assert float(model["steps"][-1]["accumulator"]) == want
        assert model["steps"][-1]["products"][1] == k - 1


def test_accumulators_on_the_way_are_those_of_shorter_sums():
    rng = np.random.default_rng(0)
    a, b = (fp.array(rng.normal(size=64), "fp16") for _ in range(2))
    names = ["v100", "h100", "fp32"]
    told = fp.explain.matrix_chain(a, b, names)
    for name, chain in zip(names, told.facts["chains"], strict=True):
        for step in chain["steps"]:
            end = step["products"][1] + 1
            part = fp.dot(a[:end], b[:end], accumulate=name, out="fp32").item()
            assert float(step["accumulator"]) == part
    for parting in told.facts["partings"]:
        k, models = parting["products"], parting["models"]
        ends = [fp.dot(a[:k], b[:k], accumulate=m, out="fp32").item() for m in models]
        assert ends[0] != ends[1]
        assert [float(t) for t in parting["totals"]] == ends
        sizes = {"v100": 4, "h100": 16, "fp32": 1}
        for before in range(0, k, max(sizes[m] for m in models)):
            ends = [fp.dot(a[:before], b[:before], accumulate=m, out="fp32").item() for m in models]
            assert ends[0] == ends[1]


def test_what_a_chain_loses_adds_up():
    """Exact sum = accumulator + all that was cut off and rounded away."""
    rng = np.random.default_rng(1)
    a, b = (fp.array(rng.normal(size=100), "fp16") for _ in range(2))
    exactly = sum(Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    for unit in ("v100", "a100", "h100", "mi100", "fp32"):
        (chain,) = fp.explain.matrix_chain(a, b, [unit]).facts["chains"]
        lost = sum(number(s["cut"]) + number(s["rounded"]) for s in chain["steps"])
        assert exactly == Fraction(float(chain["result"])) + lost


def test_long_chains_are_shown_in_part():
    ones = [1.0] * 400
    told = fp.explain.matrix_chain(ones, ones, ["v100"], f="fp16")
    assert len(str(told).splitlines()) < 20
    assert len(told.facts["chains"][0]["steps"]) == 100
    together = fp.explain.matrix_chain(ones, ones, ["v100", "a100"], f="fp16")
    assert "nowhere: all agree" in together
    nan = fp.explain.matrix_chain([np.nan], [1.0], ["v100", "a100"], f="fp16")
    assert math.isnan(nan.result)
    assert "nowhere" in nan
    assert fp.explain.matrix_chain([], [], ["v100"], 2.0, f="fp16").result == 2.0


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "at least one model"),
        (["fp16 sequential rounding=stochastic seed=1"], "no random rounding"),
        (["h1000"], "unknown format"),
    ],
)
def test_chains_that_cannot_be_followed(models, message):
    with pytest.raises(fp.FpemuError, match=message):
        fp.explain.matrix_chain([1], [1], models, f="fp16")
    with pytest.raises(fp.FpemuError, match="up to 16384 products"):
        fp.explain.matrix_chain(np.ones(20000), np.ones(20000), ["v100"], f="fp16")


def test_a_planted_bug_in_a_chain_is_caught(monkeypatch):
    monkeypatch.setattr(chains, "_lost", lambda value, result: Fraction(0))
    with pytest.raises(AssertionError):
        test_what_a_chain_loses_adds_up()


# -- the command line --------------------------------------------------------------------------


def test_a_step_on_the_command_line(capsys, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, -1.0, 2.0**-10]]))
    command = ["explain", "matrix-step", str(tmp_path / "a.npy"), "1,1,2^-15", "--unit", "a100"]
    picture = tmp_path / "window.svg"
    assert main([*command, "--c", "-0.5", "--svg", str(picture)]) == 0
    want = fp.explain.matrix_step([1, -1, "2^-10"], [1, 1, "2^-15"], -0.5, "a100", f="fp16")
    assert capsys.readouterr().out == f"{want}\n"
    assert picture.read_text() == want.svg
    assert [p.name for p in tmp_path.iterdir() if p.name[0] == "."] == []
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == [2**24, -(2**24), 0, 0]


def test_scales_on_the_command_line(capsys):
    ones = ",".join(["1"] * 32)
    command = ["explain", "matrix-step", ones, ones, "--format", "e4m3", "--scales-a", "4"]
    assert main([*command, "--scales-b", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "256.0"
    assert main(command) == 2
    assert "go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["matrix-step", "1"], "takes two vectors"),
        (["matrix-step", "1", "1", "--rounding", "toward_zero"], "does not go with matrix-step"),
        (["matrix-step", "1", "1", "--repeat", "3"], "--repeat goes with sum"),
        (["1", "--unit", "a100"], "--unit goes with matrix-step"),
        (["matrix-step", "inf", "1", "--svg", "x.svg"], "no picture"),
        (["matrix-step", "1", "1", "--svg", "/nowhere/x.svg"], "cannot write"),
        (["matrix-step", "no.npy", "1"], "cannot read"),
        (["matrix-step", "1,x", "1,1"], "'x' is not a number"),
    ],
)
def test_wrong_usage(capsys, words, message):
    assert main(["explain", *words]) == 2
    assert message in capsys.readouterr().err


def test_one_element_followed(capsys, tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 40)), rng.normal(size=(40, 2))
    files = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    for name, x in zip(files, (a, b), strict=True):
        np.save(name, x)
    command = ["matmul", *files, "--compare", "v100,h100,fp32", "--explain", "2,1"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    x, y = fp.array(a, "fp16"), fp.array(b, "fp16")
    assert found["index"] == [2, 1]
    for chain in found["chains"]:
        got = fp.matmul(x, y, accumulate=chain["name"], out="fp32")[2, 1].item()
        assert float(chain["result"]) == got
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("element (2, 1) of the product\n")
    assert "they part" in shown
    assert "not run on these chips" in shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--compare", "v100,fp32", "--explain", "2,0"], "integer from 0 to 1, got '2'"),
        (["--compare", "v100,fp32", "--explain", "1"], "row and column"),
        (["--explain", "0,0"], "goes with --compare"),
    ],
)
def test_elements_that_are_not_there(capsys, more, message):
    assert main(["matmul", "--random", "2,8,2", *more]) == 2
    assert message in capsys.readouterr().err
