"""Operations that move values and round none of them: only gradients that meet are added."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.convert import round_to
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def _reshape(site: Site, x: Array, *, shape: tuple[int, ...]) -> tuple[Array, Any]:
    return x.reshape(shape), x.shape


def _reshape_backward(site: Site, shape: Any, g: Array, needed: Needed) -> Gradients:
    return (g.reshape(shape),)


def _permute(site: Site, x: Array, *, axes: tuple[int, ...]) -> tuple[Array, Any]:
    return Array(np.transpose(x._values, axes), x.format), axes


def _permute_backward(site: Site, axes: Any, g: Array, needed: Needed) -> Gradients:
    return (Array(np.transpose(g._values, np.argsort([a % g.ndim for a in axes])), g.format),)


def _take(site: Site, x: Array, *, index: Any) -> tuple[Array, Any]:
    return Array(x._values[index], x.format), (x.shape, index)


def _take_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    shape, index = saved
    places = np.arange(int(np.prod(shape))).reshape(shape)[index]
    if np.unique(places).size != places.size:
        raise ArgumentError(
            f"{site.place}: an index that takes an element twice has no gradient here; use an Embedding"
        )
    values = np.zeros(shape, g._values.dtype)
    values[index] = g._values
    return (Array(values, g.format),)


def _concatenate(site: Site, *parts: Array, axis: int = 0) -> tuple[Array, Any]:
    formats = {x.format for x in parts}
    if len(formats) != 1:
        names = sorted(f.name for f in formats)
        raise ArgumentError(f"{site.place}: cannot concatenate {' and '.join(names)}; cast one")
    joined = np.concatenate([x._values for x in parts], axis)
    return Array(joined, parts[0].format), (axis, [x.shape[axis] for x in parts])


def _concatenate_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    axis, sizes = saved
    pieces = np.split(g._values, np.cumsum(sizes)[:-1], axis)
    return tuple(Array(piece, g.format) for piece in pieces)


def _masked_fill(site: Site, x: Array, *, mask: np.ndarray, value: float) -> tuple[Array, Any]:
    """`value` where `mask`, which broadcasts, is true; the lowest number for an infinity that the
    format does not have."""
    mask = np.broadcast_to(mask, x.shape)
    lowest = "none" if x.format.has_inf else "finite"
    filled = round_to(np.asarray(value, np.float64), x.format, lowest, count=False)
    return Array(np.where(mask, filled, x._values), x.format), mask


def _masked_fill_backward(site: Site, mask: Any, g: Array, needed: Needed) -> Gradients:
    return (Array(np.where(mask, g._values.dtype.type(0), g._values), g.format),)


RESHAPE = Operation("reshape", _reshape, _reshape_backward)
PERMUTE = Operation("permute", _permute, _permute_backward)
TAKE = Operation("take", _take, _take_backward)
CONCATENATE = Operation("concatenate", _concatenate, _concatenate_backward)
MASKED_FILL = Operation("masked_fill", _masked_fill, _masked_fill_backward)

TABLE = (RESHAPE, PERMUTE, TAKE, CONCATENATE, MASKED_FILL)
