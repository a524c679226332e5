"""Recipes evaluated step by step on single numbers, by the exact reference.

The counterpart of `fpemu.linalg.steps`, with which it shares no code: each step takes the exact result
of each element, a Fraction, and rounds it once.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

import fpemu as fp
from fpemu import exact
from fpemu.accumulation.run import filled
from fpemu.chance import Chance
from fpemu.exact import accumulation as reference

# The last words of a model apply to whatever accumulates.
MODELS = [
    "{f} sequential",
    "fp32 sequential",
    "fp32 sequential product=exact",
    "bf16 sequential product=fp32",
    "{f} pairwise:2",
    "fp16 kahan",
    "{f} exact",
    "{f} ring:3",
    "fp16 sequential promote=fp32@2",
    "{f} sequential out=bf16",
    "e5m2 blocked:2 rounding=toward_zero saturation=finite subnormals=ftz+daz",
    "fp16 sequential rounding=toward_negative subnormals=daz",
    "{f} neumaier rounding=toward_positive saturation=propagate",
    "{f} sequential rounding=nearest_away",
    "{f} tree:2 rounding=to_odd",
    "{f} sequential rounding=stochastic random_bits=7",
    "fp32 pairwise:2 rounding=stochastic out=e4m3",
]
FORMATS = [fp.FP16, fp.BF16, fp.E4M3, fp.E5M2, fp.FP32]


def model_for(text: str, f: fp.Format, seed: int) -> fp.Accumulator:
    model = filled(fp.Accumulator.parse(text.format(f=f.name)))
    return dataclasses.replace(model, seed=seed)


@st.composite
def arrays(draw, f: fp.Format, shape, special: bool = True) -> fp.Array:
    """Values of every size, with zeros, and sometimes NaN or an infinity."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.01, 1.0, 1.0, 8.0, 100.0]))
    x = rng.normal(size=shape) * scale
    x[rng.random(shape) < 0.1] = 0.0
    x[rng.random(shape) < 0.05] = -0.0
    if draw(st.booleans()):  # far below everything, where steps underflow
        x[rng.random(shape) < 0.2] *= 2.0**-12
    if special and rng.random() < 0.3:
        odd = [math.nan, math.inf, -math.inf] if f.has_inf else [math.nan]
        x[rng.random(shape) < 0.2] = rng.choice(odd)
    return fp.array(x, f, saturation="propagate" if f.has_inf else "finite")


class Recipe:
    """The steps of one call. Values are pairs of a nested array of numbers and a format."""

    def __init__(self, model: fp.Accumulator) -> None:
        self.model, self.done = model, 0
        self.format = model.result_format
        self.settings = {
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }

    def _chance(self) -> Chance:
        self.done += 1
        return Chance(self.model.seed, self.model.random_bits).derived(self.done - 1)

    def _away(self, chance: Chance, i: int):
        return chance.away(i) if self.model.rounding == "stochastic" else None

    def step(self, op: str, *operands):
        """`op` rounded to A, element i with the random bits of element i."""
        chance, (arrays, formats) = self._chance(), zip(*operands, strict=True)
        wide = np.broadcast_arrays(*arrays)
        out = np.empty(wide[0].shape)
        for i, place in enumerate(np.ndindex(out.shape)):
            read = [
                exact.read_operand(float(v[place]), g, self.model.subnormals)
                for v, g in zip(wide, formats, strict=True)
            ]
            value = read[0]
            if op != "convert":
                value, _ = exact.exact_result(op, *read, rounding=self.model.rounding)
            away = self._away(chance, i)
            out[place] = exact.round_to(value, self.format, **self.settings, away=away)
        return out, self.format

    def function(self, op: str, x):
        return self.step(op, x if x[1] == self.format else self.step("convert", x))

    def total(self, x, axis: int, squares: bool = False):
        """The sum by the model along `axis`, which stays."""
        values, f = x
        columns = np.moveaxis(values, axis, 0)
        shape, chance = columns.shape[1:], self._chance()
        out = np.empty(shape)
        for i, place in enumerate(np.ndindex(shape)):
            terms = [((float(v), f),) * (1 + squares) for v in columns[(slice(None), *place)]]
            out[place] = reference.accumulate(
                terms,
                self.model,
                decide=(lambda n, i=i: chance.derived(n).away(i))
                if self.model.rounding == "stochastic"
                else None,
                element=(i, math.prod(shape)),
            )
        return np.expand_dims(out, axis), self.format

    def mean(self, x, axis: int, squares: bool = False):
        """The sum, divided by the number of terms."""
        values, _ = self.total(x, axis, squares)
        chance, out = self._chance(), np.empty(values.shape)
        for i, place in enumerate(np.ndindex(out.shape)):
            total = exact.read_operand(float(values[place]), self.format, self.model.subnormals)
            count = x[0].shape[axis]
            finite = math.isfinite(total) and total != 0
            value = Fraction(total) / count if finite else total
            away = self._away(chance, i)
            out[place] = exact.round_to(value, self.format, **self.settings, away=away)
        return out, self.format

    def finish(self, x, own: fp.Format, out: fp.Format | None) -> np.ndarray:
        """Rounded to `out`, else the model's, else the operands' own format."""
        chance = self._chance().derived(-1)
        final = out or self.model.out or own
        if final == self.format:
            return x[0]
        return np.array(
            [
                exact.round_to(v, final, **self.settings, away=self._away(chance, i))
                for i, v in enumerate(x[0].reshape(-1).tolist())
            ]
        ).reshape(x[0].shape)
