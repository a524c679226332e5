"""What the functions of this room have in common: the model, the output, axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpemu.accumulation import Accumulator
from fpemu.accumulation.run import filled
from fpemu.arrays import Array
from fpemu.chance import Chance
from fpemu.convert import round_to
from fpemu.errors import ArgumentError
from fpemu.formats import Format, as_format

# Holds counts of terms, whose quotients are then rounded once.
COUNTS = Format("count", 8, 45, bias=127, encoding="finite")


def model_of(accumulate: object, order: str, product: object, own: Format) -> Accumulator:
    """The accumulation model that a call describes: `accumulate` is a format (None: the operands'
    `own`), or a whole `Accumulator` or its text, beside which the others must not be given."""
    if isinstance(accumulate, str) and (" " in accumulate or "=" in accumulate):
        accumulate = Accumulator.parse(accumulate)
    if isinstance(accumulate, Accumulator):
        if order != "sequential" or product is not None:
            raise ArgumentError(
                f"accumulate={str(accumulate)!r} says order and product; leave out order= and product="
            )
        return accumulate
    f = own if accumulate is None else as_format(accumulate)
    return Accumulator(f, order, product=product)


def nth_of(model: Accumulator, n: int) -> Accumulator:
    """The model for the n-th of several accumulations: random rounding draws from another seed."""
    now = filled(model)
    return (
        replace(now, seed=Chance(now.seed or 0).derived(n).seed) if model.seed is not None else now
    )


def finish(values: np.ndarray, model: Accumulator, own: Format, out: object) -> Array:
    """The sum in the format `out` (by default the model's, else the operands'), rounded once more if
    that is another one."""
    final = as_format(out) if out is not None else model.out or own
    if final == model.result_format and final.has_zero:
        return Array(values, final)  # (a format without zero has to round the sum of nothing)
    now = filled(model)
    rounded = round_to(
        values,
        final,
        now.saturation or "none",
        rounding=now.rounding or "nearest_even",
        subnormals=now.subnormals or "gradual",
        chance=Chance(now.seed or 0, now.random_bits or 24).derived(-1),
        op="output",
    )
    return Array(rounded, final)


def axis_of(axis: int, x: Array) -> int:
    """`axis` as a number from 0."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise ArgumentError(f"axis must be one integer or None, got {axis!r}")
    if not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"axis {axis!r} is out of range for an array of {x.ndim} dimensions")
    return int(axis) % x.ndim
