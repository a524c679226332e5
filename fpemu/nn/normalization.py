"""Layer, RMS and group norm. Every step is rounded to the policy's format of inner steps."""

from __future__ import annotations

from collections.abc import Sequence

from fpemu.autograd.operations import GROUP_NORM, LAYER_NORM, RMS_NORM
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.nn.arguments import filled, number, size, sizes
from fpemu.nn.module import Module


def given(*parameters: Tensor | None) -> tuple[Tensor, ...]:
    """Those that are there."""
    return tuple(p for p in parameters if p is not None)


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last axes, of `normalized_shape`.

    The recipe is that of `fpemu.layer_norm`, which says what NaN, overflow and eps do in narrow formats.
    `weight` (ones) and `bias` (zeros) have `normalized_shape`; None with ``elementwise_affine=False``,
    `bias` alone with ``bias=False``. Places: forward/normalize, forward/weight, forward/bias,
    forward/affine, forward/output; input_grad/normalize, weight_grad/sum, bias_grad/sum, and .../output
    of each. Raises `ArgumentError` for inputs of another shape or without elements.

    >>> import numpy as np
    >>> LayerNorm(4, eps=0.0)(np.float32([[1, 3, 1, 3]])).data.tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    place = "layer_norm"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = sizes("LayerNorm", "normalized_shape", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps, 0.0)
        self.weight = filled(self.normalized_shape, 1.0) if elementwise_affine else None
        self.bias = filled(self.normalized_shape, 0.0) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        options = {"shape": self.normalized_shape, "eps": self.eps}
        return LAYER_NORM(x, *given(self.weight, self.bias), place=self.place, **options)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}"


class RMSNorm(Module):
    """x / sqrt(mean of squares + eps) * weight, over the last axes, of `normalized_shape`.

    The recipe is that of `fpemu.rms_norm`; `eps` is by default that of the format of inner steps.
    `weight` (ones) is None with ``elementwise_affine=False``. Places and errors as `LayerNorm`.

    >>> import numpy as np
    >>> RMSNorm(2, eps=0.0)(np.float32([[3, -3]])).data.tolist()
    [[1.0, -1.0]]
    """

    place = "rms_norm"

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        self.normalized_shape = sizes("RMSNorm", "normalized_shape", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps, 0.0)
        self.weight = filled(self.normalized_shape, 1.0) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        options = {"shape": self.normalized_shape, "eps": self.eps}
        return RMS_NORM(x, *given(self.weight), place=self.place, **options)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """As `LayerNorm`, over the channels of a group and all axes behind them, of x of (N, C, ...).

    `weight` (ones) and `bias` (zeros) have shape (C,); None with ``affine=False``. Places as
    `LayerNorm`. Raises `ArgumentError` if the groups do not divide the channels, and as `LayerNorm`.

    >>> import numpy as np
    >>> GroupNorm(1, 2, eps=0.0)(np.float32([[[1], [3]]])).data.tolist()
    [[[-1.0], [1.0]]]
    """

    place = "group_norm"

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        self.num_groups = size("GroupNorm", "num_groups", num_groups)
        self.num_channels = size("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ArgumentError(
                f"GroupNorm's {num_groups} groups do not divide {num_channels} channels"
            )
        self.eps = number("GroupNorm", "eps", eps, 0.0)
        self.weight = filled((self.num_channels,), 1.0) if affine else None
        self.bias = filled((self.num_channels,), 0.0) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        options = {"groups": self.num_groups, "eps": self.eps}
        return GROUP_NORM(x, *given(self.weight, self.bias), place=self.place, **options)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}"
