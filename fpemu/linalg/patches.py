"""Patches of images as the columns of a matrix, and the sums that convolutions make of them.

Everything here works on carriers. Where an element's place in the result counts (`counts_places`), the
patches of one image are gathered at once, and each image has a model of its own. No other element knows
of any other: there columns are gathered for many images together, or for some rows of a large one, as
many as stay near the processor (`NEAR_BYTES`); that changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fpemu.carriers import carrier_dtype
from fpemu.formats import Format
from fpemu.linalg.geometry import Geometry
from fpemu.linalg.options import Model, run

Formats = tuple[Format, Format]
Where = dict[str, Any]  # the place and operation of events

PATCH_BYTES = 64 * 2**20  # of gathered patches at a time
NEAR_BYTES = 1 * 2**20  # of those of several images, read again for every filter


def counts_places(model: Model) -> bool:
    """Whether an element's place in the result takes part: it chooses the random bits of stochastic
    rounding, and the rank at which a ring begins."""
    return model.rounding == "stochastic" or model.kind == "ring"


def in_parts(count: int, each_bytes: int, limit: int) -> Iterator[slice]:
    """So many of `count` at a time that they stay within `limit`; of 0 bytes, all at once."""
    each = max(1, limit // each_bytes if each_bytes else count)
    return (slice(i, min(i + each, count)) for i in range(0, count, each))


def convolved(
    images: Callable[[slice], np.ndarray],
    shape: tuple[int, int, int, int],
    weights: np.ndarray,
    formats: Formats,
    geometry: Geometry,
    models: Callable[[int, int], Model],
    where: Where,
) -> np.ndarray:
    """The convolution of the padded ``images(some)`` by `weights` (O, C / groups, kh, kw), whose
    result has this `shape`; image n and group g by the model ``models(n, g)``.

    `formats` are those of weights and images.
    """
    groups = geometry.groups
    count, filters, high, wide = shape
    model = models(0, 0)
    result = np.empty(shape, carrier_dtype(model.result_format))
    each, own = weights.shape[1], filters // groups
    rows = weights.reshape(groups, own, each * weights.shape[2] * weights.shape[3])
    terms = rows.shape[2]
    row_bytes = 0 if counts_places(model) else terms * wide * weights.itemsize
    for some in _together(count, row_bytes * high, counts_places(model)):
        view = geometry.patches(images(some), (high, wide))
        view = np.moveaxis(view, 0, 3)  # C, kh, kw, n, H', W'
        taken = view.shape[3]
        for g in range(groups):
            of_group = slice(g * own, (g + 1) * own)
            chosen = view[g * each : (g + 1) * each]
            for part in [slice(0, high)] if taken > 1 else in_parts(high, row_bytes, PATCH_BYTES):
                piece = chosen[..., part, :]
                columns = np.ascontiguousarray(piece).reshape(terms, math.prod(piece.shape[3:]))
                total = run(rows[g], columns, formats, models(some.start, g), **where)
                total = total.reshape(own, taken, *piece.shape[4:])
                result[some, of_group, part] = np.moveaxis(total, 1, 0)
    return result


def _together(count: int, image_bytes: int, alone: bool) -> Iterator[slice]:
    """The images whose patches are gathered together."""
    if alone:
        return (slice(n, n + 1) for n in range(count))
    return in_parts(count, image_bytes, min(NEAR_BYTES, PATCH_BYTES))


def correlated(
    images: np.ndarray,
    above: np.ndarray,
    formats: Formats,
    geometry: Geometry,
    models: Callable[[int], Model],
    where: Where,
) -> np.ndarray:
    """For every kernel position the sum of the elements of `above` (N, O, H', W'), each times the
    element of `images` (N, C, H, W) under it: over images, rows and columns of `above`, one sum.
    Shape (O, C / groups, kh, kw); group g by the model ``models(g)``.

    `formats` are those of `above` and `images`.
    """
    groups = geometry.groups
    filters, each = above.shape[1] // groups, images.shape[1] // groups
    parts = []
    for g in range(groups):
        model, own = models(g), images[:, g * each : (g + 1) * each]
        rows = above[:, g * filters : (g + 1) * filters]
        one_by_one = (model.kind, model.promote, model.round_every) == ("sequential", None, None)
        carried = one_by_one and model.rounding != "stochastic"
        add = _carried_on if carried else _gathered
        parts.append(add(own, rows, formats, geometry, model, where))
    return np.concatenate(parts).reshape(above.shape[1], each, *geometry.kernel)


def _carried_on(
    images: np.ndarray,
    above: np.ndarray,
    formats: Formats,
    geometry: Geometry,
    model: Model,
    where: Where,
) -> np.ndarray:
    """Sums that take one term after another go on with the next rows where the last ones ended."""
    count, filters, high, wide = above.shape
    across = images.shape[1] * geometry.kernel[0] * geometry.kernel[1]
    total = np.zeros((filters, across), carrier_dtype(model.result_format))
    row_bytes = across * wide * images.itemsize
    # Small images go several at a time, large ones in rows.
    for some in in_parts(count, row_bytes * high, PATCH_BYTES):
        view = geometry.patches(geometry.padded(images[some]), (high, wide))
        view = np.moveaxis(view, 0, 3)  # C, kh, kw, n, H', W'
        taken = view.shape[3]
        for part in [slice(0, high)] if taken > 1 else in_parts(high, row_bytes, PATCH_BYTES):
            terms = taken * (part.stop - part.start) * wide
            left = np.moveaxis(above[some, :, part], 1, 0).reshape(filters, terms)
            right = _lying(view[..., part, :]).reshape(terms, across)
            total = run(left, right, formats, model, total, **where)
    return total


def _lying(view: np.ndarray) -> np.ndarray:
    """Patches (C, kh, kw, n, H', W') as rows: n, H', W', C, kh, kw. One kernel position at a time,
    which takes a third of the time that NumPy's copy takes."""
    right = np.empty((*view.shape[3:], *view.shape[:3]), view.dtype)
    for i, j in np.ndindex(view.shape[1:3]):
        right[..., i, j] = np.moveaxis(view[:, i, j], 0, 3)
    return right


def _gathered(
    images: np.ndarray,
    above: np.ndarray,
    formats: Formats,
    geometry: Geometry,
    model: Model,
    where: Where,
) -> np.ndarray:
    """All terms at once, for so many kernel positions at a time that memory stays bounded."""
    count, filters, high, wide = above.shape
    view = geometry.patches(geometry.padded(images), (high, wide))
    view = np.moveaxis(view, 0, 3)  # C, kh, kw, n, H', W'
    left = np.moveaxis(above, 1, 0).reshape(filters, count * high * wide)
    positions = list(np.ndindex(view.shape[:3]))
    total = np.empty((filters, len(positions)), carrier_dtype(model.result_format))
    column_bytes = 0 if counts_places(model) else left.shape[1] * images.itemsize
    for some in in_parts(len(positions), column_bytes, PATCH_BYTES):
        right = np.empty((left.shape[1], some.stop - some.start), images.dtype)
        for i, position in enumerate(positions[some]):
            right[:, i] = view[position].reshape(-1)
        total[:, some] = run(left, right, formats, model, **where)
    return total
