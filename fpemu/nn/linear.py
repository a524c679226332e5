"""The linear layer."""

from __future__ import annotations

import math

import numpy as np

from fpemu.arrays import array
from fpemu.autograd.operations import LINEAR
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import FP32
from fpemu.nn.module import Module
from fpemu.random import initial_stream

MOST_WEIGHTS = 10**8  # 400 MB in FP32


class Linear(Module):
    """``x @ weight.T + bias`` for x of shape (..., inputs).

    `weight` is (outputs, inputs) and `bias` (outputs,), or None with ``bias=False``; both are drawn from
    the uniform distribution on +-1/sqrt(inputs) as PyTorch does (not PyTorch's random numbers), from
    `fp.manual_seed`'s stream, and stored in FP32 until `fp.train` or `store_in` says otherwise. How the
    layer rounds is the current policy's business. Raises `ArgumentError` for sizes that are not
    positive integers and for input of another width.

    >>> layer = Linear(3, 2)
    >>> layer(np.zeros((5, 3))).shape
    (5, 2)
    """

    place = "linear"

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        for name, size in (("inputs", inputs), ("outputs", outputs)):
            whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
            if not whole or size < 1:
                raise ArgumentError(f"Linear's {name} must be a positive integer, got {size!r}")
        if int(inputs) * int(outputs) > MOST_WEIGHTS:
            raise ArgumentError(
                f"Linear({inputs}, {outputs}) would have {int(inputs) * int(outputs)} weights; at "
                f"most {MOST_WEIGHTS} are allowed"
            )
        stream, bound = initial_stream(), 1.0 / math.sqrt(inputs)
        weight = stream.uniform(-bound, bound, (outputs, inputs))
        self.weight = Tensor(array(weight, FP32), requires_grad=True)
        self.bias: Tensor | None = None
        if bias:
            drawn = stream.uniform(-bound, bound, (outputs,))
            self.bias = Tensor(array(drawn, FP32), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        beside = () if self.bias is None else (self.bias,)
        return LINEAR(x, self.weight, *beside, place=self.place)

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}" + ("" if self.bias is not None else ", bias=False")
