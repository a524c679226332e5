"""Matrix units against published probes: small inputs, one for every feature, whose results differ from
chip to chip. Results are codes; none of them comes from fpemu.

Sources: M. Fasi et al., PeerJ CS 7:e330; F. Khattak and M. Mikaitis, arXiv 2510.15884 and 2512.07004; X.
Li et al., FTTN, arXiv 2403.00232; MMA-Sim 2.1.1, arXiv 2511.10909.
"""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu.exact import matrix_units as exact
from fpemu.matrix_units import Instruction, multiply

VOLTA, AMPERE, HOPPER = "v100 mma", "a100 mma", "h100 mma"
LIKE = {
    VOLTA: [VOLTA, "t4 mma shape=m8n8k4"],
    AMPERE: [AMPERE, "t4 mma", "ada mma"],
    HOPPER: [
        HOPPER,
        "h100 wgmma",
        "h200 wgmma",
        "h200 mma",
        "b200 mma",
        "b200 tcgen05",
        "rtx50 mma",
    ],
}


def run(unit: str, formats, a: str, b: str, c: str, places: str = "", k: int = 16) -> list[str]:
    """The results of the exact reference and of the kernel as hexadecimal codes.

    `a` and `b` are codes, "18*14" for 14 times the same; `places` says where they stand, if not at the
    beginning of the `k` products.
    """
    made = instruction(unit, formats)
    left, right = (_codes(text, f) for text, f in ((a, made.a), (b, made.b)))
    where = [int(p) for p in places.split()] or range(len(left))
    rows = np.zeros((2, k))
    for p, x, y in zip(where, left, right, strict=True):
        rows[:, p] = x, y
    start = float(_codes(c, made.accumulator)[0])
    values = [
        exact.matrix_unit(rows[0].tolist(), rows[1].tolist(), start, made),
        float(multiply(rows[:1], rows[1:].T, made, np.full((1, 1), start))[0, 0]),
    ]
    digits = made.accumulator.bits // 4
    return [_written(v, made, digits) for v in values]


def instruction(unit: str, formats) -> Instruction:
    """The instruction of a unit for formats as "fp16", "e4m3 e5m2" or, with FP16 results, "fp16 >fp16"."""
    names = formats.split()
    options = " accumulator=fp16" if names[-1] == ">fp16" else ""
    names = [name for name in names if name[0] != ">"]
    return fp.MatrixUnit.parse(unit + options).on(*names)


def _codes(text: str, f) -> list[float]:
    codes = []
    for word in text.split():
        code, _, count = word.partition("*")
        codes += [int(code, 16)] * int(count or 1)
    return fp.decode(np.array(codes, np.uint64), f).tolist()


def _written(value: float, made: Instruction, digits: int) -> str:
    if np.isnan(value):
        return "nan"
    return f"{int(fp.encode(value, made.accumulator)):0{digits}x}"


