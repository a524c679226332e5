"""Pooling layers, with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

from fpemu.autograd.operations import (
    ADAPTIVE_AVG_POOL2D,
    ADAPTIVE_MAX_POOL2D,
    AVG_POOL1D,
    AVG_POOL2D,
    MAX_POOL1D,
    MAX_POOL2D,
)
from fpemu.autograd.operations.convolution import along
from fpemu.autograd.operations.windows import check_padding
from fpemu.autograd.tensor import Operation, Tensor
from fpemu.linalg.geometry import Pair, pair
from fpemu.nn.module import Module


class _Pooling(Module):
    """What they share: options, checked at once, that go to the operation."""

    operation: Operation
    spatial = 2

    def _set(self, **options: Any) -> None:
        self.options = options
        if "kernel_size" in options:
            stride = options["stride"]
            dilation = options.get("dilation", 1)
            kernel = pair("kernel_size", along(options["kernel_size"], self.spatial, 1), 1)
            pair("stride", 1 if stride is None else along(stride, self.spatial, 1), 1)
            padding = pair("padding", along(options["padding"], self.spatial, 0), 0)
            gaps = pair("dilation", along(dilation, self.spatial, 1), 1)
            for own in zip(kernel, padding, gaps, strict=True):
                check_padding(*own)
        elif options["output_size"] is not None:
            size = options["output_size"]
            given = size if isinstance(size, (tuple, list)) else (size, size)
            pair("output_size", tuple(1 if n is None else n for n in given), 1)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x, place=self.place, **self.options)

    def extra_repr(self) -> str:
        usual = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
        usual |= {"count_include_pad": True, "divisor_override": None}
        (_, first), *rest = self.options.items()
        said = [f"{key}={value}" for key, value in rest if value != usual[key]]
        return ", ".join([str(first), *said])


class MaxPool2d(_Pooling):
    """The largest element of every window of images (N, C, H, W).

    Exact in every format: nothing is rounded, NaN counts as larger than all, padding as less than all.
    The gradient goes to the first largest element of its window; where windows overlap, gradients are
    added in the order of the windows, in their own format, each addition rounded and counted. `stride`
    is by default `kernel_size`; arguments are integers or pairs, as PyTorch's. Raises `ArgumentError` for
    what does not fit, and for more padding than half a window.

    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).data.tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    place = "max_pool2d"
    operation = MAX_POOL2D

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        moves = {"stride": stride, "padding": padding, "dilation": dilation}
        self._set(kernel_size=kernel_size, **moves, ceil_mode=ceil_mode)


class MaxPool1d(MaxPool2d):
    """The largest element of every window of sequences (N, C, L); else as `MaxPool2d`.

    >>> import numpy as np
    >>> MaxPool1d(2)(np.arange(6.0).reshape(1, 1, 6)).data.tolist()
    [[[1.0, 3.0, 5.0]]]
    """

    place = "max_pool1d"
    operation = MAX_POOL1D
    spatial = 1


class AvgPool2d(_Pooling):
    """The mean of every window of images (N, C, H, W): a sum over its rows and columns, then a division.

    Both are rounded as the policy's inner steps, the result as activations. Padding takes part as zeros,
    and counts in the divisor unless `count_include_pad` is false; `divisor_override` is another divisor.
    The gradient is divided first; where windows overlap, gradients are summed in the order of the
    windows. Arguments, NaN in a window (NaN) and errors as `MaxPool2d`.

    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).data.tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    place = "avg_pool2d"
    operation = AVG_POOL2D

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )


class AvgPool1d(AvgPool2d):
    """The mean of every window of sequences (N, C, L); else as `AvgPool2d`.

    >>> import numpy as np
    >>> AvgPool1d(2)(np.arange(6.0).reshape(1, 1, 6)).data.tolist()
    [[[0.5, 2.5, 4.5]]]
    """

    place = "avg_pool1d"
    operation = AVG_POOL1D
    spatial = 1

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AdaptiveAvgPool2d(_Pooling):
    """The mean over as many windows as `output_size` says, an integer or two, None for the input's own.

    Window i of n along an axis of H elements reaches from floor(i * H / n) to, without it,
    ceil((i + 1) * H / n). Rounded as `AvgPool2d`.

    >>> import numpy as np
    >>> AdaptiveAvgPool2d(1)(np.arange(16.0).reshape(1, 1, 4, 4)).data.tolist()
    [[[[7.5]]]]
    """

    place = "adaptive_avg_pool2d"
    operation = ADAPTIVE_AVG_POOL2D

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        self._set(output_size=output_size)


class AdaptiveMaxPool2d(AdaptiveAvgPool2d):
    """The largest element of the windows of `AdaptiveAvgPool2d`; exact, as `MaxPool2d`.

    >>> import numpy as np
    >>> AdaptiveMaxPool2d((1, 2))(np.arange(12.0).reshape(1, 1, 3, 4)).data.tolist()
    [[[[9.0, 11.0]]]]
    """

    place = "adaptive_max_pool2d"
    operation = ADAPTIVE_MAX_POOL2D
