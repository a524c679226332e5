"""Pooling: the largest element of each window, or the mean of its elements.

The largest element is exact, and so is its gradient, which goes to the first largest of the window
(NaN counts as larger than all, the last one of several, as in PyTorch); where windows overlap, the
gradients of an element are added in the order of the windows, in their own format, each addition
rounded and counted. A mean is a sum by the model of inner sums, over the rows of the window and then
its columns, padding taking part as zeros, and one division.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.convolution import along
from fpemu.autograd.operations.windows import Windows, adaptive, regular
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError
from fpemu.linalg.geometry import Pair, pair

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]
Both = tuple[Windows, Windows]  # along rows and along columns


# -- windows of both axes ---------------------------------------------------------------------------


def _regular(
    site: Site,
    x: Array,
    kernel: Pair,
    stride: Pair | None,
    padding: Pair,
    dilation: Pair,
    ceil: bool,
) -> Both:
    if x.ndim != 4:
        raise ArgumentError(f"{site.place}: pooling takes images (N, C, H, W), got shape {x.shape}")
    kernels = pair("kernel_size", kernel, 1)
    options = (
        kernels,
        kernels if stride is None else pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
    )
    rows, columns = (
        regular(n, *own, bool(ceil)) for n, *own in zip(x.shape[2:], *options, strict=True)
    )
    return rows, columns


def _adaptive(site: Site, x: Array, output_size: Any) -> Both:
    if x.ndim != 4:
        raise ArgumentError(f"{site.place}: pooling takes images (N, C, H, W), got shape {x.shape}")
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(given) != 2:
        raise ArgumentError(f"output_size must be an integer or two, got {output_size!r}")
    wanted = tuple(n if own is None else own for n, own in zip(x.shape[2:], given, strict=True))
    high, wide = pair("output_size", wanted, 1)  # type: ignore[arg-type]
    return adaptive(x.shape[2], high), adaptive(x.shape[3], wide)


def _pieces(values: np.ndarray, both: Both) -> list[Any]:
    """Element after element of all windows, rows first: what they hold, shape (N, C, H', W'), and which
    of them have it (None: all)."""
    around = tuple(windows.around for windows in both)
    if any(map(any, around)):
        values = np.pad(values, ((0, 0), (0, 0), *around))
    rows, columns = both
    everywhere = rows.whole and columns.whole
    return [
        (
            values[..., rows.picks[r], :][..., columns.picks[c]],
            None if everywhere else rows.inside[:, r, None] & columns.inside[:, c],
        )
        for r, c in itertools.product(range(rows.most), range(columns.most))
    ]


# -- the largest element ------------------------------------------------------------------------------


def _largest(x: Array, both: Both) -> tuple[Array, Any]:
    rows, columns = both
    chosen = _first_largest(_pieces(x._values, both))
    wide = x.shape[3]
    plane = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1) * (x.shape[2] * wide)
    first = rows.places[:, :1] * wide + columns.places[:, 0]
    r, c = np.divmod(np.arange(rows.most * columns.most), columns.most)
    beyond = r * (rows.gap * wide) + c * columns.gap
    places = beyond[chosen] + first + plane
    return Array(x._values.reshape(-1)[places], x.format), (places, both, x.shape)


def _first_largest(pieces: list[Any]) -> np.ndarray:
    """Which element of each window is its largest: the last NaN, else the first of equal ones."""
    first, count = pieces[0][0], len(pieces)
    number = np.int8 if count < 2**7 else np.int32
    if first.dtype != object:
        lowest = first.dtype.type(-np.inf)
        taken = (p if inside is None else np.where(inside, p, lowest) for p, inside in pieces)
        best = functools.reduce(np.maximum, taken)
        if not np.isnan(best).any():
            # Largest of the equal ones is count - t, t being the first; arithmetic is quicker than masks.
            left = np.zeros(first.shape, number)
            for t, (piece, inside) in enumerate(pieces):
                equal = piece == best if inside is None else (piece == best) & inside
                np.maximum(left, equal * number(count - t), out=left)
            return number(count) - left
    chosen, found = np.zeros(first.shape, number), np.zeros(first.shape, bool)
    best = np.array(first)
    for t, (piece, inside) in enumerate(pieces):
        better = (piece > best) | (piece != piece) | ~found
        better = better if inside is None else better & inside
        found |= better
        np.copyto(best, piece, where=better)
        np.copyto(chosen, t, where=better)
    return chosen


def _max_pool2d(
    site: Site,
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Any]:
    return _largest(x, _regular(site, x, kernel_size, stride, padding, dilation, ceil_mode))


def _adaptive_max_pool2d(site: Site, x: Array, *, output_size: Any) -> tuple[Array, Any]:
    return _largest(x, _adaptive(site, x, output_size))


def _max_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    places, (rows, columns), shape = saved
    places = places.reshape(-1)
    values = g._values.reshape(-1)
    total = np.zeros(shape, g._values.dtype)
    flat = total.reshape(-1)
    if rows.covers.shape[1] == columns.covers.shape[1] == 1:
        flat[places] = values
        return (Array(total, g.format),)
    # An element may be the largest of several windows: the first of them, the second, ...
    order = np.argsort(places, kind="stable")
    sorted_places = places[order]
    rank = np.arange(len(places)) - np.searchsorted(sorted_places, sorted_places)
    for i in range(int(rank.max(initial=-1)) + 1):
        now = order[rank == i]
        where, piece = places[now], values[now]
        if i:
            pair_of = (Array(flat[where], g.format), Array(piece, g.format))
            options: dict[str, Any] = {"role": "gradients", "where": "input_grad/sum"}
            piece = site.apply("add", *pair_of, **options, f=g.format)._values
        flat[where] = piece
    return (Array(total, g.format),)


# -- the mean ---------------------------------------------------------------------------------------


def _mean(site: Site, x: Array, both: Both, numbers: np.ndarray) -> tuple[Array, Any]:
    """The sums of windows, each divided by its number, shape (H', W')."""
    rows, columns = both
    shape = (*x.shape[:2], rows.count, columns.count)
    values = x._values
    terms = np.empty((rows.most * columns.most, *shape), values.dtype)
    for t, (piece, inside) in enumerate(_pieces(values, both)):
        terms[t] = piece if inside is None else np.where(inside, piece, values.dtype.type(0))
    if not x.format.has_zero and not (rows.whole and columns.whole):
        raise ArgumentError(f"{site.place}: {x.format.name} has no zero to pad with")
    total = site.total(Array(terms, x.format), (0,), "forward/sum").reshape(shape)
    number = site.constant(numbers, "inner")
    mean = site.apply("divide", total, number, role="inner", where="forward/divide")
    return site.hand_on(mean, "activations", "forward/output"), (both, numbers, x.shape)


def _numbers(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The products of two lengths; a single number where all are the same."""
    numbers = rows[:, None] * columns
    alike = numbers.size and (numbers == numbers.flat[0]).all()
    return np.asarray(numbers.flat[0] if alike else numbers, np.float64)


