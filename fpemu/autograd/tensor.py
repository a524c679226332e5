"""Tensors that remember how they were made, and the walk back through that graph."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fpemu import elementwise
from fpemu.arrays import Array, asarray
from fpemu.autograd.site import Site
from fpemu.convert import round_to
from fpemu.errors import ArgumentError


class Operation(NamedTuple):
    """One row of the table of operations: a forward rule and, beside it, the backward rule.

    ``forward(site, *arrays, **options)`` returns the result and what backward needs of it.
    ``backward(site, saved, gradient, needed)`` returns one gradient per input, or None where
    `needed` says that nobody asks for it.
    """

    name: str
    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[[Site, Any, Array, tuple[bool, ...]], tuple[Array | None, ...]]


class _Node(NamedTuple):
    operation: Operation
    site: Site
    saved: Any
    inputs: tuple[Tensor, ...]


_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("fpemu_recording", default=True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Inside the block, operations are not recorded for differentiation.

    >>> import numpy as np
    >>> from fpemu.nn import Linear
    >>> with no_grad():
    ...     Linear(3, 2)(np.zeros((1, 3))).requires_grad
    False
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor:
    """An `Array` with a gradient: ``data``, ``grad`` (an Array or None) and the way it was made.

    `data` is what `fp.asarray` takes. Layers and losses make tensors of tensors; `backward` on a
    scalar fills in the gradients of those made with ``requires_grad=True``.

    >>> from fpemu.nn import cross_entropy
    >>> x = Tensor(np.zeros((1, 2), np.float32), requires_grad=True)
    >>> cross_entropy(x, [0]).backward()
    >>> x.grad.tolist()
    [[-0.5, 0.5]]
    """

    def __init__(self, data: object, *, requires_grad: bool = False, name: str = "") -> None:
        self.data: Array = asarray(data)
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.name = name
        self._node: _Node | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as NumPy's."""
        return self.data.shape

    def item(self) -> float:
        """The one value of a tensor with one element."""
        return self.data.item()

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self.data.__array__(dtype, copy)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad}{name})"

    def backward(self, scale: float = 1.0) -> None:
        """Gradients of this scalar, times `scale`, added into ``.grad`` of all that it came from.

        `scale` (the loss scale) is rounded to this tensor's format. The graph is freed.
        Raises `ArgumentError` unless the tensor has one element and was recorded.
        """
        if self.data.size != 1:
            raise ArgumentError(
                f"backward starts from one value, got shape {self.shape}; sum first"
            )
        if self._node is None:
            raise ArgumentError(
                "backward needs a recorded graph: no input requires a gradient, the graph was "
                "freed by an earlier backward, or it ran inside no_grad()"
            )
        seed = np.full(self.shape, scale, np.float64)
        f, saturation = self.data.format, self._node.site.saturation
        pending = {id(self): Array(round_to(seed, f, saturation, count=False), f)}
        for tensor in reversed(_in_order(self)):
            node, gradient = tensor._node, pending.pop(id(tensor), None)
            tensor._node = None
            if node is None or gradient is None:
                continue
            needed = tuple(t.requires_grad for t in node.inputs)
            gradients = node.operation.backward(node.site, node.saved, gradient, needed)
            for source, piece in zip(node.inputs, gradients, strict=True):
                if piece is None:
                    continue
                if source._node is None:
                    source.grad = _added(source.grad, piece, source.name, node.site)
                else:
                    before = pending.get(id(source))
                    pending[id(source)] = _added(before, piece, source.name, node.site)


def apply(operation: Operation, site: Site, *inputs: Tensor, **options: Any) -> Tensor:
    """Run `operation` on `inputs` as `site` rounds, and record it if a gradient will be asked."""
    data, saved = operation.forward(site, *(t.data for t in inputs), **options)
    wanted = _recording.get() and any(t.requires_grad for t in inputs)
    result = Tensor(data, requires_grad=wanted, name=f"{site.place}/{operation.name}")
    if wanted:
        result._node = _Node(operation, site, saved, inputs)
    return result


def _added(present: Array | None, piece: Array, name: str, site: Site) -> Array:
    """The sum of two gradients of one tensor, in their format; rounded and counted."""
    if present is None:
        return piece
    f, place = present.format, f"{name}/gradient_sum"
    added = piece._values
    if piece.format != f:
        added = round_to(added, f, site.saturation, place=place, op="gradients")
    values = elementwise.apply(
        "add",
        present._values,
        added,
        f=f,
        saturation=site.saturation,
        place=place,
        count_as="gradients",
    )
    return Array(values, f)


def _in_order(last: Tensor) -> list[Tensor]:
    """All tensors of the graph, each after those it was made from. Iterative: depth is free."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(last, False)]
    while stack:
        tensor, expanded = stack.pop()
        if expanded:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            if tensor._node is not None:
                stack.extend((source, False) for source in tensor._node.inputs)
    return order
