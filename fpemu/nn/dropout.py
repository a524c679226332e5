"""Dropout."""

from __future__ import annotations

from fpemu.autograd.operations import DROPOUT
from fpemu.autograd.tensor import Tensor
from fpemu.nn.arguments import number
from fpemu.nn.module import Module


class Dropout(Module):
    """In training each element is 0 with probability `p`, the others are scaled by 1 / (1 - p); after
    ``eval()`` nothing happens.

    Which are dropped follows from the seed, the step and the place of the layer alone, so that a run can
    be repeated, whatever else is in the model. The scale is rounded to the format of inner steps, each
    product once: places forward/output and input_grad/output. NaN and infinities that are dropped are
    NaN, as in PyTorch. Raises `ArgumentError` unless p is from 0 to 1.

    >>> import numpy as np
    >>> import fpemu as fp
    >>> sorted(set(Dropout(0.5)(np.ones(100, np.float32)).data.tolist()))
    [0.0, 2.0]
    """

    place = "dropout"

    def __init__(self, p: float = 0.5) -> None:
        self.p = number("Dropout", "p", p, 0.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return DROPOUT(x, place=self.place, p=self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
