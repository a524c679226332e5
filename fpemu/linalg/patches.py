"""Patches of images as the columns of a matrix, and what convolutions do with them.

Everything here works on carriers. The columns are gathered for so many rows of an image at a time
that they stay within `PATCH_BYTES`; that changes no bit, because no element of the result knows of
any other, except where its place among them counts (`counts_places`): there all are gathered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fpemu.carriers import carrier_dtype
from fpemu.errors import ArgumentError
from fpemu.formats import Format
from fpemu.linalg.options import Model, run

Pair = int | tuple[int, int]
Two = tuple[int, int]

PATCH_BYTES = 64 * 2**20  # of gathered patches at a time


def pair(name: str, value: Pair, least: int) -> Two:
    """`value` for rows and columns."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in both)
    if len(both) != 2 or not whole or min(both) < least:
        raise ArgumentError(f"{name} must be an integer of at least {least}, or two, got {value!r}")
    return int(both[0]), int(both[1])


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves over images."""

    kernel: Two
    steps: Two = (1, 1)
    pads: Two = (0, 0)
    gaps: Two = (1, 1)
    groups: int = 1

    @classmethod
    def of(
        cls, weights: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Geometry:
        """That of weights of this shape and the options of a convolution."""
        if min(weights[2:]) < 1:
            raise ArgumentError(f"kernels have at least one row and column, got shape {weights}")
        return cls(
            (weights[2], weights[3]),
            pair("stride", stride, 1),
            pair("padding", padding, 0),
            pair("dilation", dilation, 1),
            groups,
        )

    @property
    def spans(self) -> Two:
        """Rows and columns from the kernel's first element to its last one."""
        high, wide = ((k - 1) * gap + 1 for k, gap in zip(self.kernel, self.gaps, strict=True))
        return high, wide

    def convolved(self, size: tuple[int, ...]) -> Two:
        """The size of the convolution of images of `size`."""
        room = [n + 2 * pad for n, pad in zip(size, self.pads, strict=True)]
        if any(n < span for n, span in zip(room, self.spans, strict=True)):
            raise ArgumentError(
                f"the kernel spans {self.spans[0]} x {self.spans[1]}, more than the padded images of "
                f"{room[0]} x {room[1]}"
            )
        high, wide = (
            (n - span) // step + 1
            for n, span, step in zip(room, self.spans, self.steps, strict=True)
        )
        return high, wide

    def transposed(self, size: tuple[int, ...], more: Two) -> Two:
        """The size of the transposed convolution, with `more` rows and columns of output padding."""
        if any(m >= max(s, g) for m, s, g in zip(more, self.steps, self.gaps, strict=True)):
            raise ArgumentError(
                f"output_padding {more} must be below the stride {self.steps} or the dilation "
                f"{self.gaps}"
            )
        high, wide = (
            (n - 1) * step - 2 * pad + span + m
            for n, step, pad, span, m in zip(
                size, self.steps, self.pads, self.spans, more, strict=True
            )
        )
        if min(high, wide) < 1:
            raise ArgumentError(
                f"padding {self.pads} leaves {high} x {wide} of the transposed convolution of images "
                f"of {size[0]} x {size[1]}; at least 1 x 1 must remain"
            )
        return high, wide

    def padded(self, images: np.ndarray) -> np.ndarray:
        """Images of shape (..., H, W) with zeros around them."""
        still = ((0, 0),) * (images.ndim - 2)
        return np.pad(images, (*still, *((p, p) for p in self.pads)))

    def patches(self, padded: np.ndarray, size: Two) -> np.ndarray:
        """A view of shape (..., kh, kw, H', W') of padded images, for H' and W' as `size` says."""
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.spans, (-2, -1))
        chosen = windows[..., :: self.steps[0], :: self.steps[1], :: self.gaps[0], :: self.gaps[1]]
        return np.moveaxis(chosen[..., : size[0], : size[1], :, :], (-2, -1), (-4, -3))

    def spread(self, images: np.ndarray, size: Two) -> np.ndarray:
        """`images` (..., H', W') put where the transposed convolution of this `size` takes them from:
        the convolution of the result by the reversed kernels, step 1, is that. Zeros elsewhere."""
        shape = tuple(n + span - 1 for n, span in zip(size, self.spans, strict=True))
        out = np.zeros((*images.shape[:-2], *shape), images.dtype)
        inside = []
        for axis in (0, 1):
            first = self.spans[axis] - 1 - self.pads[axis]
            places = first + self.steps[axis] * np.arange(images.shape[axis - 2])
            inside.append((places, (places >= 0) & (places < shape[axis])))
        (rows, r), (columns, c) = inside
        out[..., rows[r][:, None], columns[c]] = images[..., r, :][..., c]
        return out


def counts_places(model: Model) -> bool:
    """Whether an element's place in the result takes part: it chooses the random bits of stochastic
    rounding, and the rank at which a ring begins."""
    return model.rounding == "stochastic" or model.kind == "ring"


