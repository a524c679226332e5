"""What the functions of this room have in common: the model, the output, axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fpemu import accumulation, matrix_units
from fpemu.accumulation import Accumulator
from fpemu.accumulation.run import filled as filled_accumulator
from fpemu.arrays import Array
from fpemu.chance import Chance
from fpemu.convert import round_to
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import Format, as_format
from fpemu.matrix_units import Instruction, MatrixUnit

# Holds counts of terms, whose quotients are then rounded once.
COUNTS = Format("count", 8, 45, bias=127, encoding="finite")


Model = Accumulator | Instruction


def model_of(accumulate: object, order: str, product: object, own: Format) -> Accumulator:
    """The accumulation model that a call describes: `accumulate` is a format (None: the operands'
    `own`), or a whole `Accumulator` or its text, beside which the others must not be given."""
    if isinstance(accumulate, (MatrixUnit, Instruction)) or matrix_units.is_written(accumulate):
        raise UnsupportedError(
            f"accumulate={str(accumulate)!r}: a matrix unit adds products, and nothing else; for a sum of "
            "elements use fp.dot with ones, or name a format"
        )
    if isinstance(accumulate, str) and (" " in accumulate or "=" in accumulate):
        accumulate = Accumulator.parse(accumulate)
    if isinstance(accumulate, Accumulator):
        _check_alone(accumulate, order, product)
        return accumulate
    f = own if accumulate is None else as_format(accumulate)
    return Accumulator(f, order, product=product)


def model_of_products(
    accumulate: object, order: str, product: object, a: Format, b: Format
) -> Model:
    """As `model_of`, for sums of products of values of `a` and `b`; `accumulate` may be a matrix unit,
    too, or its text. Without one the formats must be the same."""
    if isinstance(accumulate, str) and matrix_units.is_written(accumulate):
        accumulate = MatrixUnit.parse(accumulate)
    if isinstance(accumulate, (MatrixUnit, Instruction)):
        _check_alone(accumulate, order, product)
        unit = accumulate.on(a, b) if isinstance(accumulate, MatrixUnit) else accumulate
        if (unit.a, unit.b) != (a, b):
            raise UnsupportedError(f"{unit} does not multiply {a.name} by {b.name}")
        return unit
    return model_of(accumulate, order, product, a)


def _check_alone(model: object, order: str, product: object) -> None:
    if order != "sequential" or product is not None:
        raise ArgumentError(
            f"accumulate={str(model)!r} says order and product; leave out order= and product="
        )


def run(
    a: np.ndarray,
    b: np.ndarray,
    formats: tuple[Format, Format],
    model: Model,
    start: np.ndarray | None = None,
    *,
    op: str = "matmul",
) -> np.ndarray:
    """``start + a @ b`` by the model, for carriers of shapes (m, k), (k, n) and (m, n)."""
    if isinstance(model, Instruction):
        return matrix_units.multiply_watched(a, b, model, start, op=op)
    return accumulation.accumulate(a, b, formats, model, start, op=op)


def filled(model: Model) -> Model:
    """The model with every setting that it leaves open taken from the `arithmetic` in force. A matrix
    unit leaves none open."""
    return model if isinstance(model, Instruction) else filled_accumulator(model)


def nth_of(model: Model, n: int) -> Model:
    """The model, which has no setting open, for the n-th of several accumulations: random rounding
    draws from another seed."""
    if isinstance(model, Instruction):
        return model
    return replace(model, seed=Chance(model.seed or 0).derived(n).seed)


def finish(values: np.ndarray, model: Model, own: Format, out: object) -> Array:
    """The sum in the format `out` (by default the model's, else the operands'), rounded once more if
    that is another one, as the `arithmetic` in force says what the model does not."""
    final = as_format(out) if out is not None else model.out or own
    if final == model.result_format and final.has_zero:
        return Array(values, final)  # (a format without zero has to round the sum of nothing)
    now = filled_accumulator(
        Accumulator(model.result_format) if isinstance(model, Instruction) else model
    )
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
