"""Convolutions as sums of products in a stated order.

Each element of the result is the sum over input channels, kernel rows and kernel columns, in this
order, the last one fastest (that of the weights in memory). Padding takes part as zeros. Patches are
gathered for some images at a time, and for a large one in rows, so that memory stays bounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.errors import ArgumentError
from fpemu.linalg.convolution_shapes import check_channels, check_groups, model_for
from fpemu.linalg.convolution_sums import convolution, transposed_convolution
from fpemu.linalg.geometry import Geometry, Pair, pair
from fpemu.linalg.options import finish


def conv2d(
    x: object,
    w: object,
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
    """The two-dimensional convolution (cross-correlation) of a batch of images, as in PyTorch.

    Parameters
    ----------
    x : array_like of shape (N, C, H, W).
    w : weights of the same format, shape (O, C / groups, kh, kw); E4M3 and E5M2 may meet in matrix
        units that multiply the two, weights first.
    stride, padding, dilation : integers, or pairs for rows and columns.
    groups : how many groups channels and weights are divided into.
    accumulate, order, product, out : as `fpemu.matmul`. With random rounding each image draws from a
        seed derived from the model's and the image's number.

    Returns an `Array` of shape (N, O, H', W'). NaN, infinities and overflow as IEEE 754 and the
    format's own rule; an infinite weight times the zeros of the padding is NaN.
    Raises `ArgumentError` for shapes that do not fit. The gradients are `conv2d_input` and
    `conv2d_weight`.

    >>> x = np.arange(9, dtype=np.float16).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.ones((1, 1, 2, 2), np.float16)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    x, w = asarray(x), asarray(w)
    if (x.ndim, w.ndim) != (4, 4):
        raise ArgumentError(
            f"conv2d takes images (N, C, H, W) and weights (O, C, kh, kw), got shapes {x.shape} and "
            f"{w.shape}"
        )
    model = model_for("conv2d", x, w, w, x, accumulate, order, product)
    check_groups(groups, x.shape[1], w.shape[0])
    check_channels(w.shape, groups, x.shape[1])
    geometry = Geometry.of(w.shape, stride, padding, dilation, groups)
    size = geometry.convolved(x.shape[2:])
    return finish(convolution(x, w, geometry, size, model, op="conv2d"), model, x.format, out)


def conv1d(
    x: object, w: object, *, stride: int = 1, padding: int = 0, dilation: int = 1, **options
) -> Array:
    """The convolution of sequences: `x` of shape (N, C, L), `w` (O, C / groups, k); else `conv2d`.

    >>> conv1d(np.float16([[[1, 2, 3]]]), np.float16([[[1, 1]]])).tolist()
    [[[3.0, 5.0]]]
    """
    x, w = asarray(x), asarray(w)
    if (x.ndim, w.ndim) != (3, 3):
        raise ArgumentError(
            f"conv1d takes sequences (N, C, L) and weights (O, C, k), got shapes {x.shape} and {w.shape}"
        )
    given: dict[str, Any] = {
        "stride": (1, stride),
        "padding": (0, padding),
        "dilation": (1, dilation),
    }
    flat = conv2d(np.expand_dims(x, 2), np.expand_dims(w, 2), **given, **options)
    return flat.reshape(flat.shape[0], flat.shape[1], flat.shape[3])


def conv_transpose2d(
    x: object,
    w: object,
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
    """The transposed convolution, as in PyTorch: each element of an image stamps the kernels,
    multiplied by it, onto the result.

    Computed as a convolution of the images, with zeros put between their elements and around them, by
    the reversed kernels: each element of the result is the sum over the channels of `x`, then kernel
    rows and columns, both from the last to the first (rows and columns of `x` rise). Zeros take part.

    Parameters
    ----------
    x : array_like of shape (N, C, H, W).
    w : weights of the same format, as in `conv2d`, shape (C, O / groups, kh, kw).
    stride, padding, dilation, groups : of the convolution whose gradient this is; see `conv2d`.
    output_padding : rows and columns added at the end, fewer than the stride or the dilation.
    accumulate, order, product, out : as `conv2d`.

    Returns an `Array` of shape (N, O, (H - 1) * stride - 2 * padding + dilation * (kh - 1) + 1 +
    output_padding, ...). Raises `ArgumentError` for shapes that do not fit, or a format without zero.

    >>> x = np.float16([[[[1, 2]]]])
    >>> conv_transpose2d(x, np.ones((1, 1, 1, 2), np.float16), stride=2).tolist()
    [[[[1.0, 1.0, 2.0, 2.0]]]]
    """
    x, w = asarray(x), asarray(w)
    if (x.ndim, w.ndim) != (4, 4) or x.shape[1] != w.shape[0]:
        raise ArgumentError(
            "conv_transpose2d takes images (N, C, H, W) and weights (C, O, kh, kw), got shapes "
            f"{x.shape} and {w.shape}"
        )
    model = model_for("conv_transpose2d", x, w, w, x, accumulate, order, product)
    check_groups(groups, x.shape[1], x.shape[1])
    geometry = Geometry.of(w.shape, stride, padding, dilation, groups)
    size = geometry.transposed(x.shape[2:], pair("output_padding", output_padding, 0))
    total = transposed_convolution(x, w, geometry, size, model, op="conv_transpose2d")
    return finish(total, model, x.format, out)
