"""Sums of products by accumulation models, against the same sums step by step in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fpemu.accumulation import ORDERS, Accumulator, accumulate
from fpemu.chance import Chance
from fpemu.convert import decode
from fpemu.exact import accumulation as reference
from fpemu.formats import FP32, Format
from fpemu.rounding import ROUNDING
from fpemu.verify.outcome import Outcome

_ROWS, _COLUMNS = 3, 5


def models(f: Format, kind: str, exhaustive: bool) -> list[Accumulator]:
    """One order to nearest even, and the plain one in every mode with products of three kinds; if
    `exhaustive`, every order so."""
    order = kind if ORDERS[kind] is None else f"{kind}:3"
    everything = exhaustive or kind == "sequential"
    fused = [] if kind in ("kahan", "neumaier") else ["exact"]
    return [
        Accumulator(
            *(f, order, product),
            rounding=mode,
            saturation="none",
            subnormals="gradual",
            seed=1,
            random_bits=16,
        )
        for mode in (ROUNDING if everything else ["nearest_even"])
        for product in ([None, FP32, *fused] if everything else [None])
    ]


def by_models(f: Format, kind: str, exhaustive: bool) -> list[Outcome]:
    """Sums of 40 (exhaustive: 200) products of values of `f`, accumulated in `f`, in one order."""
    terms = 200 if exhaustive else 40
    rng = np.random.default_rng(f.bits)
    a, b = _values(f, rng, (_ROWS, terms)), _values(f, rng, (terms, _COLUMNS))
    chosen = models(f, kind, exhaustive)
    said = "nearest_even" if len(chosen) == 1 else f"{len(chosen)} modes and products"
    outcome = Outcome(f.name, "sum", f"{chosen[0].order}, {said}", "exact")
    for model in chosen:
        got = accumulate(a, b, (f, f), model)
        want, inexact = np.empty(got.shape), np.empty(got.shape, bool)
        for i, j in np.ndindex(got.shape):
            pairs = list(zip(a[i].tolist(), b[:, j].tolist(), strict=True))
            want[i, j] = _step_by_step(pairs, f, model, (i * _COLUMNS + j, got.size))
            total = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
            inexact[i, j] = not np.isfinite(want[i, j]) or Fraction(float(want[i, j])) != total
        known = outcome.first_wrong
        over = ~np.isfinite(want)
        index = np.arange(got.size)
        outcome.tally((index,), *(v.reshape(-1) for v in (got, want, inexact, over)))
        if outcome.first_wrong != known:
            outcome.first_wrong = f"{model}: element {outcome.first_wrong}"
    return [outcome]


def _step_by_step(pairs, f: Format, model: Accumulator, element: tuple[int, int]):
    chance = Chance(model.seed or 0, model.random_bits or 24)

    def decide(n: int):
        return chance.derived(n).away(element[0])

    terms = [((x, f), (y, f)) for x, y in pairs]
    random = decide if model.rounding == "stochastic" else None
    return reference.accumulate(terms, model, decide=random, element=element)


def _values(f: Format, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Values near one another often enough that something happens when they are added."""
    one = f._bias << f.fraction_bits
    low, high = max(one - (3 << f.fraction_bits), 1), min(one + (2 << f.fraction_bits), f.max_code)
    near = rng.integers(low, high, shape, endpoint=True)
    codes = np.where(rng.random(shape) < 0.9, near, rng.integers(0, f.max_code, shape))
    return decode(codes, f) * rng.choice([1.0, 1.0, -1.0], shape)
