"""Whether shapes and options of a convolution go together."""

from __future__ import annotations

import numpy as np

from fpemu.arrays import Array
from fpemu.errors import ArgumentError
from fpemu.linalg.geometry import Geometry, Pair, pair
from fpemu.linalg.options import Model, filled, model_of_products
from fpemu.matrix_units import Instruction

Moves = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation, groups


def model_for(
    op: str,
    given: Array,
    other: Array,
    rows: Array,
    columns: Array,
    accumulate: object,
    order: str,
    product: object,
) -> Model:
    """The model that a call of `op` with arrays `given` and `other` describes, with no setting open; they
    are the `rows` and `columns` of its products. Only a matrix unit takes two formats."""
    model = model_of_products(accumulate, order, product, rows.format, columns.format)
    if given.format != other.format and not isinstance(model, Instruction):
        raise ArgumentError(
            f"{op} of {given.format.name} and {other.format.name}: operands must share a format; cast "
            f"one of them, for example with .astype({given.format.name!r})"
        )
    return filled(model)


def check_groups(groups: object, channels: int, filters: int) -> None:
    """Groups must divide channels and filters."""
    whole = isinstance(groups, (int, np.integer)) and not isinstance(groups, bool)
    if not whole or groups < 1 or channels % groups or filters % groups:  # type: ignore[operator]
        raise ArgumentError(
            f"groups must divide the {channels} channels and the {filters} filters, got {groups!r}"
        )


def check_channels(weights: tuple[int, ...], groups: int, channels: int) -> None:
    """Weights must be for as many channels as the images have."""
    if weights[1] * groups != channels:
        raise ArgumentError(
            f"weights of shape {weights} and {groups} groups take {weights[1] * groups} channels, the "
            f"images have {channels}"
        )


def shape_of(name: str, given: object, wanted: str) -> tuple[int, ...]:
    """`given` as a shape of as many dimensions as `wanted` writes, "(N, C, L)"."""
    shape = tuple(given) if isinstance(given, (tuple, list)) else ()
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in shape)
    if len(shape) != wanted.count(",") + 1 or not whole or min(shape, default=-1) < 0:
        raise ArgumentError(f"{name} must be a shape {wanted}, got {given!r}")
    return tuple(int(n) for n in shape)


def geometry_of(
    op: str, size: tuple[int, ...], weights: tuple[int, ...], grad: Array, moves: Moves
) -> Geometry:
    """That of a convolution of images of this `size`, whose result has the shape of `grad`."""
    if len(weights) != 4:
        raise ArgumentError(f"{op} takes weights (O, C / groups, kh, kw), got shape {weights}")
    check_groups(moves[3], size[1], weights[0])
    check_channels(weights, moves[3], size[1])
    geometry = Geometry.of(weights, *moves)
    _check_gradient(op, grad, (size[0], weights[0], *geometry.convolved((size[2], size[3]))))
    return geometry


def transposed_geometry_of(
    op: str,
    size: tuple[int, ...],
    weights: tuple[int, ...],
    grad: Array,
    moves: Moves,
    output_padding: Pair,
) -> Geometry:
    """That of a transposed convolution of images of this `size`, whose result has the shape of `grad`."""
    if len(weights) != 4 or weights[0] != size[1]:
        raise ArgumentError(
            f"{op} takes weights (C, O / groups, kh, kw) for images of {size[1]} channels, got shape "
            f"{weights}"
        )
    check_groups(moves[3], size[1], size[1])
    geometry = Geometry.of(weights, *moves)
    result = geometry.transposed((size[2], size[3]), pair("output_padding", output_padding, 0))
    _check_gradient(op, grad, (size[0], weights[1] * moves[3], *result))
    return geometry


def _check_gradient(op: str, grad: Array, shape: tuple[int, ...]) -> None:
    if grad.shape != shape:
        raise ArgumentError(
            f"grad_output of {op} must have the result's shape {shape}, got {grad.shape}"
        )
