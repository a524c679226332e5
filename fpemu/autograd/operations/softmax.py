"""Softmax and its logarithm, by the recipes of `fpemu.softmax` and its kin.

Places: forward/softmax (forward/log_softmax) and forward/output; input_grad/softmax
(input_grad/log_softmax) and input_grad/output. Backward reads the result as it was handed on, which
is what systems keep.
"""

from __future__ import annotations

from typing import Any

from fpemu import linalg
from fpemu.arrays import Array
from fpemu.autograd.operations.recipes import handed_on, recipe
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.linalg.exponentials import log_softmax_gradient, softmax_gradient

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]


def _made(name: str, function: Any, gradient: Any) -> Operation:
    def forward(site: Site, x: Array, *, axis: int = -1) -> tuple[Array, Any]:
        with site.counted(f"forward/{name}"):
            model = site.inner(f"forward/{name}")
            y = function(x, axis, accumulate=model, out=model.result_format)
        y = site.hand_on(y, "activations", "forward/output")
        return y, (y, axis)

    def backward(site: Site, saved: Any, g: Array, needed: Needed) -> Gradients:
        y, axis = saved
        with recipe(site, f"input_grad/{name}") as steps:
            to_x = gradient(y, g, axis, steps)
        return (handed_on(site, to_x, "gradients", "input_grad/output", y.shape),)

    return Operation(name, forward, backward)


SOFTMAX = _made("softmax", linalg.softmax, softmax_gradient)
LOG_SOFTMAX = _made("log_softmax", linalg.log_softmax, log_softmax_gradient)

TABLE = (SOFTMAX, LOG_SOFTMAX)
