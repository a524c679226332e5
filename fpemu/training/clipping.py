"""Gradients cut to a largest norm, in FP32 as PyTorch's `clip_grad_norm_` does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpemu import elementwise
from fpemu.arrays import Array, array
from fpemu.autograd.tensor import Tensor
from fpemu.formats import FP32
from fpemu.linalg import norm


def clip(parameters: Sequence[Tensor], largest: float, scale: float = 1.0) -> float:
    """Multiply all gradients by the same factor, if needed, so that their norm is at most `largest`.

    Gradients that were scaled by `scale` stay so; the norm is that without scale. Every step is rounded
    to FP32: each gradient's norm (sum of squares in order), the norm of these norms, and the factor
    largest / (norm + 1e-6); the products are rounded to the gradients' formats, at ``<parameter>/clip``.
    A factor above 1 is 1, and changes nothing. A norm that is infinite or NaN makes the gradients 0
    or NaN, as IEEE 754 says. Returns the norm.

    >>> from fpemu import asarray
    >>> weight = Tensor(np.zeros(2, np.float32), requires_grad=True)
    >>> weight.grad = asarray(np.float32([3.0, 4.0]))
    >>> clip([weight], 1.0), weight.grad.tolist()
    (5.0, [0.5999999046325684, 0.7999998331069946])
    """
    with_gradient = [p for p in parameters if p.grad is not None]
    if not with_gradient:
        return 0.0
    norms = [norm(p.grad, accumulate=FP32, out=FP32).item() for p in with_gradient]
    total = norm(array(norms, FP32)) / array(scale, FP32)
    factor = array(largest, FP32) / (total + array(1e-6, FP32))
    if not factor.item() >= 1:  # NaN, too
        for p in with_gradient:
            assert p.grad is not None
            f = p.grad.format
            values = elementwise.apply_between(
                "multiply",
                (p.grad._values, np.asarray(factor._values)),
                (f, FP32),
                f,
                rounding="nearest_even",
                saturation="none",
                subnormals="gradual",
                place=f"{p.name}/clip",
                count_as="gradients",
            )
            p.grad = Array(values, f)
    return total.item()
