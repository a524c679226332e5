"""Initial values of parameters, by PyTorch's names: each sets the values of a tensor and returns it.

Random numbers come from `fp.manual_seed`'s stream (not PyTorch's numbers): the same seed gives the same
values on any machine. They are drawn in float64 and rounded once to the tensor's format.

Sources: Glorot and Bengio 2010 (xavier); He et al. 2015 (kaiming); Saxe et al. 2013 (orthogonal);
Marsaglia's polar method for normal numbers.
"""

from __future__ import annotations

import math

import numpy as np

from fpemu.arrays import array
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError, unknown
from fpemu.functions import within_an_ulp
from fpemu.random import Stream, initial_stream

# By how much a layer's weights may be larger because of the function behind it.
GAINS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "sigmoid"), 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2.0),
    "leaky_relu": math.nan,  # depends on the slope
    "selu": 3 / 4,
}


def set_values(t: Tensor, values: np.ndarray) -> Tensor:
    """The values of a parameter, rounded once to its format; its gradient is forgotten."""
    t.data, t.grad = array(values, t.format), None
    return t


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """From the uniform distribution on [a, b).

    >>> import fpemu as fp
    >>> t = uniform_(fp.Tensor(np.zeros(100)), 2, 3)
    >>> bool(2 <= t.numpy().min() < t.numpy().max() < 3)
    True
    """
    return set_values(tensor, initial_stream().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """From the normal distribution with this mean and standard deviation.

    >>> import fpemu as fp
    >>> bool(abs(normal_(fp.Tensor(np.zeros(10_000))).numpy().mean()) < 0.05)
    True
    """
    drawn = _normal(initial_stream(), tensor.size).reshape(tensor.shape)
    return set_values(tensor, mean + std * drawn)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """From the normal distribution, of which what is outside of [a, b] is drawn again.

    Raises `ArgumentError` if the mean is more than two standard deviations outside, where hardly
    anything would be left, or if a is not below b.

    >>> import fpemu as fp
    >>> bool(abs(trunc_normal_(fp.Tensor(np.zeros(1000))).numpy()).max() <= 2)
    True
    """
    if not a < b or mean < a - 2 * std or mean > b + 2 * std:
        raise ArgumentError(
            f"trunc_normal_ takes a < b and a mean within two standard deviations of them, got a={a}, "
            f"b={b}, mean={mean}, std={std}"
        )
    stream, kept = initial_stream(), np.zeros(0)
    while kept.size < tensor.size:
        drawn = mean + std * _normal(stream, 2 * tensor.size + 16)
        kept = np.concatenate([kept, drawn[(drawn >= a) & (drawn <= b)]])
    return set_values(tensor, kept[: tensor.size].reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """All elements `val`.

    >>> import fpemu as fp
    >>> constant_(fp.Tensor(np.zeros(2)), 3).data.tolist()
    [3.0, 3.0]
    """
    return set_values(tensor, np.full(tensor.shape, float(val)))


def zeros_(tensor: Tensor) -> Tensor:
    """All elements 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """All elements 1."""
    return constant_(tensor, 1.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform on +-gain sqrt(6 / (fan_in + fan_out)).

    >>> import fpemu as fp
    >>> bool((abs(xavier_uniform_(fp.Tensor(np.zeros((3, 3)))).numpy()) < 1).all())
    True
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with the standard deviation gain sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform on +-gain sqrt(3 / fan), with the gain of the function behind the layer (`a`: the slope
    of a leaky ReLU)."""
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with the standard deviation gain / sqrt(fan); see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows (or columns, if these are fewer) of unit length at right angles, times `gain`.

    Of more than two axes all but the first count as columns. By LAPACK's QR factorization, whose last
    bits may differ from machine to machine.

    >>> import fpemu as fp
    >>> q = orthogonal_(fp.Tensor(np.zeros((2, 3)))).numpy()
    >>> bool(np.allclose(q @ q.T, np.eye(2)))
    True
    """
    if tensor.ndim < 2:
        raise ArgumentError(f"orthogonal_ takes at least 2 axes, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    flat = _normal(initial_stream(), rows * columns).reshape(rows, columns)
    q, r = np.linalg.qr(flat if rows >= columns else flat.T)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # which makes all rotations equally likely
    return set_values(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of a function; `param` is the slope of a leaky ReLU, by default 0.01.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity not in GAINS:
        raise unknown("nonlinearity", nonlinearity, GAINS)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output has and how many outputs an input, of weights (out, in, ...)."""
    if tensor.ndim < 2:
        raise ArgumentError(
            f"fan in and out are those of weights with at least 2 axes, got shape {tensor.shape}"
        )
    behind = math.prod(tensor.shape[2:])
    return tensor.shape[1] * behind, tensor.shape[0] * behind


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise unknown("mode", mode, ("fan_in", "fan_out"))
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _normal(stream: Stream, count: int) -> np.ndarray:
    """Standard normal numbers: points of the unit disc, which give two each. The logarithm is fpemu's
    own, so that they are the same everywhere."""
    found = np.zeros(0)
    while found.size < count:
        x, y = stream.uniform(-1.0, 1.0, (2, count + 16))
        square = x * x + y * y
        inside = (square > 0) & (square < 1)
        x, y, square = x[inside], y[inside], square[inside]
        factor = np.sqrt(-2.0 * within_an_ulp("log", square) / square)
        found = np.concatenate([found, x * factor, y * factor])
    return found[:count]
