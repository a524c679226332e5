"""The numbers in examples/matrix_units.md, computed once more: a step of a Tensor Core in a few lines of
Python's integers, and NumPy's float32 for what is an ordinary loop. Nothing here is fpemu's."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

LESSON = (Path(__file__).parents[1] / "examples" / "matrix_units.md").read_text()
CHIPS = {"v100": (4, 23), "t4": (8, 24), "a100": (8, 24), "h100": (16, 25)}  # L and F


def exponent(x: float) -> int:
    return math.frexp(x)[1] - 1  # (all are normal numbers here)


def cut(x: Fraction, place: int) -> Fraction:
    """Toward zero to a multiple of 2**place."""
    return Fraction(int(x * Fraction(2) ** -place)) * Fraction(2) ** place


def dot(a, b, length: int, window: int, c: float = 0.0, fraction: int = 23) -> float:
    for k in range(0, len(a), length):
        pairs = list(zip(a[k : k + length], b[k : k + length], strict=True))
        addends = [
            (Fraction(x) * Fraction(y), exponent(x) + exponent(y)) for x, y in pairs if x * y
        ]
        addends += [(Fraction(c), exponent(c))] if c else []
        top = max((e for _, e in addends), default=0)
        total = sum((cut(v, top - window) for v, _ in addends), Fraction(0))
        c = float(cut(total, exponent(float(total)) - fraction)) if total else 0.0
    return c


def loop(a, b) -> float:
    total = np.float32(0)
    for x, y in zip(a, b, strict=True):
        total = total + np.float32(x) * np.float32(y)  # products of FP16 are exact
    return float(total)


def code(x: float) -> str:
    return f"{int(np.float32(x).view(np.uint32)):08x}"


A, B = [7 * 2.0**-13, 1.0, -1.0], [2.0**-13, 1.0, 1.0]


def test_four_chips_four_answers():
    # By hand: 7 * 2^-26 in units of 2^-23, 2^-24 and 2^-25 is 7 >> 3, 7 >> 2 and 7 >> 1.
    by_hand = {"v100": (7 >> 3) << 3, "a100": (7 >> 2) << 2, "h100": (7 >> 1) << 1}
    for chip, units in by_hand.items():
        assert dot(A, B, *CHIPS[chip]) == units * 2.0**-26
        assert f"{chip}  {code(units * 2.0**-26)}  {units} * 2^-26\n" in LESSON
    assert loop(A, B) == 8 * 2.0**-26
    assert f"fp32  {code(8 * 2.0**-26)}  8 * 2^-26\n" in LESSON
    assert sum(Fraction(x) * Fraction(y) for x, y in zip(A, B, strict=True)) == Fraction(7, 2**26)
    assert len({*by_hand.values(), 8, 7}) == 5


@pytest.mark.parametrize("more", [-1, 1])
def test_another_window_would_show(more):
    for chip, (length, window) in CHIPS.items():
        if (chip, more) == ("v100", -1):
            continue  # (less than nothing cannot be left)
        assert dot(A, B, length, window + more) != dot(A, B, length, window), chip


def test_the_window():
    for chip, bits in (("v100", "|111"), ("a100", "1|11"), ("h100", "11|1")):
        kept = CHIPS[chip][1] - 23
        assert f"{7:b}"[:kept] + "|" + f"{7:b}"[kept:] == bits
        assert re.search(rf"{chip} p0  \+ +{re.escape(bits)}\n", LESSON)
    assert "[3, 33554432, -33554432, 0]" in LESSON
    assert 33554432 == 2**25


def test_toward_zero():
    a, b = [1.0, 1.0, 1.5 * 2.0**-11], [1.0, 1.0, 2.0**-12]
    assert f"[{dot(a, b, *CHIPS['h100'])}, {loop(a, b)}]\n" in LESSON


def test_c_is_one_of_the_addends():
    x = [2.0**-12] * 16
    assert dot(x, x, *CHIPS["v100"], c=1.0) == 1.0
    assert dot(x, x, *CHIPS["v100"]) == 2.0**-20
    assert dot(x, x, *CHIPS["a100"], c=1.0) == 1 + 2.0**-20
    assert LESSON.count(f"\n{1 + 2.0**-20}\n") == 2


def test_how_many_at_once():
    def left(chip, place):
        x = [0.0] * 32
        x[0], x[1], x[place] = 1.0, 2.0**-24, -1.0
        return dot(x, [1.0] * 32, *CHIPS[chip])

    for chip in ("t4", "a100", "h100"):
        first = next(place for place in range(2, 32) if left(chip, place) == 0)
        assert first == CHIPS[chip][0]
        assert f"\n{chip} {first}\n" in LESSON


def test_chains_part_where_the_lesson_says():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=64).astype(np.float16).astype(float).tolist() for _ in range(2))
    sums = {
        name: {k: dot(a[:k], b[:k], *CHIPS[name]) for k in range(0, 65, CHIPS[name][0])}
        for name in ("a100", "h100")
    }
    sums["fp32"] = {k: loop(a[:k], b[:k]) for k in range(65)}
    found = re.findall(r"^(\w+) (\w+) part after (\d+) products$", LESSON, re.M)
    assert len(found) == 3
    for one, other, count in found:
        common = sums[one].keys() & sums[other].keys()
        assert int(count) == min(k for k in common if sums[one][k] != sums[other][k])


def test_fp8():
    a = [1.0, 2.0**-7]
    narrow, wide = dot(a, a, 32, 13, fraction=13), dot(a, a, 32, 25)
    for unit, want in (("ada", narrow), ("h100 wgmma", narrow), ("b200 tcgen05", wide)):
        assert re.search(rf"^{unit} +{want}$", LESSON, re.M)
    # In software: the two products are in the same FP16 step.
    assert re.search(rf"^h100 mma +{dot(a, a, 16, 25)}$", LESSON, re.M)
    assert dot([0.0], [0.0], 32, 13, c=1 + 2.0**-14, fraction=13) == 1.0


def test_promotion():
    count, product = 16384, Fraction(81, 64)
    x = [1.125] * count
    assert product * count == 20736
    got = dot(x, x, 32, 13, fraction=13)
    # By hand: beside a total of exponent e a product is a multiple of 2**(e - 13).
    total, stopped = Fraction(0), None
    for n in range(count // 32):
        place = exponent(float(total)) - 13 if total else -13
        new = total + 32 * (product // Fraction(2) ** place) * Fraction(2) ** place
        new = cut(new, exponent(float(new)) - 13)
        stopped = n if new == total and stopped is None else stopped
        total = new
    assert got == total
    assert 16384 <= total < 16384 + 32
    assert stopped is not None
    assert f"\n{got}\n" in LESSON
    blocks = sum(
        dot(x[k : k + 128], x[k : k + 128], 32, 13, fraction=13) for k in range(0, count, 128)
    )
    assert blocks == 20736.0


def test_amd():
    pairs = np.float32([x * y for x, y in zip(A, B, strict=True)])
    assert float((pairs[0] + pairs[1]) + (pairs[2] + np.float32(0))) * 2**26 == 8.0
    assert dot(A, B, 8, 24) * 2**26 == 4.0
    for line in ("mi100 7.0", "mi200 8.0", "mi300 4.0"):
        assert f"\n{line}\n" in LESSON
    assert float(np.finfo(np.float16).smallest_normal) > 2.0**-15
