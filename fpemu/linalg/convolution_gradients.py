"""The gradients of the convolutions, in the order in which their sums run.

Named after `torch.nn.grad`. Nothing is kept from the forward pass: a gradient is a convolution or a
transposed one of what it is given, with products and partial sums rounded by an accumulation model
of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.errors import ArgumentError
from fpemu.linalg.convolution_shapes import (
    geometry_of,
    model_for,
    shape_of,
    transposed_geometry_of,
)
from fpemu.linalg.convolution_sums import convolution, correlation, transposed_convolution
from fpemu.linalg.geometry import Pair
from fpemu.linalg.options import finish


def conv2d_input(
    input_size: Sequence[int],
    weight: object,
    grad_output: object,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `conv2d` with respect to its images.

    Each pixel is one sum: over the filters of its group, then kernel rows and kernel columns, both
    from the last to the first, so that the rows and columns of `grad_output` rise. It is the transposed
    convolution of `grad_output`, bit for bit. All O / groups * kh * kw kernel positions take part: those
    that reach the pixel from no element of `grad_output`, because the stride skips it or because it
    lies outside, as +0 times the weight (an infinite weight makes NaN there).

    Parameters
    ----------
    input_size : shape of the images, (N, C, H, W).
    weight : array_like of shape (O, C / groups, kh, kw).
    grad_output : gradient of the result, of the same format, shape (N, O, H', W').
    stride, padding, dilation, groups : those of the convolution.
    accumulate, order, product, out : as `fpemu.matmul`. With random rounding each image draws from a
        seed derived from the model's and the image's number.

    Returns an `Array` of shape `input_size`. NaN, infinities and overflow as IEEE 754 and the format's
    own rule. Raises `ArgumentError` for shapes that do not fit, mixed formats, a format without zero.
    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4;
    names and arguments of `torch.nn.grad.conv2d_input`.

    >>> grad = np.float16([[[[1, 2]]]])
    >>> conv2d_input((1, 1, 1, 3), np.float16([[[[1, 10]]]]), grad).tolist()
    [[[[1.0, 12.0, 20.0]]]]
    """
    w, grad = asarray(weight), asarray(grad_output)
    size = shape_of("input_size", input_size, "(N, C, H, W)")
    moves = (stride, padding, dilation, groups)
    geometry = geometry_of("conv2d_input", size, w.shape, grad, moves)
    op = "conv2d_input"
    model = model_for(op, grad, w, w, grad, accumulate, order, product)
    total = transposed_convolution(grad, w, geometry, (size[2], size[3]), model, op=op)
    return finish(total, model, grad.format, out)


