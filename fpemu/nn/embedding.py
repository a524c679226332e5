"""The embedding of numbered things as vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.autograd.operations import EMBEDDING
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.nn import init
from fpemu.nn.arguments import filled, size
from fpemu.nn.module import Module


class Embedding(Module):
    """Rows of `weight`, of shape (num_embeddings, embedding_dim), by their numbers.

    Takes integers of any shape and gives that shape with embedding_dim behind it. `weight` is drawn
    from the standard normal distribution; the row `padding_idx`, if there is one, is zeros and gets no
    gradient. The gradient of a row is the sum over its uses, in order, every addition rounded to the
    gradients' format: many uses swamp. Places: forward/weight, forward/output, weight_grad/sum,
    weight_grad/output. Raises `ArgumentError` for numbers out of range and for what is no integer.

    >>> layer = Embedding(3, 2, padding_idx=0)
    >>> layer(np.array([[1, 0]])).shape, layer([0]).data.tolist()
    ((1, 2, 2), [[0.0, 0.0]])
    """

    place = "embedding"

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        self.num_embeddings = size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = size("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                f"Embedding's padding_idx must be from {-num_embeddings} to {num_embeddings - 1}, got "
                f"{padding_idx!r}"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = filled((self.num_embeddings, self.embedding_dim), 0.0)
        init.normal_(self.weight)
        if self.padding_idx is not None:
            values = self.weight.numpy()
            values[self.padding_idx] = 0
            init.set_values(self.weight, values)

    def _read(self, x: object) -> Any:
        return x

    def forward(self, x: Any) -> Tensor:
        indices = np.asarray(x)
        if isinstance(x, Tensor) and (indices == np.floor(indices)).all():
            indices = indices.astype(np.int64)  # data sets hand on floats
        options = {"indices": indices, "padding_idx": self.padding_idx}
        return EMBEDDING(self.weight, place=self.place, **options)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
