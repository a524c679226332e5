"""Convolutions as sums of products in a stated order, image by image.

Each element of the result is the sum over input channels, kernel rows and kernel columns, in this
order, the last one fastest (that of the weights in memory). Padding takes part as zeros. Patches are
gathered for one image at a time, so that memory stays bounded.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fpemu.accumulation import Accumulator
from fpemu.accumulation import accumulate as run
from fpemu.accumulation.run import filled
from fpemu.arrays import Array, asarray
from fpemu.carriers import carrier_dtype
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.linalg.options import finish, model_of

Pair = int | tuple[int, int]


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
    w : weights of the same format, shape (O, C / groups, kh, kw).
    stride, padding, dilation : integers, or pairs for rows and columns.
    groups : how many groups channels and weights are divided into.
    accumulate, order, product, out : as `fpemu.matmul`. With random rounding each image draws from a
        seed derived from the model's and the image's number.

    Returns an `Array` of shape (N, O, H', W'). Raises `ArgumentError` for shapes that do not fit.

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
    if x.format != w.format:
        raise ArgumentError(
            f"conv2d of {x.format.name} and {w.format.name}: operands must share a format; cast one of "
            f"them, for example w.astype({x.format.name!r})"
        )
    if not isinstance(groups, int) or groups < 1 or x.shape[1] % groups or w.shape[0] % groups:
        raise ArgumentError(
            f"groups must divide the {x.shape[1]} channels and the {w.shape[0]} filters, got {groups!r}"
        )
    if w.shape[1] * groups != x.shape[1]:
        raise ArgumentError(
            f"weights of shape {w.shape} and {groups} groups take {w.shape[1] * groups} channels, the "
            f"images have {x.shape[1]}"
        )
    steps, pads, gaps = (
        _pair(name, value, least)
        for name, value, least in (
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
        )
    )
    if not x.format.has_zero and any(pads):
        raise ArgumentError(f"{x.format.name} has no zero to pad with; leave padding=0")
    model = filled(model_of(accumulate, order, product, x.format))
    padded = np.pad(x._values, ((0, 0), (0, 0), *((p, p) for p in pads)))
    view = _patches(padded, w.shape[2:], steps, gaps)  # N, C, kh, kw, H', W'
    count, filters, high, wide = x.shape[0], w.shape[0], *view.shape[4:]
    result = np.empty((count, filters, high, wide), carrier_dtype(model.result_format))
    weights = w._values.reshape(groups, filters // groups, w.shape[1] * w.shape[2] * w.shape[3])
    each = x.shape[1] // groups
    for n in range(count):
        seed = Chance(model.seed or 0).derived(n).seed
        for g in range(groups):
            chosen = view[n, g * each : (g + 1) * each]
            columns = np.ascontiguousarray(chosen).reshape(weights.shape[2], high * wide)
            from_here = slice(g * filters // groups, (g + 1) * filters // groups)
            total = run(
                weights[g],
                columns,
                (w.format, x.format),
                _reseeded(model, seed + g),
                op="conv2d",
            )
            result[n, from_here] = total.reshape(-1, high, wide)
    return finish(result, model, x.format, out)


def _reseeded(model: Accumulator, seed: int) -> Accumulator:
    return dataclasses.replace(model, seed=seed % 2**64)


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
    **options,
) -> Array:
    """The transposed convolution, as in PyTorch: `x` of shape (N, C, H, W), `w` (C, O, kh, kw).

    Computed as a convolution of the images, with zeros put between their elements, by the reversed
    kernels; `options` are those of `conv2d` except dilation and groups.

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
    if not x.format.has_zero:
        raise ArgumentError(
            f"conv_transpose2d puts zeros between elements; {x.format.name} has none"
        )
    steps, pads = _pair("stride", stride, 1), _pair("padding", padding, 0)
    more = _pair("output_padding", output_padding, 0)
    n, c, high, wide = x.shape
    kernel = w.shape[2:]
    edges = [k - 1 - p for k, p in zip(kernel, pads, strict=True)]
    if min(edges) < 0 or any(m >= s for m, s in zip(more, steps, strict=True)):
        raise ArgumentError(
            f"padding {pads} must be below the kernel's size {kernel}, and output_padding {more} below "
            f"the stride {steps}"
        )
    spread = np.zeros(
        (n, c, (high - 1) * steps[0] + 1 + more[0], (wide - 1) * steps[1] + 1 + more[1]),
        x._values.dtype,
    )
    spread[:, :, : spread.shape[2] - more[0] : steps[0], : spread.shape[3] - more[1] : steps[1]] = (
        x._values
    )
    turned = np.ascontiguousarray(np.swapaxes(w._values[:, :, ::-1, ::-1], 0, 1))
    return conv2d(
        Array(spread, x.format), Array(turned, w.format), padding=(edges[0], edges[1]), **options
    )


def _pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ArgumentError(f"{name} must be an integer of at least {least}, or two, got {value!r}")
    return int(pair[0]), int(pair[1])


def _patches(
    padded: np.ndarray, kernel, steps: tuple[int, int], gaps: tuple[int, int]
) -> np.ndarray:
    """A view of shape (N, C, kh, kw, H', W')."""
    spans = [(k - 1) * gap + 1 for k, gap in zip(kernel, gaps, strict=True)]
    if padded.shape[2] < spans[0] or padded.shape[3] < spans[1]:
        raise ArgumentError(
            f"the kernel spans {spans[0]} x {spans[1]}, more than the padded images of "
            f"{padded.shape[2]} x {padded.shape[3]}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, (2, 3))
    chosen = windows[:, :, :: steps[0], :: steps[1], :: gaps[0], :: gaps[1]]
    return np.moveaxis(chosen, (4, 5), (2, 3))
