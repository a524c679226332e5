"""Where an operation stands and how it rounds there.

An operation names the *role* of each value (weights, activations, gradients, ...) and *where*
in itself it rounds ("forward/input", "weight_grad/accumulate"). Its `Site` knows the place of
the operation in the model and the format of each role, does the rounding, and counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fpemu import elementwise, events
from fpemu.accumulation.sequential import accumulate_products
from fpemu.arrays import Array
from fpemu.convert import report, round_to
from fpemu.errors import ArgumentError
from fpemu.formats import FP64, Format

ROLES = ("weights", "activations", "gradients", "accumulate", "loss")
ScaleRule = Callable[[np.ndarray, Format], int]


@dataclass(frozen=True)
class Operand:
    """What a product reads: values times 2**exponent, rounded to a role's format."""

    array: Array
    exponent: int = 0

    @property
    def T(self) -> Operand:
        """Transposed."""
        return Operand(self.array.T, self.exponent)


@dataclass(frozen=True)
class Site:
    """The roundings of one operation at one place.

    `roles` gives the format of each of `ROLES`. Results are handed on in the format of their
    role, unless `outputs` names one for all results (as systems do whose FP8 is only an operand
    format). `scale_rule` gives the power of two by which an operand is scaled before it is
    rounded, and by which the product is scaled back.
    """

    place: str
    roles: Mapping[str, Format]
    outputs: Format | None = None
    saturation: str = "none"
    scale_rule: ScaleRule | None = None

    def operand(self, x: Array, role: str, where: str) -> Operand:
        """`x` as a product reads it: scaled if there is a rule, rounded to the role's format."""
        f = self.roles[role]
        if x.format == f:
            if role == "weights":  # others were counted when they were handed on
                self._watch(x, role, where)
            return Operand(x)
        exponent = self.scale_rule(x._values, f) if self.scale_rule else 0
        values = x._values if exponent == 0 else np.ldexp(x._values.astype(np.float64), exponent)
        return Operand(self._round(values, f, role, where), exponent)

    def products(self, a: Operand, b: Operand, where: str) -> Array:
        """``a @ b`` in the accumulator's format, every product and partial sum rounded."""
        f = self.roles["accumulate"]
        values = accumulate_products(
            a.array._values,
            b.array._values,
            (a.array.format, b.array.format, f),
            saturation=self.saturation,
            place=f"{self.place}/{where}/accumulate",
            op="accumulate",
        )
        scaled = Operand(Array(values, f), a.exponent + b.exponent)
        return self.unscaled(scaled, "accumulate", f"{where}/unscale")

    def unscaled(self, x: Operand, role: str, where: str) -> Array:
        """An operand's values, scaled back, rounded to the role's format."""
        if x.exponent == 0:
            return self.cast(x.array, role, where)
        values = np.ldexp(x.array._values.astype(np.float64), -x.exponent)
        return self._round(values, self.roles[role], role, where)

    def column_sums(self, x: Operand, where: str) -> Array:
        """The sum over the first axis of a matrix, as a product with ones."""
        ones = np.ones((1, x.array.shape[0]), x.array._values.dtype)
        total = self.products(Operand(Array(ones, x.array.format)), x, where)
        return total.reshape(x.array.shape[1])

    def hand_on(self, x: Array, role: str, where: str) -> Array:
        """A result in the format in which it leaves the operation."""
        f = self.outputs or self.roles[role]
        if x.format != f:
            return self._round(x._values, f, role, where)
        self._watch(x, role, where)
        return x

    def apply(self, op: str, *operands: Array, role: str, where: str) -> Array:
        """An elementwise operation on values of the role's format, rounded once."""
        f = self.roles[role]
        wrong = [x.format.name for x in operands if x.format != f]
        if wrong:
            raise ArgumentError(f"{self.place}/{where}: {op} in {f.name} cannot take {wrong}")
        values = elementwise.apply(
            op,
            *(x._values for x in operands),
            f=f,
            saturation=self.saturation,
            place=f"{self.place}/{where}",
            count_as=role,
        )
        return Array(values, f)

    def constant(self, value: float, role: str) -> Array:
        """A number of the program (1/N, a target, a scale) in the role's format; not counted."""
        f = self.roles[role]
        return Array(round_to(np.asarray(value, np.float64), f, self.saturation, count=False), f)

    def cast(self, x: Array, role: str, where: str) -> Array:
        """`x` rounded to the role's format, unscaled."""
        f = self.roles[role]
        return x if x.format == f else self._round(x._values, f, role, where)

    def _watch(self, x: Array, role: str, where: str) -> None:
        """Count values that need no rounding: some may be subnormal, none is lost here."""
        if events.active():
            place = f"{self.place}/{where}"
            report(place, role, x._values, x._values, x.format, self.saturation)

    def _round(self, values: np.ndarray, f: Format, role: str, where: str) -> Array:
        place = f"{self.place}/{where}"
        return Array(round_to(values, f, self.saturation, place=place, op=role), f)


def plain_site(place: str = "", f: Format = FP64) -> Site:
    """A site at which everything is in one format."""
    return Site(place, dict.fromkeys(ROLES, f))