def conv2d_weight(
    input: object,
    weight_size: Sequence[int],
    grad_output: object,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `conv2d` with respect to its weights.

    Each weight is one sum over the whole batch: over images, then rows, then columns of `grad_output`,
    the last one fastest, whatever the order of accumulation makes of these N * H' * W' terms. Padding
    takes part as zeros. Plain sequential sums go on from image to image, with as many patches in memory
    at a time as fit in 64 MiB; other orders gather all terms, of as many weights at a time; random
    rounding and rings, where the element's place counts, those of all weights of a group.

    Parameters
    ----------
    input : array_like of shape (N, C, H, W).
    weight_size : shape of the weights, (O, C / groups, kh, kw).
    grad_output : gradient of the result, of the same format, shape (N, O, H', W').
    stride, padding, dilation, groups : those of the convolution.
    accumulate, order, product, out : as `fpemu.matmul`. With random rounding each group draws from a
        seed derived from the model's and the group's number.

    Returns an `Array` of shape `weight_size`. NaN, infinities and overflow as IEEE 754 and the format's
    own rule; without images +0. Raises `ArgumentError` for shapes that do not fit or mixed formats.
    Source: names and arguments of `torch.nn.grad.conv2d_weight`.

    >>> x, grad = np.float16([[[[1, 2, 3]]]]), np.float16([[[[1, 10]]]])
    >>> conv2d_weight(x, (1, 1, 1, 2), grad).tolist()
    [[[[21.0, 32.0]]]]
    """
    x, grad = asarray(input), asarray(grad_output)
    weights = shape_of("weight_size", weight_size, "(O, C / groups, kh, kw)")
    if x.ndim != 4:
        raise ArgumentError(f"conv2d_weight takes images (N, C, H, W), got shape {x.shape}")
    moves = (stride, padding, dilation, groups)
    geometry = geometry_of("conv2d_weight", x.shape, weights, grad, moves)
    model = model_for("conv2d_weight", x, grad, grad, x, accumulate, order, product)
    total = correlation(x, grad, geometry, model, op="conv2d_weight")
    return finish(total, model, x.format, out)


def conv_transpose2d_input(
    input_size: Sequence[int],
    weight: object,
    grad_output: object,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `conv_transpose2d` with respect to its images: the convolution of `grad_output`.

    Each pixel is one sum over the channels of its group of `grad_output`, then kernel rows and columns,
    the last one fastest. Padding takes part as zeros.

    Parameters
    ----------
    input_size : shape of the images, (N, C, H, W).
    weight : array_like of shape (C, O / groups, kh, kw).
    grad_output : gradient of the result, of the same format, shape (N, O, H', W').
    stride, padding, output_padding, dilation, groups : those of the transposed convolution.
    accumulate, order, product, out : as `conv2d_input`, and so are NaN, infinities and errors.

    Returns an `Array` of shape `input_size`.

    >>> grad = np.float16([[[[1, 2, 3]]]])
    >>> conv_transpose2d_input((1, 1, 1, 2), np.float16([[[[1, 10]]]]), grad).tolist()
    [[[[21.0, 32.0]]]]
    """
    w, grad = asarray(weight), asarray(grad_output)
    size = shape_of("input_size", input_size, "(N, C, H, W)")
    moves = (stride, padding, dilation, groups)
    geometry = transposed_geometry_of(
        "conv_transpose2d_input", size, w.shape, grad, moves, output_padding
    )
    op = "conv_transpose2d_input"
    model = model_for(op, grad, w, w, grad, accumulate, order, product)
    total = convolution(grad, w, geometry, (size[2], size[3]), model, op=op)
    return finish(total, model, grad.format, out)


def conv_transpose2d_weight(
    input: object,
    weight_size: Sequence[int],
    grad_output: object,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    accumulate: object = None,
    order: str = "sequential",
    product: object = None,
    out: object = None,
) -> Array:
    """The gradient of `conv_transpose2d` with respect to its weights: as `conv2d_weight`, `input` and
    `grad_output` having changed places.

    Each weight is one sum over the whole batch: over images, then rows, then columns of `input`, the
    last one fastest. Padding takes part as zeros.

    Parameters
    ----------
    input : array_like of shape (N, C, H, W).
    weight_size : shape of the weights, (C, O / groups, kh, kw).
    grad_output : gradient of the result, of the same format, shape (N, O, H', W').
    stride, padding, output_padding, dilation, groups : those of the transposed convolution.
    accumulate, order, product, out : as `conv2d_weight`, and so are NaN, infinities and errors.

    Returns an `Array` of shape `weight_size`.

    >>> x, grad = np.float16([[[[1, 10]]]]), np.float16([[[[1, 2, 3]]]])
    >>> conv_transpose2d_weight(x, (1, 1, 1, 2), grad).tolist()
    [[[[21.0, 32.0]]]]
    """
    x, grad = asarray(input), asarray(grad_output)
    weights = shape_of("weight_size", weight_size, "(C, O / groups, kh, kw)")
    if x.ndim != 4:
        raise ArgumentError(
            f"conv_transpose2d_weight takes images (N, C, H, W), got shape {x.shape}"
        )
    moves = (stride, padding, dilation, groups)
    geometry = transposed_geometry_of(
        "conv_transpose2d_weight", x.shape, weights, grad, moves, output_padding
    )
    model = model_for("conv_transpose2d_weight", grad, x, x, grad, accumulate, order, product)
    total = correlation(grad, x, geometry, model, op="conv_transpose2d_weight")
    return finish(total, model, x.format, out)


def conv1d_input(
    input_size: Sequence[int],
    weight: object,
    grad_output: object,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    **options: Any,
) -> Array:
    """The gradient of `conv1d` with respect to its sequences: `input_size` is (N, C, L), `weight` has
    shape (O, C / groups, k) and `grad_output` (N, O, L'); else `conv2d_input`.

    >>> conv1d_input((1, 1, 3), np.float16([[[1, 10]]]), np.float16([[[1, 2]]])).tolist()
    [[[1.0, 12.0, 20.0]]]
    """
    w, grad = _with_rows("conv1d_input", weight, grad_output)
    n, c, length = shape_of("input_size", input_size, "(N, C, L)")
    given = _of_sequences(stride, padding, dilation)
    return conv2d_input((n, c, 1, length), w, grad, **given, **options).reshape(n, c, length)


def conv1d_weight(
    input: object,
    weight_size: Sequence[int],
    grad_output: object,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    **options: Any,
) -> Array:
    """The gradient of `conv1d` with respect to its weights: `input` has shape (N, C, L), `grad_output`
    (N, O, L'), and `weight_size` is (O, C / groups, k); else `conv2d_weight`.

    >>> conv1d_weight(np.float16([[[1, 2, 3]]]), (1, 1, 2), np.float16([[[1, 10]]])).tolist()
    [[[21.0, 32.0]]]
    """
    x, grad = _with_rows("conv1d_weight", input, grad_output)
    o, c, length = shape_of("weight_size", weight_size, "(O, C / groups, k)")
    given = _of_sequences(stride, padding, dilation)
    return conv2d_weight(x, (o, c, 1, length), grad, **given, **options).reshape(o, c, length)


# -- what they share ----------------------------------------------------------------------------


def _with_rows(op: str, a: object, b: object) -> tuple[Any, Any]:
    """Sequences as images of one row."""
    a, b = asarray(a), asarray(b)
    if (a.ndim, b.ndim) != (3, 3):
        raise ArgumentError(
            f"{op} takes arrays of 3 dimensions, got shapes {a.shape} and {b.shape}"
        )
    return np.expand_dims(a, 2), np.expand_dims(b, 2)


def _of_sequences(stride: int, padding: int, dilation: int) -> dict[str, Any]:
    return {"stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation)}