# Name | formats | a | b | c | places | results on Volta; Turing, Ampere and Ada; Hopper and later.
PROBES = """
length, front              | fp16       | 5800 d800 1800*14        | 5800 5800 1800*14        | 0        |       | 38400000 38000000 00000000
length, 3                  | fp16       | 1800*3 5800 d800 1800*11 | 1800*3 5800 5800 1800*11 | 0        |       | 38000000 38000000 00000000
length, 7                  | fp16       | 1800*7 5800 d800 1800*7  | 1800*7 5800 5800 1800*7  | 0        |       | 37800000 00000000 00000000
length, end                | fp16       | 1800*14 5800 d800        | 1800*14 5800 5800        | 0        |       | 00000000 00000000 00000000
bits, 23                   | fp16       | 3c00 bc00 1000           | 3c00 3c00 0c00           | 0        |       | 34000000 34000000 34000000
bits, 24                   | fp16       | 3c00 bc00 0c00           | 3c00 3c00 0c00           | 0        |       | 00000000 33800000 33800000
bits, 25                   | fp16       | 3c00 bc00 0c00           | 3c00 3c00 0800           | 0        |       | 00000000 00000000 33000000
bits, 26                   | fp16       | 3c00 bc00 0800           | 3c00 3c00 0800           | 0        |       | 00000000 00000000 00000000
magnitudes are truncated   | fp16       | 3c00 bc00 8d00           | 3c00 3c00 0800           | 0        |       | 00000000 00000000 b3000000
not rounded                | fp16       | 3c00 bc00 0f00           | 3c00 3c00 0800           | 0        |       | 00000000 00000000 33000000
the result is truncated    | fp16       | 3c00 3c00 1200           | 3c00 3c00 1000           | 0        |       | 40000001 40000001 40000001
products not normalised    | fp16       | 3e00 1000 0c00*2         | 3e00 0c00 0c00*2         | 0        |       | 40100000 40100001 40100001
a normal product           | fp16       | 4080 1000 0c00*2         | 3c00 0c00 0c00*2         | 0        |       | 40100000 40100000 40100001
not normalised, finer      | fp16       | 3e00 1000 0c00*4         | 3e00 0c00 0800*4         | 0        |       | 40100000 40100000 40100001
c is aligned, too          | fp16       | 5000 d000                | 5000 5000                | 3f800001 |       | 3f800000 3f800000 3f800000
c is one of the addends    | fp16       | 0c00 0c00                | 0c00 0800                | 3f800000 |       | 3f800000 3f800000 3f800000
c meets many small ones    | fp16       | 0c00*16                  | 0c00*16                  | 3f800000 |       | 3f800000 3f800008 3f800008
subnormal operand          | fp16       | 0001                     | 3c00                     | 0        |       | 33800000 33800000 33800000
subnormal operands         | fp16       | 0001                     | 0001                     | 0        |       | 27800000 27800000 27800000
subnormal exponent         | fp16       | 0001 8001 0001           | 3c00 3c00 0400           | 0        |       | 00000000 2c800000 2c800000
not normalised either      | fp16       | 0001 8001 0001           | 3c00 3c00 0100           | 0        |       | 00000000 00000000 00000000
subnormal c                | fp16       | 0                        | 0                        | 00000001 |       | 00000001 00000001 00000001
floor, 156                 | bf16       | 3400 8080                | 0080 3080                | 0        |       | - 00000000 00000000
a zero has no exponent     | bf16       | 0d80 8d80 0180 0000      | 3f80 3f80 3f80 7f00      | 0        |       | - 01800000 01800000
nor beside large ones      | bf16       | 3580 b580 2b80 0000      | 3f80 3f80 3f80 7f00      | 0        |       | - 2b800000 2b800000
results in FP16            | fp16 >fp16 | 6800 3c00                | 3c00 3c00                | 0        |       | 6800 6800 6800
FP16 results, 2^-14 more   | fp16 >fp16 | 6800 3c00 2000           | 3c00 3c00 2000           | 0        |       | 6800 6800 6801
FP16 results, 2^-13 more   | fp16 >fp16 | 6800 3c00 2000           | 3c00 3c00 2400           | 0        |       | 6800 6801 6801
FP16 results, 2^-12 more   | fp16 >fp16 | 6800 3c00 2400           | 3c00 3c00 2400           | 0        |       | 6801 6801 6801
length with FP16 results   | fp16 >fp16 | 6800 3c00 3c00           | 3c00 3c00 3c00           | 0        | 0 4 8 | 6800 6800 6801
overflow                   | bf16       | 7300                     | 4000                     | 7f7fffff |       | - 7f800000 7f800000
no overflow                | bf16       | 7300                     | 3f80                     | 7f7fffff |       | - 7f7fffff 7f7fffff
products do not overflow   | bf16       | 7f00 ff00                | 4480 4480                | 3f800000 |       | - 00000000 00000000
overflow of FP16           | fp16 >fp16 | 7bff 4c00                | 3c00 3c00                | 0        |       | 7c00 7c00 7c00
largest FP16               | fp16 >fp16 | 7bff 4bff                | 3c00 3c00                | 0        |       | 7bff 7bff 7bff
NaN as c                   | fp16       | 3c00                     | 3c00                     | 7fc00001 |       | nan nan nan
infinity times zero        | fp16       | 7c00                     | 0000                     | 0        |       | nan nan nan
infinities of both signs   | fp16       | 7c00 fc00                | 3c00 3c00                | 0        |       | nan nan nan
NaN operand                | fp16       | fe01                     | 3c00                     | 0        |       | nan nan nan
infinite c                 | fp16       | 3c00                     | 3c00                     | ff800000 |       | ff800000 ff800000 ff800000
NaN in FP16                | fp16 >fp16 | 7e00                     | 3c00                     | 0        |       | nan nan nan
minus zero as c            | fp16       | 0                        | 0                        | 80000000 |       | 00000000 00000000 00000000
all zeros negative         | fp16       | 8000*16                  | 3c00*16                  | 80000000 |       | 00000000 00000000 00000000
tiny negative sum          | bf16       | 8d80                     | 2680                     | 0        |       | - 00000000 00000000
results below the smallest | bf16       | 0dc0                     | 2700                     | 0        |       | - 00000001 00000001
"""


