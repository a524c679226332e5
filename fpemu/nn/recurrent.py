"""Recurrent cells: one step of a sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.autograd.operations import ADD, LINEAR, MULTIPLY, SIGMOID, SUBTRACT, TANH
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.nn.arguments import size, uniform
from fpemu.nn.module import Module


class _Cell(Module):
    """Weights for the input and for the hidden state, of several gates one below the other."""

    gates: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        name = type(self).__name__
        self.input_size = size(name, "input_size", input_size)
        self.hidden_size = size(name, "hidden_size", hidden_size)
        rows, bound = self.gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        self.weight_ih = uniform((rows, self.input_size), bound)
        self.weight_hh = uniform((rows, self.hidden_size), bound)
        self.bias_ih = uniform((rows,), bound) if bias else None
        self.bias_hh = uniform((rows,), bound) if bias else None

    def _read(self, x: object) -> Any:
        if isinstance(x, (tuple, list)) and len(x) == 2:
            return tuple(v if isinstance(v, Tensor) else Tensor(v) for v in x)
        return Tensor(x)

    def _gates(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The products with input and hidden state."""
        wanted = (*x.shape[:-1], self.hidden_size)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size or h.shape != wanted:
            raise ArgumentError(
                f"{self.place}: {type(self).__name__} takes input of shape (batch, {self.input_size}) "
                f"and states of shape (batch, {self.hidden_size}), got {x.shape} and {h.shape}"
            )
        of_x = () if self.bias_ih is None else (self.bias_ih,)
        of_h = () if self.bias_hh is None else (self.bias_hh,)
        return (
            LINEAR(x, self.weight_ih, *of_x, place=f"{self.place}.input"),
            LINEAR(h, self.weight_hh, *of_h, place=f"{self.place}.hidden"),
        )

    def _part(self, x: Tensor, i: int) -> Tensor:
        return x[..., i * self.hidden_size : (i + 1) * self.hidden_size]

    def _zeros(self, x: Tensor) -> Tensor:
        return Tensor(np.zeros((*x.shape[:-1], self.hidden_size), np.float32))

    def _at(self, name: str) -> str:
        return f"{self.place}.{name}"

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class LSTMCell(_Cell):
    """One step of a long short-term memory: ``h, c = cell(x, (h, c))``; states are zero if left out.

    i, f, g, o = the four parts of (W_ih x + b_ih) + (W_hh h + b_hh), in PyTorch's order;
    c' = sigmoid(f) * c + sigmoid(i) * tanh(g);  h' = sigmoid(o) * tanh(c').
    x is (batch, input_size) or (input_size,). Keys and shapes are PyTorch's: weight_ih (4 hidden,
    input), weight_hh, bias_ih, bias_hh, all drawn from the uniform distribution on +-1/sqrt(hidden).

    Places below the cell's: input and hidden (the two products), gates (their sum), i, f, g, o (the
    functions), keep (f * c), new (i * g), cell (their sum), squash (tanh of c'), output (o * that).
    Source: Hochreiter and Schmidhuber 1997, "Long short-term memory".

    >>> h, c = LSTMCell(3, 2)(np.zeros((5, 3)))
    >>> h.shape, c.shape
    ((5, 2), (5, 2))
    """

    place = "lstm_cell"
    gates = 4

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The new hidden state and the new cell."""
        h, c = state if state is not None else (self._zeros(x), self._zeros(x))
        of_x, of_h = self._gates(x, h)
        together = ADD(of_x, of_h, place=self._at("gates"))
        parts = [self._part(together, i) for i in range(4)]
        functions = (SIGMOID, SIGMOID, TANH, SIGMOID)
        i, f, g, o = (
            function(part, place=self._at(name))
            for function, part, name in zip(functions, parts, "ifgo", strict=True)
        )
        kept = MULTIPLY(f, c, place=self._at("keep"))
        new = MULTIPLY(i, g, place=self._at("new"))
        cell = ADD(kept, new, place=self._at("cell"))
        squashed = TANH(cell, place=self._at("squash"))
        return MULTIPLY(o, squashed, place=self._at("output")), cell


class GRUCell(_Cell):
    """One step of a gated recurrent unit: ``h = cell(x, h)``; the state is zero if left out.

    With the three parts of W_ih x + b_ih and of W_hh h + b_hh, in PyTorch's order r, z, n:
    r = sigmoid(r_x + r_h);  z = sigmoid(z_x + z_h);  n = tanh(n_x + r * n_h);  h' = n + z * (h - n).
    Shapes, keys and initial values as `LSTMCell`, with three gates.

    Places below the cell's: input and hidden (the two products), r_sum, z_sum, r, z, reset (r * n_h),
    n_sum, n, difference (h - n), keep (z * that), output.
    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".

    >>> GRUCell(3, 2)(np.zeros((5, 3))).shape
    (5, 2)
    """

    place = "gru_cell"
    gates = 3

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """The new hidden state."""
        h = self._zeros(x) if state is None else state
        of_x, of_h = self._gates(x, h)
        (r_x, z_x, n_x), (r_h, z_h, n_h) = (
            [self._part(y, i) for i in range(3)] for y in (of_x, of_h)
        )
        r = SIGMOID(ADD(r_x, r_h, place=self._at("r_sum")), place=self._at("r"))
        z = SIGMOID(ADD(z_x, z_h, place=self._at("z_sum")), place=self._at("z"))
        reset = MULTIPLY(r, n_h, place=self._at("reset"))
        n = TANH(ADD(n_x, reset, place=self._at("n_sum")), place=self._at("n"))
        difference = SUBTRACT(h, n, place=self._at("difference"))
        kept = MULTIPLY(z, difference, place=self._at("keep"))
        return ADD(n, kept, place=self._at("output"))
