"""Ready-made models by name, built for the shape of the data: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fpemu.nn.mlp import mlp
from fpemu.nn.module import Module


class Recipe(NamedTuple):
    """How a model is built: ``build(shape of a row, classes, hidden sizes)``.

    `says` is one line about it; with `flat` it takes rows as vectors, whatever shape they have.
    """

    says: str
    flat: bool
    build: Callable[[tuple[int, ...], int, Sequence[int]], Module]


def _mlp(shape: tuple[int, ...], classes: int, hidden: Sequence[int]) -> Module:
    return mlp([math.prod(shape), *hidden, classes])


MODELS = {"mlp": Recipe("linear layers with ReLU between them", True, _mlp)}
