"""Recipes of `fpemu.linalg` where an operation stands: their steps take operands of any formats."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.site import Site
from fpemu.linalg.steps import Steps, Values


@contextlib.contextmanager
def recipe(site: Site, where: str) -> Iterator[Steps]:
    """Steps in the format and by the model of inner steps, all counted at `where`."""
    with site.counted(where):
        yield Steps(site.inner(where), site.place)


def values_of(x: Array, *shape: int) -> Values:
    """An array as steps take it, in another shape if one is given."""
    values = np.ascontiguousarray(x._values)
    return values.reshape(shape or x.shape), x.format


def array_of(x: Values, *shape: int) -> Array:
    """What steps gave, in another shape if one is given."""
    values, f = x
    return Array(values.reshape(shape) if shape else values, f)


def handed_on(site: Site, x: Values, role: str, where: str, shape: tuple[int, ...]) -> Array:
    """What steps gave, in `shape`, in the format in which results of `role` leave."""
    return site.hand_on(Array(x[0].reshape(shape), x[1]), role, where)
