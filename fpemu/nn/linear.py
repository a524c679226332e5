"""The linear layer."""

from __future__ import annotations

import math

from fpemu import policy
from fpemu.arrays import array
from fpemu.autograd.operations import LINEAR
from fpemu.autograd.tensor import Tensor, apply
from fpemu.errors import ArgumentError
from fpemu.formats import FP32
from fpemu.nn.module import Module
from fpemu.random import initial_stream


class Linear(Module):
    """``x @ weight.T + bias`` for x of shape (batch, inputs).

    `weight` is (outputs, inputs) and `bias` (outputs,), both drawn from the uniform distribution
    on +-1/sqrt(inputs) as PyTorch does (not PyTorch's random numbers), from `fp.manual_seed`'s
    stream, and stored in FP32 until `fp.train` or `store_in` says otherwise.
    """

    place = "linear"

    def __init__(self, inputs: int, outputs: int) -> None:
        for name, size in (("inputs", inputs), ("outputs", outputs)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ArgumentError(f"Linear's {name} must be a positive integer, got {size!r}")
        stream, bound = initial_stream(), 1.0 / math.sqrt(inputs)
        weight = stream.uniform(-bound, bound, (outputs, inputs))
        bias = stream.uniform(-bound, bound, (outputs,))
        self.weight = Tensor(array(weight, FP32), requires_grad=True, name="linear/weight")
        self.bias = Tensor(array(bias, FP32), requires_grad=True, name="linear/bias")

    def forward(self, x: Tensor) -> Tensor:
        site = policy.current().site(self.place)
        return apply(LINEAR, site, x, self.weight, self.bias)

    def __repr__(self) -> str:
        outputs, inputs = self.weight.shape
        return f"Linear({inputs}, {outputs})"
