"""Activation functions."""

from __future__ import annotations

from fpemu.autograd.operations import RELU
from fpemu.autograd.tensor import Tensor
from fpemu.nn.module import Module


class ReLU(Module):
    """max(x, 0), exact in every format; NaN passes through, -0 becomes +0.

    >>> import numpy as np
    >>> ReLU()(np.array([[-1.0, 2.0]])).data.tolist()
    [[0.0, 2.0]]
    """

    place = "relu"

    def forward(self, x: Tensor) -> Tensor:
        return RELU(x, place=self.place)
