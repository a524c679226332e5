"""Dropout: each element is dropped with probability p, the others are scaled by 1 / (1 - p).

Which are dropped depends on the seed, the place, the step and how many draws went before there, and
on nothing else (`fpemu.autograd.draws`). The scale is rounded to the format of inner steps, to nearest, and
not counted; each product with it, or with 0, is rounded once, straight to the result's format.

Places: forward/mask (of the draw), forward/output; input_grad/output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd import draws
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.random import Stream

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def _dropout(site: Site, x: Array, *, p: float = 0.5) -> tuple[Array, Any]:
    stream = Stream(draws.key(f"{site.place}/forward/mask"), "dropout")
    kept = stream.uniform(0.0, 1.0, x.shape) >= p
    scale = site.constant(1.0 / (1.0 - p) if p < 1 else 0.0, "inner")
    factors = Array(np.where(kept, scale._values, 0), scale.format)
    y = site.apply("multiply", x, factors, role="activations", where="forward/output", result=True)
    return y, factors


def _dropout_backward(site: Site, factors: Any, g: Array, needed: Needed) -> Gradients:
    return (
        site.apply(
            "multiply", g, factors, role="gradients", where="input_grad/output", result=True
        ),
    )


DROPOUT = Operation("dropout", _dropout, _dropout_backward)

TABLE = (DROPOUT,)
