"""Recipes of several operations, each rounded once, to the accumulator's format."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fpemu import elementwise
from fpemu.accumulation import Accumulator
from fpemu.accumulation import accumulate as run
from fpemu.accumulation.run import filled
from fpemu.arrays import Array
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.formats import FP64, Format
from fpemu.linalg.options import COUNTS, finish

Values = tuple[np.ndarray, Format]


class Steps:
    """The steps of one call, in their order.

    `format` is A of the recipes, that in which the model's sums end. Step k = 0, 1, 2, ... of a call
    draws its random bits from a seed derived from the model's and k, so that no two steps share any.
    """

    def __init__(self, model: Accumulator, name: str) -> None:
        self.model = filled(model)
        self.format: Format = self.model.result_format
        self.done = 0
        if not (self.format.signed and self.format.has_zero):
            raise ArgumentError(
                f"{name} needs zero and negative numbers, {self.format.name} does not have both; name "
                "another format of the intermediate values, for example accumulate='fp32'"
            )

    def _next(self) -> Chance:
        self.done += 1
        return Chance(self.model.seed or 0, self.model.random_bits or 24).derived(self.done - 1)

    def __call__(self, op: str, *operands: Values) -> Values:
        """`op` on values that broadcast, rounded to A; a function's operand is first converted to A."""
        f, model = self.format, self.model
        settings: dict[str, Any] = {
            "rounding": model.rounding,
            "saturation": model.saturation,
            "subnormals": model.subnormals,
        }
        if op in elementwise.TRANSCENDENTAL:
            values = [self.converted(v)[0] for v in operands]
            return elementwise.apply(op, *values, f=f, **settings, chance=self._next()), f
        values = [np.asarray(v) for v, _ in operands]
        formats = tuple(g for _, g in operands)
        return elementwise.apply_between(
            op, tuple(values), formats, f, **settings, chance=self._next()
        ), f

    def converted(self, x: Values) -> Values:
        """`x` in A: no step if it is already."""
        return x if x[1] == self.format else self("convert", x)

    def number(self, x: float) -> Values:
        """A number of the caller's, which may be no value of A: rounded."""
        return self("convert", (np.full((1, 1), x), FP64))

    def total(self, x: Values, axis: int, *, squares: bool = False) -> Values:
        """The sum of elements or squares along `axis`, which stays with length 1, by the model."""
        values, f = x
        rows = np.moveaxis(values, axis, 0)
        columns = rows.reshape(len(rows), math.prod(rows.shape[1:]))
        model = replace(self.model, seed=self._next().seed)
        op = "norm" if squares else "sum"
        total = run(None, columns, (f, f), model, op=op, squares=squares)
        return np.expand_dims(total.reshape(rows.shape[1:]), axis), self.format

    def mean(self, x: Values, axis: int, *, squares: bool = False) -> Values:
        """The sum, divided by the exact number of its terms."""
        count = np.full((), float(x[0].shape[axis]))
        return self("divide", self.total(x, axis, squares=squares), (count, COUNTS))

    def finish(self, x: Values, own: Format, out: object) -> Array:
        """The result, rounded to `out`, by default the model's, else the operands' `own`."""
        return finish(x[0], replace(self.model, seed=self._next().seed), own, out)


def check_partner(name: str, x: Array, partner: Array, shape: tuple[int, ...], what: str) -> None:
    """`partner`, called `what`, must have this shape and the format of `x`."""
    if partner.shape != shape:
        raise ArgumentError(f"{what} of {name} must have shape {shape}, got {partner.shape}")
    if partner.format != x.format:
        raise ArgumentError(
            f"{what} of {name} is {partner.format.name} beside {x.format.name}: operands must share a "
            f"format; cast one of them, for example with .astype({x.format.name!r})"
        )
