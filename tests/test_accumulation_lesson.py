"""The numbers in examples/accumulation.md, computed once more by other means than fpemu's loops.

Values and formats are plain floats and a table of constants here; a step is rounded by Python's own
`round`, which takes ties to even. Everything is a multiple of 2**-10 of moderate size, so that all
that happens before a rounding is exact in a float.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fpemu as fp
from fpemu.accumulation.run import filled
from fpemu.chance import Chance
from fpemu.exact import accumulation as exactly

# Precision, smallest exponent, largest number, what is beyond.
FORMATS = {
    "fp16": (11, -14, 65504.0, math.inf),
    "bf16": (8, -126, 3.3895313892515355e38, math.inf),
    "tf32": (11, -126, 3.4011621342146535e38, math.inf),
    "e4m3": (4, -6, 448.0, math.nan),
    "e5m2": (3, -14, 57344.0, math.inf),
    "fp32": (24, -126, 3.4028234663852886e38, math.inf),
}
LESSON = (Path(__file__).parents[1] / "examples" / "accumulation.md").read_text()


class Format:
    """A format as a function that rounds."""

    def __init__(self, name: str) -> None:
        self.precision, self.emin, self.max, self.beyond = FORMATS[name]

    def __call__(self, x: float) -> float:
        if not math.isfinite(x) or x == 0:
            return x
        last = max(math.frexp(x)[1] - 1, self.emin) - self.precision + 1
        rounded = math.ldexp(round(math.ldexp(x, -last)), last)
        return rounded if abs(rounded) <= self.max else math.copysign(self.beyond, x)


def sequential(terms, f):
    total = 0.0
    for t in terms:
        total = f(total + t)
    return total


def pairwise(terms, f):
    if len(terms) <= 128:
        return sequential(terms, f)
    half = len(terms) // 2
    return f(pairwise(terms[:half], f) + pairwise(terms[half:], f))


def blocked(terms, f):
    return sequential([sequential(terms[i : i + 64], f) for i in range(0, len(terms), 64)], f)


def kahan(terms, f):
    total = error = 0.0
    for t in terms:
        y = f(t - error)
        new = f(total + y)
        error = f(f(new - total) - y)
        total = new
    return total


def neumaier(terms, f):
    total = error = 0.0
    for t in terms:
        new = f(total + t)
        large, small = (total, t) if abs(total) >= abs(t) else (t, total)
        error = f(error + f(f(large - new) + small))
        total = new
    return f(total + error)


def by_other_means(name: str, a: list[float], b: list[float]) -> list[float]:
    """A row of the lesson's tables."""
    f, single = Format(name), Format("fp32")
    products = [x * y for x, y in zip(a, b, strict=True)]
    terms = [f(t) for t in products]
    exact = float(sum(map(Fraction, products)))
    row = [way(terms, f) for way in (sequential, pairwise, blocked, kahan, neumaier)]
    row += [f(sequential([single(t) for t in products], single)), f(exact)]
    return [*row, by_chance(name, a, b)]


def by_chance(name: str, a: list[float], b: list[float]) -> float:
    """By the exact reference, which shares no code with the loops, its random numbers included."""
    g = fp.as_format(name)
    model = filled(fp.Accumulator(g, rounding="stochastic", seed=1))
    chance = Chance(1, model.random_bits)
    pairs = [((x, g), (y, g)) for x, y in zip(a, b, strict=True)]
    return float(exactly.accumulate(pairs, model, decide=lambda n: chance.derived(n).away(0)))


def operands() -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(4096)
    a, b = (
        rng.choice([-1, 1], 4096) * rng.integers(4, 8, 4096) * 2.0 ** rng.integers(-5, -1, 4096)
        for _ in range(2)
    )
    return a.tolist(), b.tolist()


def printed(name: str, columns: int) -> list[list[str]]:
    """The format's rows of the lesson's tables that have so many numbers."""
    rows = [line.split()[1:] for line in LESSON.splitlines() if line.startswith(f"{name} ")]
    return [row for row in rows if len(row) == columns and all(map(NUMBER.fullmatch, row))]


NUMBER = re.compile(r"-?[\d.e+-]+|nan")
ONES = [1.0] * 4096
A, B = operands()
EXACT = float(sum(Fraction(x) * Fraction(y) for x, y in zip(A, B, strict=True)))


@pytest.mark.parametrize("name", FORMATS)
def test_results_and_errors(name):
    ones, random, errors = printed(name, 8)
    of_ones, found = by_other_means(name, ONES, ONES), by_other_means(name, A, B)
    assert ones == [f"{v:.7g}" for v in of_ones]
    assert random == [f"{v:.7g}" for v in found]
    ulp = math.ldexp(1.0, math.frexp(EXACT)[1] - FORMATS[name][0])
    assert errors == [f"{(v - EXACT) / ulp:.2g}" for v in found]
    u = 2.0 ** -FORMATS[name][0]
    cases = ((found[0], A, B), (of_ones[0], ONES, ONES))
    for row, (value, a, b) in zip(printed(name, 3), cases, strict=True):
        terms = [Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True)]
        off = float(abs(Fraction(value) - sum(terms)) / sum(map(abs, terms)))
        assert row == [f"{off:.2g}", f"{64 * u:.3g}", f"{4096 * u:.3g}"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_trace_sees(name):
    f = Format(name)
    total, swamped, cancelled = 0.0, 0, 0
    for x, y in zip(A, B, strict=True):
        term = f(x * y)
        exact = total + term
        if total and exact:
            larger = max(abs(total), abs(term))
            cancelled = max(cancelled, math.frexp(larger)[1] - math.frexp(exact)[1])
        swamped += f(exact) == total
        total = f(exact)
    assert f"{name} {swamped} swamped, {cancelled} bits cancelled at most" in LESSON


@pytest.mark.parametrize(("name", "spread"), [("fp16", 45), ("bf16", 201)])
def test_how_far_chance_strays(name, spread):
    """The exact distribution of the sum of ones, from the chances of each step."""
    p = FORMATS[name][0]
    # Whole numbers only, to where no sum gets: 1.5 times 4096.
    whole = {m * 2.0**e for e in range(12) for m in range(2**p)}
    values = np.array(sorted(v for v in whole if v <= 6144))
    chances = np.zeros(len(values))
    chances[0] = 1.0
    above = np.minimum(np.searchsorted(values, values + 1), len(values) - 1)
    gap = values[above] - values[np.maximum(above - 1, 0)]
    up = np.where(values[above] == values + 1, 1.0, 1.0 / gap)
    for _ in range(4096):
        moved = np.zeros_like(chances)
        np.add.at(moved, above, chances * up)
        chances = moved + chances * (1 - up)
    mean = float(chances @ values)
    found = math.sqrt(float(chances @ (values - mean) ** 2))
    assert mean == pytest.approx(4096, rel=1e-9)
    # The lesson's spread is that of 1000 sums, known to about one part in 45.
    assert abs(found - spread) < 4 * found / math.sqrt(2000)
    assert f"{name} spread {spread}, by hand" in LESSON


def test_a_second_accumulator():
    for name, size in (("bf16", 128), ("e4m3", 128), ("e4m3", 16)):
        f, single = Format(name), Format("fp32")
        parts = [sequential(ONES[i : i + size], f) for i in range(0, 4096, size)]
        want = sequential(parts, single)
        assert f"{name} sequential promote=fp32@{size} {want}" in LESSON
