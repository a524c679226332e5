"""Modules that only arrange: `Flatten`, `Identity`, `Residual`."""

from __future__ import annotations

import math
from typing import Any

from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.nn.module import Module, Sequential


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` as one; nothing is rounded.

    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 2, 3))).shape
    (5, 6)
    """

    place = "flatten"

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        first, last = (d + x.ndim if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < x.ndim:
            raise ArgumentError(
                f"{self.place}: Flatten from axis {self.start_dim} to {self.end_dim} does not fit shape "
                f"{x.shape}"
            )
        joined = math.prod(x.shape[first : last + 1])
        return x.reshape(*x.shape[:first], joined, *x.shape[last + 1 :])

    def extra_repr(self) -> str:
        plain = (self.start_dim, self.end_dim) == (1, -1)
        return "" if plain else f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """What comes in goes out.

    >>> import numpy as np
    >>> Identity()(np.ones(2)).data.tolist()
    [1.0, 1.0]
    """

    place = "identity"

    def forward(self, x: Tensor) -> Tensor:
        return x


class Residual(Module):
    """x + inner(x): one more rounding, at the place .../add/forward/output.

    Several modules are applied one after the other. Keys begin with ``inner.``.

    >>> import numpy as np
    >>> Residual(Identity())(np.ones(2)).data.tolist()
    [2.0, 2.0]
    """

    place = "residual"

    def __init__(self, *inner: Module) -> None:
        self.inner = inner[0] if len(inner) == 1 else Sequential(*inner)

    def forward(self, x: Tensor) -> Any:
        return x + self.inner(x)
