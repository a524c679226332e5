"""What a site asks of one rounding, and what a product reads: plain data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, MatrixUnit

ScaleRule = Callable[[np.ndarray, Format], int]


@dataclass(frozen=True)
class Cast:
    """One rounding: to which format, how, and after scaling by which rule."""

    format: Format
    rounding: str = "nearest_even"
    saturation: str = "none"
    subnormals: str = "gradual"
    random_bits: int = 24
    scale_rule: ScaleRule | None = None
    model: Accumulator | MatrixUnit | None = None  # of sums of products

    @property
    def settings(self) -> dict[str, str]:
        """Rounding, saturation and subnormals, as functions of arrays take them."""
        return {
            "rounding": self.rounding,
            "saturation": self.saturation,
            "subnormals": self.subnormals,
        }


@dataclass(frozen=True)
class Operand:
    """What a product reads: values times 2**exponent, rounded to a role's format."""

    array: Array
    exponent: int = 0

    @property
    def T(self) -> Operand:
        """The last two axes exchanged."""
        return Operand(np.swapaxes(self.array, -1, -2), self.exponent)  # type: ignore[arg-type]

    def of(self, change: Callable[[Array], Array]) -> Operand:
        """The same after a change that moves values only."""
        return Operand(change(self.array), self.exponent)


def changed(rule: Cast, change: Mapping[str, Any]) -> Cast:
    """`rule` with what is other; where sums are said to be in a format, they are in order in it."""
    new = dataclasses.replace(rule, **change)
    if "format" in change and "model" not in change and rule.model is not None:
        new = dataclasses.replace(new, model=Accumulator(new.format))
    return new


@functools.lru_cache(maxsize=1024)
def instruction(unit: MatrixUnit, a: Format, b: Format) -> Instruction:
    return unit.on(a, b)


@functools.lru_cache(maxsize=1024)
def filled(
    model: Accumulator, rounding: str, saturation: str, subnormals: str, random_bits: int
) -> Accumulator:
    """The model with all that it leaves open but the seed."""
    return model.filled(
        rounding=rounding, saturation=saturation, subnormals=subnormals, random_bits=random_bits
    )


@functools.lru_cache(maxsize=1024)
def seeded(model: Accumulator) -> Accumulator:
    """The model with a seed that nothing asks for."""
    return model.filled(seed=0)