def in_rows(rows: int, row_bytes: int) -> Iterator[slice]:
    """Rows in so many at a time that they stay within `PATCH_BYTES`; of 0 bytes, all at once."""
    each = max(1, PATCH_BYTES // row_bytes if row_bytes else rows)
    return (slice(i, min(i + each, rows)) for i in range(0, rows, each))


def convolved(
    image: Callable[[int], np.ndarray],
    shape: tuple[int, int, int, int],
    weights: np.ndarray,
    f: Format,
    geometry: Geometry,
    models: Callable[[int, int], Model],
    op: str,
) -> np.ndarray:
    """The convolution of the padded images ``image(n)`` by `weights` (O, C / groups, kh, kw), whose
    result has this `shape`; image n and group g by the model ``models(n, g)``."""
    groups = geometry.groups
    count, filters, high, wide = shape
    model = models(0, 0)
    result = np.empty(shape, carrier_dtype(model.result_format))
    each = weights.shape[1]
    rows = weights.reshape(groups, filters // groups, each * weights.shape[2] * weights.shape[3])
    row_bytes = 0 if counts_places(model) else rows.shape[2] * wide * weights.itemsize
    for n in range(count):
        view = geometry.patches(image(n), (high, wide))
        for g in range(groups):
            of_group = slice(g * filters // groups, (g + 1) * filters // groups)
            for part in in_rows(high, row_bytes):
                chosen = view[g * each : (g + 1) * each, :, :, part]
                taken = part.stop - part.start
                columns = np.ascontiguousarray(chosen).reshape(rows.shape[2], taken * wide)
                total = run(rows[g], columns, (f, f), models(n, g), op=op)
                result[n, of_group, part] = total.reshape(rows.shape[1], taken, wide)
    return result


def correlated(
    images: np.ndarray,
    above: np.ndarray,
    f: Format,
    geometry: Geometry,
    models: Callable[[int], Model],
    op: str,
) -> np.ndarray:
    """For every kernel position the sum of the elements of `above` (N, O, H', W'), each times the
    element of `images` (N, C, H, W) under it: over images, rows and columns of `above`, one sum.
    Shape (O, C / groups, kh, kw); group g by the model ``models(g)``."""
    groups = geometry.groups
    filters, each = above.shape[1] // groups, images.shape[1] // groups
    parts = []
    for g in range(groups):
        model, own = models(g), images[:, g * each : (g + 1) * each]
        rows = above[:, g * filters : (g + 1) * filters]
        one_by_one = (model.kind, model.promote, model.round_every) == ("sequential", None, None)
        carried = one_by_one and model.rounding != "stochastic"
        parts.append((_carried_on if carried else _gathered)(own, rows, f, geometry, model, op))
    return np.concatenate(parts).reshape(above.shape[1], each, *geometry.kernel)


def _carried_on(
    images: np.ndarray, above: np.ndarray, f: Format, geometry: Geometry, model: Model, op
) -> np.ndarray:
    """Sums that take one term after another go on with the next rows where the last ones ended."""
    count, filters, high, wide = above.shape
    across = images.shape[1] * geometry.kernel[0] * geometry.kernel[1]
    total = np.zeros((filters, across), carrier_dtype(model.result_format))
    row_bytes = across * wide * images.itemsize
    # Small images go several at a time, large ones in rows.
    for some in in_rows(count, row_bytes * high):
        view = geometry.patches(geometry.padded(images[some]), (high, wide))
        view = np.moveaxis(view, (4, 5), (1, 2))  # n, H', W', C, kh, kw
        for part in [slice(0, high)] if len(view) > 1 else in_rows(high, row_bytes):
            terms = len(view) * (part.stop - part.start) * wide
            left = np.moveaxis(above[some, :, part], 1, 0).reshape(filters, terms)
            right = view[:, part].reshape(terms, across)
            total = run(left, right, (f, f), model, total, op=op)
    return total


def _gathered(
    images: np.ndarray, above: np.ndarray, f: Format, geometry: Geometry, model: Model, op
) -> np.ndarray:
    """All terms at once, for so many kernel positions at a time that memory stays bounded."""
    count, filters, high, wide = above.shape
    view = geometry.patches(geometry.padded(images), (high, wide))
    view = np.moveaxis(view, 0, 3)  # C, kh, kw, n, H', W'
    left = np.moveaxis(above, 1, 0).reshape(filters, count * high * wide)
    places = list(np.ndindex(view.shape[:3]))
    total = np.empty((filters, len(places)), carrier_dtype(model.result_format))
    column_bytes = 0 if counts_places(model) else left.shape[1] * images.itemsize
    for some in in_rows(len(places), column_bytes):
        right = np.empty((left.shape[1], some.stop - some.start), images.dtype)
        for i, place in enumerate(places[some]):
            right[:, i] = view[place].reshape(-1)
        total[:, some] = run(left, right, (f, f), model, op=op)
    return total
