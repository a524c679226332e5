"""The multilayer perceptron, ready made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fpemu.errors import ArgumentError
from fpemu.nn.activation import ReLU
from fpemu.nn.linear import Linear
from fpemu.nn.module import Module, Sequential


def mlp(sizes: Sequence[int]) -> Sequential:
    """Linear layers of the given sizes with ReLU between them.

    >>> mlp([64, 32, 10])
    Sequential(Linear(64, 32), ReLU(), Linear(32, 10))
    """
    if not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ArgumentError(f"an MLP needs at least an input and an output size, got {sizes!r}")
    layers: list[Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs), ReLU()]
    return Sequential(*layers[:-1])
