"""Convolutions: their operands are cast by role, their sums accumulated by the policy's model.

Forward, input gradient and weight gradient are the sums of `fpemu.conv2d`, `conv2d_input` and
`conv2d_weight` (and those of `conv_transpose2d`), bit for bit; the bias joins last.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.casts import Operand
from fpemu.autograd.operations.products import add_bias
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError
from fpemu.linalg.convolution_shapes import check_channels, check_groups
from fpemu.linalg.convolution_sums import convolution, correlation, transposed_convolution
from fpemu.linalg.geometry import Geometry, Pair, Two, pair

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


@dataclass(frozen=True)
class _Saved:
    """What backward needs of a convolution of images, sequences having become images of one row."""

    x: Array
    weight: Array
    inputs: Operand
    weights: Operand
    geometry: Geometry
    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of input and weights as they were given


# -- what all of them share -----------------------------------------------------------------------


def _products(
    site: Site, sums: Any, a: Operand, b: Operand, formats: Any, where: str, *options: Any
) -> Array:
    """``sums(a, b, *options, model)`` at its place; `formats` are those of rows and columns."""
    return site.summed(
        lambda model, **told: sums(a.array, b.array, *options, model, **told),
        where,
        formats,
        a.exponent + b.exponent,
    )


def _with_rows(x: Array, spatial: int) -> Array:
    """Sequences as images of one row; images as they are."""
    return x if spatial == 2 else x.reshape((*x.shape[:2], 1, x.shape[2]))


def _check_shapes(site: Site, x: Array, weight: Array, spatial: int, layout: str) -> None:
    name = f"conv{spatial}d" if layout[0] == "O" else f"conv_transpose{spatial}d"
    if (x.ndim, weight.ndim) != (2 + spatial,) * 2:
        sizes, kernel = ("H, W", "kh, kw") if spatial == 2 else ("L", "k")
        raise ArgumentError(
            f"{site.place}: {name} takes input (N, C, {sizes}) and weights ({layout}, {kernel}), got "
            f"shapes {x.shape} and {weight.shape}"
        )


def along(option: Any, spatial: int, still: int) -> Any:
    """An option of sequences as one of images of one row, which do not move along their rows."""
    if spatial == 2 or isinstance(option, str):
        return option
    if isinstance(option, (tuple, list)):
        if len(option) != 1:
            raise ArgumentError(f"options of sequences are one integer, got {option!r}")
        option = option[0]
    return still, option


def geometry_of(
    kernel: tuple[int, ...], stride: Pair, padding: Pair | str, dilation: Pair, groups: int
) -> Geometry:
    """That of weights of this shape; `padding` may be "valid", or "same" with stride 1, as PyTorch has
    them: an odd number of rows or columns puts the one more at the end."""
    if not isinstance(padding, str):
        return Geometry.of(kernel, stride, padding, dilation, groups)
    geometry = Geometry.of(kernel, stride, 0, dilation, groups)
    if padding == "valid":
        return geometry
    if padding != "same":
        raise ArgumentError(f"padding must be integers, 'valid' or 'same', got {padding!r}")
    if geometry.steps != (1, 1):
        raise ArgumentError(
            f"padding='same' needs stride 1, got {geometry.steps}; give the padding as integers"
        )
    high, wide = (span - 1 for span in geometry.spans)
    return dataclasses.replace(geometry, pads=(high // 2, wide // 2), more=(high % 2, wide % 2))


def _with_bias(site: Site, total: Array, bias: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """The bias of each channel joins the sum last; the result is handed on."""
    for given in bias:
        total = add_bias(site, total, given, (1, -1, 1, 1))
    return site.hand_on(total, "activations", "forward/output").reshape(shape)


def _bias_gradient(site: Site, g: Operand) -> Array:
    """The sum over images, then rows, then columns, as a product with ones by the model of products."""
    channels = g.array.shape[1]
    last = np.moveaxis(g.array._values, 1, 3).reshape(-1, channels)
    total = site.column_sums(Operand(Array(last, g.array.format), g.exponent), "bias_grad")
    return site.hand_on(total, "gradients", "bias_grad/output")


def _backward(
    site: Site, saved: _Saved, gradient: Array, needed: Needed, to_images: Any, turned: bool
) -> Gradients:
    """The gradients; `to_images` sums those of the input. With `turned` the images under the kernels
    are those of the gradient."""
    g = site.operand(gradient, "gradients", "backward/output_grad")
    to_input = to_weight = None
    if needed[0]:
        above = site.again(gradient, g, "gradients", "input_grad/output_grad")
        below = site.again(saved.weight, saved.weights, "weights", "input_grad/weight")
        formats = (below.array.format, above.array.format)
        size = saved.x.shape[2:]
        moves = (saved.geometry, size)
        to_input = _products(site, to_images, above, below, formats, "input_grad", *moves)
        to_input = site.hand_on(to_input, "gradients", "input_grad/output")
        to_input = to_input.reshape(saved.shapes[0])
    if needed[1]:
        above = site.again(gradient, g, "gradients", "weight_grad/output_grad")
        below = site.again(saved.x, saved.inputs, "activations", "weight_grad/input")
        images, rows = (above, below) if turned else (below, above)
        formats = (rows.array.format, images.array.format)
        to_weight = _products(
            site, correlation, images, rows, formats, "weight_grad", saved.geometry
        )
        to_weight = site.hand_on(to_weight, "gradients", "weight_grad/output")
        to_weight = to_weight.reshape(saved.shapes[1])
    if len(needed) == 2:
        return to_input, to_weight
    return to_input, to_weight, _bias_gradient(site, g) if needed[2] else None


# -- conv2d: x (N, C, H, W), weights (O, C / groups, kh, kw), bias (O,) or none -----------------------


def _convolve(
    site: Site, x: Array, weight: Array, bias: tuple[Array, ...], spatial: int, options: Any
) -> tuple[Array, Any]:
    _check_shapes(site, x, weight, spatial, "O, C / groups")
    shapes = (x.shape, weight.shape)
    x, weight = _with_rows(x, spatial), _with_rows(weight, spatial)
    groups = options["groups"]
    check_groups(groups, x.shape[1], weight.shape[0])
    check_channels(weight.shape, groups, x.shape[1])
    geometry = geometry_of(weight.shape, **options)
    size: Two = geometry.convolved(x.shape[2:])
    inputs = site.operand(x, "activations", "forward/input")
    weights = site.operand(weight, "weights", "forward/weight")
    formats = (weights.array.format, inputs.array.format)
    total = _products(site, convolution, inputs, weights, formats, "forward", geometry, size)
    shape = (*total.shape[:2], *size[2 - spatial :])
    y = _with_bias(site, total, bias, shape)
    return y, _Saved(x, weight, inputs, weights, geometry, shapes)


def _conv2d(
    site: Site,
    x: Array,
    weight: Array,
    *bias: Array,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Any]:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _convolve(site, x, weight, bias, 2, options)


def _conv1d(
    site: Site,
    x: Array,
    weight: Array,
    *bias: Array,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> tuple[Array, Any]:
    options = {
        "stride": along(stride, 1, 1),
        "padding": along(padding, 1, 0),
        "dilation": along(dilation, 1, 1),
        "groups": groups,
    }
    return _convolve(site, x, weight, bias, 1, options)


def _conv_backward(site: Site, saved: _Saved, gradient: Array, needed: Needed) -> Gradients:
    g = _with_rows(gradient, gradient.ndim - 2)
    return _backward(site, saved, g, needed, transposed_convolution, turned=False)


# -- conv_transpose2d: x (N, C, H, W), weights (C, O / groups, kh, kw), bias (O,) or none --------------


def _conv_transpose2d(
    site: Site,
    x: Array,
    weight: Array,
    *bias: Array,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Any]:
    _check_shapes(site, x, weight, 2, "C, O / groups")
    if x.shape[1] != weight.shape[0]:
        raise ArgumentError(
            f"{site.place}: weights of shape {weight.shape} take {weight.shape[0]} channels, the images "
            f"have {x.shape[1]}"
        )
    check_groups(groups, x.shape[1], x.shape[1])
    geometry = Geometry.of(weight.shape, stride, padding, dilation, groups)
    size = geometry.transposed(x.shape[2:], pair("output_padding", output_padding, 0))
    inputs = site.operand(x, "activations", "forward/input")
    weights = site.operand(weight, "weights", "forward/weight")
    formats = (weights.array.format, inputs.array.format)
    moves = (geometry, size)
    total = _products(site, transposed_convolution, inputs, weights, formats, "forward", *moves)
    y = _with_bias(site, total, bias, total.shape)
    return y, _Saved(x, weight, inputs, weights, geometry, (x.shape, weight.shape))


def _transpose_backward(site: Site, saved: _Saved, gradient: Array, needed: Needed) -> Gradients:
    return _backward(site, saved, gradient, needed, convolution, turned=True)


CONV1D = Operation("conv1d", _conv1d, _conv_backward)
CONV2D = Operation("conv2d", _conv2d, _conv_backward)
CONV_TRANSPOSE2D = Operation("conv_transpose2d", _conv_transpose2d, _transpose_backward)

TABLE = (CONV1D, CONV2D, CONV_TRANSPOSE2D)
