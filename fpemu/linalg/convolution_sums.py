"""The sums of products that convolutions and their gradients are, by a model with no setting open.

Operands may be of two formats. The results are carriers, values of ``model.result_format``; events are
counted at `place` under the name `op`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from fpemu.arrays import Array
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.linalg.geometry import Geometry, Two
from fpemu.linalg.options import Model, nth_of
from fpemu.linalg.patches import convolved, correlated
from fpemu.matrix_units import Instruction


def convolution(
    x: Array, w: Array, geometry: Geometry, size: Two, model: Model, *, op: str, place: str = ""
) -> np.ndarray:
    """The convolution of `x` (N, C, H, W) by `w` (O, C / groups, kh, kw), as much of it as `size` says:
    rows of the products are filters, columns the patches."""
    _check_zero(x, geometry)
    padded = geometry.padded(x._values)
    return convolved(
        lambda some: padded[some],
        (x.shape[0], w.shape[0], *size),
        w._values,
        (w.format, x.format),
        geometry,
        _for_images(model),
        {"op": op, "place": place},
    )


def transposed_convolution(
    x: Array, w: Array, geometry: Geometry, size: Two, model: Model, *, op: str, place: str = ""
) -> np.ndarray:
    """The transposed convolution of `x` by `w` (C, O / groups, kh, kw), as much as `size` says: the
    convolution of `x`, with zeros between its elements and around them, by the reversed kernels."""
    if not x.format.has_zero:
        raise ArgumentError(f"{op} puts zeros between elements; {x.format.name} has none")
    groups, each = geometry.groups, w.shape[1]
    channels = w.shape[0] // groups
    of_group = w._values[:, :, ::-1, ::-1].reshape(groups, channels, *w.shape[1:])
    turned = np.swapaxes(of_group, 1, 2).reshape(groups * each, channels, *geometry.kernel)
    return convolved(
        lambda some: geometry.spread(x._values[some], size),
        (x.shape[0], groups * each, *size),
        np.ascontiguousarray(turned),
        (w.format, x.format),
        dataclasses.replace(geometry, steps=(1, 1), pads=(0, 0), more=(0, 0)),
        _for_images(model),
        {"op": op, "place": place},
    )


def correlation(
    images: Array, above: Array, geometry: Geometry, model: Model, *, op: str, place: str = ""
) -> np.ndarray:
    """The gradient of the weights that take `images` to what `above` is the gradient of: shape
    (O, C / groups, kh, kw). Rows of the products are those of `above`, columns the patches."""
    _check_zero(images, geometry)
    return correlated(
        images._values,
        above._values,
        (above.format, images.format),
        geometry,
        lambda g: nth_of(model, g),
        {"op": op, "place": place},
    )


def _check_zero(x: Array, geometry: Geometry) -> None:
    if not x.format.has_zero and any(geometry.pads + geometry.more):
        raise ArgumentError(f"{x.format.name} has no zero to pad with; leave padding=0")


def _for_images(model: Model) -> Callable[[int, int], Model]:
    """The models for image n and group g: random rounding draws from another seed for each."""

    def of_image(n: int, g: int) -> Model:
        if isinstance(model, Instruction) or model.rounding != "stochastic":
            return model
        seed = Chance(model.seed or 0).derived(n).seed
        return dataclasses.replace(model, seed=(seed + g) % 2**64)

    return of_image
