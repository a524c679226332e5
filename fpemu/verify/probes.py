"""Probes: small inputs, one for every feature of a matrix unit, whose results differ from chip to chip.

Results are codes, taken from the literature, none from fpemu.

Sources: M. Fasi et al., PeerJ CS 7:e330; F. Khattak and M. Mikaitis, arXiv 2510.15884 and 2512.07004; X.
Li et al., FTTN, arXiv 2403.00232; MMA-Sim 2.1.1, arXiv 2511.10909.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fpemu.carriers import carrier_dtype
from fpemu.convert import decode
from fpemu.matrix_units import Instruction, MatrixUnit

VOLTA, AMPERE, HOPPER = "v100 mma", "a100 mma", "h100 mma"
LIKE = {
    VOLTA: (VOLTA, "t4 mma shape=m8n8k4"),
    AMPERE: (AMPERE, "t4 mma", "ada mma"),
    HOPPER: (
        *(HOPPER, "h100 wgmma", "h200 wgmma", "h200 mma", "b200 mma", "b200 tcgen05"),
        "rtx50 mma",
    ),
}

# Name | formats | a | b | c | places | results on Volta; Turing, Ampere and Ada; Hopper and later.
# "18*14" is 14 times the same; places say where the products stand, if not at the beginning.
_PROBES = """
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

# E4M3, K = 32: name | a | b | c | places | results of the units in FP8.
FP8 = (
    *(("ada mma",), ("h100 wgmma", "h200 wgmma")),
    *(("h100 mma", "h200 mma", "b200 mma"), ("b200 tcgen05",)),
)
_FP8_PROBES = """
accumulator is shortened | 0           | 0           | 3f800fff |       | 3f800c00 3f800c00 3f800fff 3f800fff
bits, 13                 | 38 b8 08    | 38 38 04    | 0        |       | 39000000 39000000 39000000 39000000
bits, 14                 | 38 b8 04    | 38 38 04    | 0        |       | 00000000 00000000 38800000 38800000
length, 4                | 78 f8 01    | 78 78 38    | 0        | 0 1 4 | 00000000 00000000 3b000000 3b000000
length, front            | 78 f8 01*30 | 78 78 28*30 | 0        |       | 3c000000 00000000 3c000000 00000000
length, 2 and 3          | 78 f8 01 01 | 78 78 28 28 | 0        |       | 00000000 00000000 3a800000 00000000
length, end              | 01*16 78 f8 | 28*16 78 78 | 0        | *     | 00000000 00000000 3b800000 00000000
the result is truncated  | 38 38 14    | 38 38 04    | 0        |       | 40000400 40000400 40000600 40000600
c is one of the addends  | 04 04       | 04 04       | 3f800000 |       | 3f800000 3f800000 3f800400 3f800400
c is shortened           | 38          | 38          | 3f8003ff |       | 40000000 40000000 40000200 400001ff
NaN operand              | 7f          | 38          | 0        |       | nan nan nan nan
largest                  | 7e*32       | 7e*32       | 0        |       | 4ac40000 4ac40000 4ac40000 4ac40000
"""

# The same with FP16 accumulators, on the first three.
_FP8_INTO_FP16 = """
overflow                 | 7e       | 7e       | 0        |       | 7c00 7c00 7c00
bits, 2^-2 more          | 68 38 30 | 60 38 30 | 0        |       | 6801 6801 6800
bits, 2^-3 more          | 68 38 30 | 60 38 28 | 0        |       | 6800 6800 6800
"""

# What registers of FP32 give where TF32 is read: name, word of a, word of b, result.
RAW_TF32 = (
    ("last 13 bits are ignored", 0x3F801FFF, 0x3F800000, "3f800000"),
    ("and not rounded", 0x3FFFFFFF, 0x3F800000, "3fffe000"),
    ("a NaN in them is an infinity", 0x7F800001, 0x3F800000, "7f800000"),
    ("a number in them is zero", 0x00001FFF, 0x7E800000, "00000000"),
    ("the smallest number above", 0x00002000, 0x7B800000, "37800000"),
)

# One sum whose result tells most chips apart, with c = 2^23, and what it gives.
_APART = ((-(2.0**13), -0.5, -0.25, -0.125), (2.0**10, 1.0, 1.0, 1.0), 2.0**23)
CHIPS = {
    "v100 mma fp16": 0.0,
    "a100 mma fp16": -0.5,
    "ada mma fp16": -0.5,
    "h100 wgmma fp16": -0.75,
    "mi100 mfma fp16": -0.875,
    "mi100 mfma bf16": -0.875,
    "mi200 mfma fp16": 0.0,
    "mi200 mfma bf16": 0.0,
    "mi200 mfma shape=32x32x4bf16 bf16": -0.375,
    "mi300 mfma fp16": -0.5,
    "mi300 mfma bf16": -0.5,
    "mi300 mfma e5m2fnuz": -1.0,
    "ada mma e5m2": 0.0,
    "h100 wgmma e5m2": 0.0,
    "b200 tcgen05 e5m2": -0.75,
}


