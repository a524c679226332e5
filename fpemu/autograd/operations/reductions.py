"""Sums and means over axes, by the model of inner sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.errors import ArgumentError

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def axes_of(site: Site, x: Array, axis: Any) -> tuple[int, ...]:
    """`axis` (an integer, several or None for all) as numbers from 0."""
    given = range(x.ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = []
    for a in given:
        if not isinstance(a, (int, np.integer)) or not -x.ndim <= a < x.ndim:
            raise ArgumentError(f"{site.place}: axis {a!r} is out of range for shape {x.shape}")
        axes.append(int(a) % x.ndim)
    return tuple(sorted(set(axes)))


def _total(site: Site, x: Array, axis: Any, keepdims: bool, divide: bool) -> tuple[Array, Any]:
    axes = axes_of(site, x, axis)
    count = math.prod(x.shape[a] for a in axes)
    total = site.total(x, axes, "forward/sum")
    if divide:
        number = site.constant(count, "inner")
        total = site.apply("divide", total, number, role="inner", where="forward/divide")
    y = site.hand_on(total, "activations", "forward/output")
    if not keepdims:
        y = y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))
    return y, (x.shape, axes, count)


def _spread(g: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return Array(np.broadcast_to(g._values.reshape(kept), shape), g.format)


def _sum(site: Site, x: Array, *, axis: Any = None, keepdims: bool = False) -> tuple[Array, Any]:
    return _total(site, x, axis, keepdims, divide=False)


def _sum_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    shape, axes, _ = saved
    return (_spread(g, shape, axes),)


def _mean(site: Site, x: Array, *, axis: Any = None, keepdims: bool = False) -> tuple[Array, Any]:
    return _total(site, x, axis, keepdims, divide=True)


def _mean_backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
    shape, axes, count = saved
    number = site.constant(count, "inner")
    each = site.apply("divide", g, number, role="inner", where="input_grad/divide")
    return (_spread(site.hand_on(each, "gradients", "input_grad/output"), shape, axes),)


SUM = Operation("sum", _sum, _sum_backward)
MEAN = Operation("mean", _mean, _mean_backward)

TABLE = (SUM, MEAN)
