"""Convolution layers, with PyTorch's arguments, keys and layouts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.arrays import array
from fpemu.autograd.operations import CONV1D, CONV2D, CONV_TRANSPOSE2D
from fpemu.autograd.operations.convolution import along, geometry_of
from fpemu.autograd.tensor import Operation, Tensor
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP32
from fpemu.linalg.convolution_shapes import check_groups
from fpemu.linalg.geometry import Pair, pair
from fpemu.nn.linear import MOST_WEIGHTS
from fpemu.nn.module import Module
from fpemu.random import initial_stream


class _Convolution(Module):
    """What they share: weights and bias drawn as PyTorch draws them, options checked at once."""

    operation: Operation
    spatial = 2

    def _set(
        self, channels: tuple[int, int], kernel: Any, bias: bool, turned: bool, options: Any
    ) -> None:
        name = type(self).__name__
        for what, n in zip(("in_channels", "out_channels"), channels, strict=True):
            whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
            if not whole or n < 1:
                raise ArgumentError(f"{name}'s {what} must be a positive integer, got {n!r}")
        inputs, outputs = map(int, channels)
        groups = options["groups"]
        check_groups(groups, inputs, outputs)
        mode = options.pop("padding_mode")
        if mode != "zeros":
            raise UnsupportedError(f"{name} pads with zeros only, got padding_mode={mode!r}")
        self.channels, self.kernel_size, self.options = (inputs, outputs), kernel, options
        size = pair("kernel_size", along(kernel, self.spatial, 1), 1)
        first, second = (inputs, outputs) if turned else (outputs, inputs)
        shape = (first, second // groups, *size)
        still = {"stride": 1, "padding": 0, "dilation": 1}
        moves = {key: along(options[key], self.spatial, n) for key, n in still.items()}
        geometry_of(shape, **moves, groups=groups)  # which says what does not fit
        if "output_padding" in options:
            pair("output_padding", options["output_padding"], 0)
        if math.prod(shape) > MOST_WEIGHTS:
            raise ArgumentError(
                f"{name} would have {math.prod(shape)} weights; at most {MOST_WEIGHTS} are allowed"
            )
        stream, bound = initial_stream(), 1.0 / math.sqrt(math.prod(shape[1:]))
        drawn = stream.uniform(-bound, bound, shape).reshape(*shape[:2], *size[2 - self.spatial :])
        self.weight = Tensor(array(drawn, FP32), requires_grad=True)
        self.bias: Tensor | None = None
        if bias:
            drawn = stream.uniform(-bound, bound, (outputs,))
            self.bias = Tensor(array(drawn, FP32), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        beside = () if self.bias is None else (self.bias,)
        return self.operation(x, self.weight, *beside, place=self.place, **self.options)

    def extra_repr(self) -> str:
        usual = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        said = [*map(str, self.channels), f"kernel_size={self.kernel_size}"]
        said += [f"{key}={value}" for key, value in self.options.items() if value != usual[key]]
        return ", ".join(said + ([] if self.bias is not None else ["bias=False"]))


class Conv2d(_Convolution):
    """The convolution of images (N, in_channels, H, W), plus a bias: (N, out_channels, H', W').

    `weight` is (out_channels, in_channels / groups, kh, kw) and `bias` (out_channels,), or None with
    ``bias=False``; both are drawn from the uniform distribution on +-1/sqrt(fan_in), fan_in being the
    products in a sum, as PyTorch does (not PyTorch's random numbers), and stored in FP32 until `fp.train`
    or `store_in` says otherwise. `kernel_size`, `stride`, `padding` and `dilation` are integers or pairs;
    `padding` may be "valid", or "same" with stride 1. Sums run as in `fp.conv2d`; how they are rounded is
    the policy's business. Raises `ArgumentError` for what does not fit, `UnsupportedError` for another
    `padding_mode` than "zeros".

    >>> layer = Conv2d(1, 8, 3, padding=1)
    >>> layer, layer(np.zeros((5, 1, 28, 28))).shape
    (Conv2d(1, 8, kernel_size=3, padding=1), (5, 8, 28, 28))
    """

    place = "conv2d"
    operation = CONV2D

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        options["padding_mode"] = padding_mode
        self._set((in_channels, out_channels), kernel_size, bias, False, options)


class Conv1d(_Convolution):
    """The convolution of sequences (N, in_channels, L), plus a bias; else as `Conv2d`.

    `weight` is (out_channels, in_channels / groups, k).

    >>> Conv1d(2, 4, 3, stride=2)(np.zeros((5, 2, 9))).shape
    (5, 4, 4)
    """

    place = "conv1d"
    operation = CONV1D
    spatial = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        options |= {"groups": groups, "padding_mode": padding_mode}
        self._set((in_channels, out_channels), kernel_size, bias, False, options)


class ConvTranspose2d(_Convolution):
    """The transposed convolution of images (N, in_channels, H, W), plus a bias; else as `Conv2d`.

    `weight` is (in_channels, out_channels / groups, kh, kw), drawn with PyTorch's fan_in,
    out_channels / groups * kh * kw. `output_padding` adds rows and columns at the end.

    >>> ConvTranspose2d(2, 4, 3, stride=2, output_padding=1)(np.zeros((5, 2, 4, 4))).shape
    (5, 4, 10, 10)
    """

    place = "conv_transpose2d"
    operation = CONV_TRANSPOSE2D

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
    ) -> None:
        if isinstance(padding, str):
            raise ArgumentError(f"ConvTranspose2d's padding must be integers, got {padding!r}")
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        options |= {"output_padding": output_padding, "groups": groups}
        options["padding_mode"] = padding_mode
        self._set((in_channels, out_channels), kernel_size, bias, True, options)
