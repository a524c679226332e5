"""What the functions of this room have in common: the model, the output, axes."""

from __future__ import annotations

import dataclasses

import numpy as np

from fpemu import context
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.convert import round_to
from fpemu.errors import ArgumentError
from fpemu.formats import Format, as_format


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


def finish(values: np.ndarray, model: Accumulator, own: Format, out: object) -> Array:
    """The sum in the format `out` (by default the model's, else the operands'), rounded once more if
    that is another one."""
    final = as_format(out) if out is not None else model.out or own
    if final == model.result_format:
        return Array(values, final)
    now = context.current()
    settings = dataclasses.replace(
        now,
        rounding=model.rounding or now.rounding,
        saturation=model.saturation or now.saturation,
        subnormals=model.subnormals or now.subnormals,
    )
    rounded = round_to(
        values,
        final,
        settings.saturation,
        rounding=settings.rounding,
        subnormals=settings.subnormals,
        chance=settings.next_chance(),
        op="output",
    )
    return Array(rounded, final)


def axis_of(axis: int, x: Array) -> int:
    """`axis` as a number from 0."""
    if not isinstance(axis, (int, np.integer)) or not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"axis {axis!r} is out of range for an array of {x.ndim} dimensions")
    return int(axis) % x.ndim
