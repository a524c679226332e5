"""Batch norm of vectors, sequences and images."""

from __future__ import annotations

import numpy as np

from fpemu.arrays import array, asarray
from fpemu.autograd.operations import BATCH_NORM
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import FP64
from fpemu.nn.arguments import filled, number, size
from fpemu.nn.module import Module
from fpemu.nn.normalization import given


class BatchNorm1d(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel of x of shape (N, C) or (N, C, L).

    In training mean and variance are those of the batch, and the running statistics move towards them
    by the share `momentum` (None: so that they are the plain mean over batches), the variance being
    divided by K - 1; after ``eval()`` the running ones are used (those of the batch with
    ``track_running_stats=False``). `running_mean`, `running_var` and `num_batches_tracked` are buffers:
    saved, and rounded in their own format, FP32 (the number FP64), whatever the policy.

    `weight` (ones) and `bias` (zeros) have shape (C,); None with ``affine=False``. Every step has its
    rounding, in the order that `fpemu.autograd.operations.batch_norm` gives. Places:
    forward/normalize, forward/running_var, forward/running_mean, forward/weight, forward/bias,
    forward/affine, forward/output; input_grad/normalize, weight_grad/sum, bias_grad/sum, and
    .../output of each. NaN spreads over its channel. Raises `ArgumentError` for other shapes, and in
    training for one value per channel.

    >>> layer = BatchNorm1d(1, eps=0.0)
    >>> layer(np.float32([[1], [3]])).data.tolist(), layer.running_mean.data.tolist()
    ([[-1.0], [1.0]], [0.20000000298023224])
    """

    place = "batch_norm"
    dimensions: tuple[int, ...] = (2, 3)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        name = type(self).__name__
        shape = (size(name, "num_features", num_features),)
        self.num_features = shape[0]
        self.eps = number(name, "eps", eps, 0.0)
        self.momentum = None if momentum is None else number(name, "momentum", momentum, 0.0, 1.0)
        self.weight = filled(shape, 1.0) if affine else None
        self.bias = filled(shape, 0.0) if affine else None
        tracks = track_running_stats
        self.running_mean = filled(shape, 0.0, trained=False) if tracks else None
        self.running_var = filled(shape, 1.0, trained=False) if tracks else None
        self.num_batches_tracked = Tensor(array(np.zeros(()), FP64)) if tracks else None

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.dimensions:
            allowed = " or ".join(f"{n}" for n in self.dimensions)
            raise ArgumentError(
                f"{self.place}: {type(self).__name__} takes inputs of {allowed} dimensions, got shape "
                f"{x.shape}"
            )
        return BATCH_NORM(
            x,
            *given(self.weight, self.bias),
            place=self.place,
            eps=self.eps,
            running=self._running(),
            training=self.training,
            momentum=self._share(),
        )

    def _running(self) -> tuple[Tensor, Tensor] | None:
        if self.running_mean is None or self.running_var is None:
            return None
        return self.running_mean, self.running_var

    def _share(self) -> float:
        """By how much the running statistics move; counts the batch."""
        counter = self.num_batches_tracked
        if counter is None or not self.training:
            return 0.0
        counter.data = asarray(
            np.float64(counter.item() + 1)
        )  # a number of the program, not counted
        return 1.0 / counter.item() if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}"


class BatchNorm2d(BatchNorm1d):
    """As `BatchNorm1d`, of x of shape (N, C, H, W).

    >>> layer = BatchNorm2d(1, eps=0.0)
    >>> layer(np.float32([[[[1, 3]]]])).data.tolist()
    [[[[-1.0, 1.0]]]]
    """

    dimensions = (4,)