@dataclass(frozen=True, eq=False)
class Probe:
    """One sum of products of an instruction: carriers a (1, k), b (k, 1), c (1, 1), and the code of the
    result in hexadecimal, or "nan"."""

    name: str
    instruction: Instruction
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    wanted: str


@functools.cache
def probes() -> tuple[Probe, ...]:
    """Every probe, once for every unit whose results are published."""
    return (*_of_generations(), *_floors(), *_of_fp8(), *_of_tf32(), *_apart())


def _of_generations() -> Iterator[Probe]:
    for name, formats, a, b, c, places, results in _lines(_PROBES):
        for units, wanted in zip(LIKE.values(), results.split(), strict=True):
            for unit in units:
                if wanted != "-" and not (formats == "bf16" and unit.startswith("t4")):
                    yield _probe(name, _instruction(unit, formats), a, b, c, places, 16, wanted)


def _floors() -> Iterator[Probe]:
    """2^-149 - 2^-t in BF16: the second is cut off while it is below the unit that the floor allows. And
    2^-25 + 2^-t with FP16 results, which rounds up to the smallest number if the second is not."""
    for like, last in ((AMPERE, 156), (HOPPER, 158)):
        for unit, t in itertools.product(_with_bf16(like), range(150, 166)):
            wanted = "00000000" if t <= last else "00000001"
            factors = [2.0**-23, -(2.0 ** (126 - t))], [2.0**-126, 2.0**-126]
            made = _instruction(unit, "bf16")
            yield _of_values(f"floor, 2^-{t}", made, *factors, 0.0, wanted)
    for like, last in ((VOLTA, 42), (AMPERE, 44), (HOPPER, 46)):
        for unit, t in itertools.product(LIKE[like], range(36, 49)):
            wanted = "0001" if t <= last else "0000"
            factors = [2.0**-12, 2.0**-24], [2.0**-13, 2.0 ** (24 - t)]
            made = _instruction(unit, "fp16 >fp16")
            yield _of_values(f"floor of FP16 results, 2^-{t}", made, *factors, 0.0, wanted)


def _with_bf16(like: str) -> list[str]:
    """The units of a generation that take BF16 and TF32."""
    return [unit for unit in LIKE[like] if not unit.startswith("t4")]


def _of_fp8() -> Iterator[Probe]:
    for formats, table in (("e4m3", _FP8_PROBES), ("e4m3 >fp16", _FP8_INTO_FP16)):
        for name, a, b, c, places, results in _lines(table):
            places = places if places != "*" else " ".join(map(str, [*range(16), 30, 31]))
            for units, wanted in zip(FP8, results.split(), strict=False):
                for unit in units:
                    yield _probe(name, _instruction(unit, formats), a, b, c, places, 32, wanted)


def _of_tf32() -> Iterator[Probe]:
    """Steps of four and of eight products differ."""
    for like, wanted in ((AMPERE, "37800000"), (HOPPER, "00000000")):
        for unit in _with_bf16(like):
            factors = [2.0**14, -(2.0**14), *[2.0**-9] * 6], [1.0, 1.0, *[2.0**-9] * 6]
            yield _of_values("length", _instruction(unit, "tf32"), *factors, 0.0, wanted)


def _apart() -> Iterator[Probe]:
    for unit, value in CHIPS.items():
        text, formats = unit.rsplit(" ", 1)
        code = f"{np.float32(value).view(np.uint32):08x}"
        yield _of_values("tells chips apart", _instruction(text, formats), *_APART, code)


def _lines(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _instruction(unit: str, formats: str) -> Instruction:
    """The instruction of a unit for formats as "fp16", "e4m3 e5m2" or, with FP16 results, "fp16 >fp16"."""
    names = formats.split()
    options = " accumulator=fp16" if names[-1] == ">fp16" else ""
    return MatrixUnit.parse(unit + options).on(*(name for name in names if name[0] != ">"))


def _probe(
    name: str, made: Instruction, a: str, b: str, c: str, places: str, k: int, wanted: str
) -> Probe:
    left, right = (decode(_codes(text), f) for text, f in ((a, made.a), (b, made.b)))
    where = [int(p) for p in places.split()] or range(len(left))
    rows = np.zeros((2, k))
    rows[:, where] = left, right
    return _of_values(name, made, rows[0], rows[1], decode(_codes(c), made.accumulator)[0], wanted)


def _codes(text: str) -> np.ndarray:
    """Codes of "18*14 1c": hexadecimal, with how often each stands there."""
    codes: list[int] = []
    for word in text.split():
        code, _, count = word.partition("*")
        codes += [int(code, 16)] * int(count or 1)
    return np.array(codes, np.uint64)


def _of_values(name: str, made: Instruction, a, b, c: float, wanted: str) -> Probe:
    left, right = np.array([a]), np.array([b]).T
    start = np.full((1, 1), c, carrier_dtype(made.accumulator))
    return Probe(name, made, left, right, start, wanted)
