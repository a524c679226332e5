"""Gradients compared with numeric ones, in FP64, along random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fpemu.arrays import asarray
from fpemu.autograd import places
from fpemu.autograd.site import plain_site
from fpemu.autograd.tensor import Tensor
from fpemu.errors import FpemuError
from fpemu.formats import FP64
from fpemu.random import Stream


class GradientMismatchError(FpemuError, AssertionError):
    """An analytic gradient differs from the numeric one; the message gives both."""


def check_grad(
    function: Callable[..., Tensor],
    inputs: Sequence[np.ndarray],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
) -> None:
    """Raise `GradientMismatchError` unless `function` has the gradient that its graph says.

    `function` takes one FP64 tensor per array of `inputs` and returns a scalar tensor. For random
    directions v, <gradient, v> is compared with (f(x + step v) - f(x - step v)) / (2 step), up to
    `tolerance` relative to the larger of the two and 1. Inside, everything that asks the policy runs
    in FP64.

    >>> check_grad(lambda x: (x.exp() * x).sum(), [np.array([0.5, -1.0])])
    >>> from fpemu.autograd import Operation
    >>> wrong = Operation("cube", lambda site, x: (x * x * x, x), lambda site, x, g, needed: (g * x,))
    >>> check_grad(lambda x: wrong(x).sum(), [np.array([2.0])])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    fpemu.autograd.check.GradientMismatchError: gradient of input 0: analytic ...
    """
    token = places.provide(lambda place, operation, formats: plain_site(place, FP64))
    try:
        _check(function, inputs, step, tolerance, directions, Stream(seed, "check_grad"))
    finally:
        places.withdraw(token)


def _check(function, inputs, step: float, tolerance: float, directions: int, stream) -> None:
    tensors = [Tensor(asarray(np.asarray(x, np.float64)), requires_grad=True) for x in inputs]
    function(*tensors).backward()
    for index, x in enumerate(inputs):
        for _ in range(directions):
            v = stream.uniform(-1.0, 1.0, np.shape(x))

            def at(t: float, index: int = index, x=x, v=v) -> float:
                moved = [np.asarray(y, np.float64) for y in inputs]
                moved[index] = x + t * v
                return function(*(Tensor(asarray(y)) for y in moved)).item()

            numeric = (at(step) - at(-step)) / (2 * step)
            gradient = tensors[index].grad
            analytic = 0.0 if gradient is None else float(np.sum(np.asarray(gradient) * v))
            if not abs(numeric - analytic) <= tolerance * max(1.0, abs(numeric), abs(analytic)):
                raise GradientMismatchError(
                    f"gradient of input {index}: analytic {analytic!r}, numeric {numeric!r} "
                    f"along a random direction (tolerance {tolerance})"
                )