def _table(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


@pytest.mark.parametrize("probe", _table(PROBES), ids=lambda probe: probe[0])
def test_probes(probe):
    _, formats, a, b, c, places, wanted = probe
    for generation, want in zip(LIKE, wanted.split(), strict=True):
        for unit in LIKE[generation]:
            if want == "-" or (formats == "bf16" and unit.startswith("t4")):
                continue
            assert run(unit, formats, a, b, c, places) == [want] * 2, unit


@pytest.mark.parametrize(("unit", "last"), [(AMPERE, 156), (HOPPER, 158)])
def test_floor_of_the_alignment(unit, last):
    """2^-149 - 2^-t: the second is cut off as long as it is below the unit that the floor allows."""
    for t in range(150, 166):
        small = 2.0 ** (126 - t)
        a, b = np.array([[2.0**-23, -small]]), np.array([[2.0**-126], [2.0**-126]])
        got = float(multiply(a, b, instruction(unit, "bf16"))[0, 0])
        assert got == (0.0 if t <= last else 2.0**-149), t


@pytest.mark.parametrize(("unit", "last"), [(VOLTA, 42), (AMPERE, 44), (HOPPER, 46)])
def test_floor_for_fp16_results(unit, last):
    """2^-25 + 2^-t rounds up to the smallest FP16 number if the second is not cut off."""
    for t in range(36, 49):
        a, b = np.array([[2.0**-12, 2.0**-24]]), np.array([[2.0**-13], [2.0 ** (24 - t)]])
        got = float(multiply(a, b, instruction(unit, "fp16 >fp16"))[0, 0])
        assert got == (2.0**-24 if t <= last else 0.0), t


# E4M3, K = 32: a | b | c | places | results of the units in FP8.
FP8 = ["ada mma", "h100 wgmma", "h100 mma", "b200 tcgen05"]
FP8_PROBES = """
0           | 0           | 3f800fff |       | 3f800c00 3f800c00 3f800fff 3f800fff
38 b8 08    | 38 38 04    | 0        |       | 39000000 39000000 39000000 39000000
38 b8 04    | 38 38 04    | 0        |       | 00000000 00000000 38800000 38800000
78 f8 01    | 78 78 38    | 0        | 0 1 4 | 00000000 00000000 3b000000 3b000000
78 f8 01*30 | 78 78 28*30 | 0        |       | 3c000000 00000000 3c000000 00000000
78 f8 01 01 | 78 78 28 28 | 0        |       | 00000000 00000000 3a800000 00000000
01*16 78 f8 | 28*16 78 78 | 0        | *     | 00000000 00000000 3b800000 00000000
38 38 14    | 38 38 04    | 0        |       | 40000400 40000400 40000600 40000600
04 04       | 04 04       | 3f800000 |       | 3f800000 3f800000 3f800400 3f800400
38          | 38          | 3f8003ff |       | 40000000 40000000 40000200 400001ff
7f          | 38          | 0        |       | nan nan nan nan
7e*32       | 7e*32       | 0        |       | 4ac40000 4ac40000 4ac40000 4ac40000
"""


@pytest.mark.parametrize("probe", _table(FP8_PROBES), ids=lambda probe: probe[0])
def test_fp8_probes(probe):
    a, b, c, places, wanted = probe
    if places == "*":
        places = " ".join(map(str, [*range(16), 30, 31]))
    for unit, want in zip(FP8, wanted.split(), strict=True):
        assert run(unit, "e4m3", a, b, c, places, k=32) == [want] * 2, unit


@pytest.mark.parametrize("unit", FP8[:3])
def test_fp8_probes_with_fp16_accumulators(unit):
    software = unit == "h100 mma"
    assert run(unit, "e4m3 >fp16", "7e", "7e", "0", k=32) == ["7c00"] * 2
    got = run(unit, "e4m3 >fp16", "68 38 30", "60 38 30", "0", k=32)
    assert got == ["6800" if software else "6801"] * 2
    got = run(unit, "e4m3 >fp16", "68 38 30", "60 38 28", "0", k=32)
    assert got == ["6800"] * 2


@pytest.mark.parametrize(("unit", "want"), [(AMPERE, "37800000"), (HOPPER, "00000000")])
def test_tf32_probes(unit, want):
    """FP32 registers lose their last 13 bits; steps of 4 and of 8 products differ."""
    for word, kept in ((0x3F801FFF, 0x3F800000), (0x3FFFFFFF, 0x3FFFE000), (0x00001FFF, 0)):
        x = np.array([word], np.uint32).view(np.float32)
        read = fp.quantize(x, "tf32", rounding="toward_zero")
        assert read.view(np.uint32)[0] == kept
    a = np.array([[2.0**14, -(2.0**14), *[2.0**-9] * 6]])
    b = np.array([[1.0, 1.0, *[2.0**-9] * 6]]).T
    got = multiply(a, b, instruction(unit, "tf32"))
    assert f"{int(fp.encode(got, 'fp32')[0, 0]):08x}" == want


CHIPS = {
    "v100 mma fp16": 0.0,
    "a100 mma fp16": -0.5,
    "ada mma fp16": -0.5,
    "h100 wgmma fp16": -0.75,
    "mi100 mfma fp16": -0.875,
    "mi100 mfma bf16": -0.875,
    "mi200 mfma fp16": 0.0,
    "mi200 mfma bf16": 0.0,
    "mi300 mfma fp16": -0.5,
    "mi300 mfma bf16": -0.5,
    "mi300 mfma e5m2fnuz": -1.0,
    "ada mma e5m2": 0.0,
    "h100 wgmma e5m2": 0.0,
    "b200 tcgen05 e5m2": -0.75,
}


@pytest.mark.parametrize("unit", CHIPS)
def test_one_sum_tells_chips_apart(unit):
    name, f = unit.rsplit(" ", 1)
    a, b = np.array([[-(2.0**13), -0.5, -0.25, -0.125]]), np.array([[2.0**10, 1, 1, 1]]).T
    made, start = fp.MatrixUnit.parse(name).on(f), np.full((1, 1), 2.0**23)
    assert multiply(a, b, made, start)[0, 0] == CHIPS[unit]
    listed = a[0].tolist(), b[:, 0].tolist()
    assert exact.matrix_unit(*listed, 2.0**23, made) == CHIPS[unit]


def test_older_bf16_of_mi200():
    a, b = np.array([[-(2.0**13), -0.5, -0.25, -0.125]]), np.array([[2.0**10, 1, 1, 1]]).T
    made = fp.MatrixUnit.parse("mi200 mfma shape=32x32x4bf16").on("bf16")
    assert multiply(a, b, made, np.full((1, 1), 2.0**23))[0, 0] == -0.375
