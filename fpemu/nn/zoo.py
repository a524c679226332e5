"""Ready-made models by name, built for the shape of the data: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fpemu.errors import ArgumentError
from fpemu.nn.activation import ReLU
from fpemu.nn.convolution import Conv2d
from fpemu.nn.linear import Linear
from fpemu.nn.mlp import mlp
from fpemu.nn.module import Module, Sequential
from fpemu.nn.pooling import MaxPool2d
from fpemu.nn.shaping import Flatten


class Recipe(NamedTuple):
    """How a model is built: ``build(shape of a row, classes, hidden sizes)``.

    `says` is one line about it; with `flat` it takes rows as vectors, whatever shape they have, else
    images (channels, height, width). `hidden` are its sizes where nothing else is said.
    """

    says: str
    flat: bool
    hidden: tuple[int, ...]
    build: Callable[[tuple[int, ...], int, Sequence[int]], Module]


def _mlp(shape: tuple[int, ...], classes: int, hidden: Sequence[int]) -> Module:
    return mlp([math.prod(shape), *hidden, classes])


def cnn(shape: tuple[int, ...], classes: int, channels: Sequence[int] = (8, 16)) -> Sequential:
    """For images of `shape` (channels, height, width): for each of `channels` a 3 x 3 convolution that
    keeps the size, ReLU, and the maximum of 2 x 2 windows; then a linear layer to the classes.

    Raises `ArgumentError` for other shapes, and images too small for so much pooling.

    >>> cnn((1, 28, 28), 10)[-1]
    Linear(784, 10)
    """
    if len(shape) != 3:
        raise ArgumentError(f"a cnn takes images (channels, height, width), got rows of {shape}")
    depth, high, wide = shape
    layers: list[Module] = []
    for more in channels:
        if min(high, wide) < 2:
            raise ArgumentError(
                f"images of {shape[1]} x {shape[2]} are too small to be halved {len(channels)} times"
            )
        layers += [Conv2d(depth, more, 3, padding=1), ReLU(), MaxPool2d(2)]
        depth, high, wide = more, high // 2, wide // 2
    return Sequential(*layers, Flatten(), Linear(depth * high * wide, classes))


MODELS = {
    "mlp": Recipe("linear layers with ReLU between them", True, (64,), _mlp),
    "cnn": Recipe("3 x 3 convolutions, ReLU and pooling, then a linear layer", False, (8, 16), cnn),
}
