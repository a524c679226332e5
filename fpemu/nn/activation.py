"""Activation functions. Where each rounds stands in `fpemu.autograd.operations`."""

from __future__ import annotations

from fpemu.autograd import operations
from fpemu.autograd.tensor import Operation, Tensor
from fpemu.errors import unknown
from fpemu.nn.arguments import number
from fpemu.nn.module import Module


class ReLU(Module):
    """max(x, 0), exact in every format; NaN passes through, -0 becomes +0.

    >>> import numpy as np
    >>> ReLU()(np.array([[-1.0, 2.0]])).data.tolist()
    [[0.0, 2.0]]
    """

    place = "relu"

    def forward(self, x: Tensor) -> Tensor:
        return operations.RELU(x, place=self.place)


class LeakyReLU(Module):
    """x where it is positive, else x times `negative_slope`: one rounding, at forward/output.

    >>> import numpy as np
    >>> LeakyReLU(0.25)(np.array([[-1.0, 2.0]])).data.tolist()
    [[-0.25, 2.0]]
    """

    place = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        return operations.LEAKY_RELU(x, place=self.place, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"


class GELU(Module):
    """x times the normal distribution's share below x, by erf or, with ``approximate="tanh"``, tanh.

    Steps at forward/gelu (forward/gelu_tanh), the result at forward/output; backward input_grad/gelu
    (input_grad/gelu_tanh) and input_grad/output. NaN gives NaN, and so does -infinity (an infinity
    times 0), as in PyTorch. Raises `ArgumentError` for another approximation.

    >>> import numpy as np
    >>> GELU()(np.float32([-1, 0, 1])).data.tolist()
    [-0.15865525603294373, 0.0, 0.8413447141647339]
    """

    place = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise unknown("approximation", approximate, ("none", "tanh"))
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        gelu = operations.GELU if self.approximate == "none" else operations.GELU_TANH
        return gelu(x, place=self.place)

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else "approximate='tanh'"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above `threshold`.

    Steps at forward/softplus, the result at forward/output; backward input_grad/softplus and
    input_grad/output. NaN gives NaN.

    >>> import numpy as np
    >>> Softplus()(np.float32([0, 30])).data.tolist()
    [0.6931471824645996, 30.0]
    """

    place = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = number("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        options = {"beta": self.beta, "threshold": self.threshold}
        return operations.SOFTPLUS(x, place=self.place, **options)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, threshold={self.threshold:g}"


class _Function(Module):
    """A function without options."""

    operation: Operation

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x, place=self.place)


class SiLU(_Function):
    """x times its sigmoid; steps at forward/silu, the result at forward/output; backward
    input_grad/silu and input_grad/output. NaN, and -infinity, give NaN.

    >>> import numpy as np
    >>> SiLU()(np.float32([0, 1])).data.tolist()
    [0.0, 0.7310585975646973]
    """

    place, operation = "silu", operations.SILU


class Tanh(_Function):
    """The hyperbolic tangent, at forward/tanh and forward/output; backward input_grad/tanh and
    input_grad/output. NaN gives NaN, infinities +-1.

    >>> import numpy as np
    >>> Tanh()(np.float32([0, np.inf])).data.tolist()
    [0.0, 1.0]
    """

    place, operation = "tanh", operations.TANH


class Sigmoid(_Function):
    """1 / (1 + exp(-x)), rounded once, at forward/sigmoid and forward/output; backward
    input_grad/sigmoid and input_grad/output. NaN gives NaN, infinities 0 and 1.

    >>> import numpy as np
    >>> Sigmoid()(np.float32([0, np.inf])).data.tolist()
    [0.5, 1.0]
    """

    place, operation = "sigmoid", operations.SIGMOID


class _AlongAxis(Module):
    operation: Operation

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x, place=self.place, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """exp(x) divided by their sum along `dim`, step by step as `fpemu.softmax`, which says what NaN
    and infinities do; forward/softmax and forward/output, input_grad/softmax and input_grad/output.

    >>> import numpy as np
    >>> Softmax(dim=-1)(np.float32([0, 0])).data.tolist()
    [0.5, 0.5]
    """

    place, operation = "softmax", operations.SOFTMAX


class LogSoftmax(_AlongAxis):
    """The logarithm of `Softmax`, as `fpemu.log_softmax`; forward/log_softmax and forward/output,
    input_grad/log_softmax and input_grad/output.

    >>> import numpy as np
    >>> LogSoftmax(dim=-1)(np.float32([0, 0])).data.tolist()
    [-0.6931471824645996, -0.6931471824645996]
    """

    place, operation = "log_softmax", operations.LOG_SOFTMAX