def _avg_pool2d(
    site: Site,
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, Any]:
    both = _regular(site, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        if not divisor_override:
            raise ArgumentError(f"{site.place}: divisor_override must not be zero")
        numbers = np.asarray(divisor_override, np.float64)
    elif count_include_pad:
        numbers = _numbers(both[0].lengths, both[1].lengths)
    else:
        numbers = _numbers(both[0].counts, both[1].counts)
    return _mean(site, x, both, numbers)


def _adaptive_avg_pool2d(site: Site, x: Array, *, output_size: Any) -> tuple[Array, Any]:
    both = _adaptive(site, x, output_size)
    return _mean(site, x, both, _numbers(both[0].counts, both[1].counts))


def _mean_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    """Each gradient divided by its number goes to every element of its window; where windows overlap,
    they are summed in the order of the windows by the model of inner sums, none counting as zero."""
    (rows, columns), numbers, shape = saved
    number = site.constant(numbers, "inner")
    each = site.apply("divide", g, number, role="inner", where="input_grad/divide")
    ways = list(itertools.product(rows.covers.T, columns.covers.T))
    if len(ways) == 1:
        each = site.hand_on(each, "gradients", "input_grad/output")
    closed = np.pad(each._values, ((0, 0), (0, 0), (0, 1), (0, 1)))  # what no window gives
    terms = np.empty((len(ways), *shape), closed.dtype)
    for t, (row, column) in enumerate(ways):
        terms[t] = closed[..., row, :][..., column]
    if len(ways) == 1:
        return (Array(terms[0], each.format),)
    total = site.total(Array(terms, each.format), (0,), "input_grad/sum").reshape(shape)
    return (site.hand_on(total, "gradients", "input_grad/output"),)


# -- sequences: images of one row -----------------------------------------------------------------------


def _of_sequences(name: str, operation: Operation) -> Operation:
    """The same on sequences (N, C, L)."""
    still = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}

    def forward(site: Site, x: Array, **options: Any) -> tuple[Array, Any]:
        if x.ndim != 3:
            raise ArgumentError(
                f"{site.place}: {name} takes sequences (N, C, L), got shape {x.shape}"
            )
        given = {
            key: along(value, 1, still[key]) if key in still and value is not None else value
            for key, value in options.items()
        }
        n, c, length = x.shape
        y, saved = operation.forward(site, x.reshape((n, c, 1, length)), **given)
        return y.reshape((n, c, y.shape[3])), saved

    def backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
        n, c, length = g.shape
        (to_x,) = operation.backward(site, saved, g.reshape((n, c, 1, length)), needed)
        assert to_x is not None
        return (to_x.reshape((n, c, to_x.shape[3])),)

    return Operation(name, forward, backward)


MAX_POOL2D = Operation("max_pool2d", _max_pool2d, _max_backward)
AVG_POOL2D = Operation("avg_pool2d", _avg_pool2d, _mean_backward)
ADAPTIVE_MAX_POOL2D = Operation("adaptive_max_pool2d", _adaptive_max_pool2d, _max_backward)
ADAPTIVE_AVG_POOL2D = Operation("adaptive_avg_pool2d", _adaptive_avg_pool2d, _mean_backward)
MAX_POOL1D = _of_sequences("max_pool1d", MAX_POOL2D)
AVG_POOL1D = _of_sequences("avg_pool1d", AVG_POOL2D)

TABLE = (
    MAX_POOL2D,
    AVG_POOL2D,
    ADAPTIVE_MAX_POOL2D,
    ADAPTIVE_AVG_POOL2D,
    MAX_POOL1D,
    AVG_POOL1D,
)
