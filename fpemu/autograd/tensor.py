"""Tensors that remember how they were made, and the walk back through that graph."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.autograd import places
from fpemu.autograd.memory import keep_freed
from fpemu.autograd.site import Site
from fpemu.convert import round_to
from fpemu.errors import ArgumentError, UnsupportedError

if TYPE_CHECKING:
    from fpemu.formats import Format


class Operation(NamedTuple):
    """One row of the table of operations: a forward rule and, beside it, the backward rule.

    ``forward(site, *arrays, **options)`` returns the result and what backward needs of it.
    ``backward(site, saved, gradient, needed)`` returns one gradient per input, or None where
    `needed` says that nobody asks for it.
    """

    name: str
    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[[Site, Any, Array, tuple[bool, ...]], tuple[Array | None, ...]]

    def __call__(self, *inputs: object, place: str = "", **options: Any) -> Tensor:
        """The operation on tensors (or what `fp.asarray` takes) where we stand, recorded if needed.

        It stands at `place`, by default at its own name below the module that runs.
        """
        beside = next((x.data.format for x in inputs if isinstance(x, Tensor)), None)
        known = [x if _is_number(x) and beside else _as_tensor(x) for x in inputs]
        formats = tuple(x.data.format if isinstance(x, Tensor) else beside for x in known)
        site = places.site(place or places.next_place(self.name), self.name, formats)  # type: ignore[arg-type]
        tensors = (x if isinstance(x, Tensor) else _rounded(x, beside, site) for x in known)
        return apply(self, site, *tensors, **options)


def _is_number(x: object) -> bool:
    return isinstance(x, (int, float))


def _as_tensor(x: object) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _rounded(x: Any, f: Any, site: Site) -> Tensor:
    """A Python number that meets a tensor: first rounded to its format `f`, as with an Array."""
    number = np.full((), float(x))
    return Tensor(Array(round_to(number, f, site.saturation, count=False), f))


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

    `data` is what `fp.asarray` takes. Layers, losses, operators and the methods below make tensors of
    tensors, each rounded as the policy in force says for the place where it happens; `backward` on
    a scalar fills in the gradients of those made with ``requires_grad=True``. Python numbers that meet a
    tensor are first rounded to its format.

    >>> from fpemu.nn import cross_entropy
    >>> x = Tensor(np.zeros((1, 2), np.float32), requires_grad=True)
    >>> cross_entropy(x, [0]).backward()
    >>> x.grad.tolist()
    [[-0.5, 0.5]]
    """

    __array_ufunc__ = None  # so that NumPy leaves ``array + tensor`` to the tensor

    def __init__(self, data: object, *, requires_grad: bool = False, name: str = "") -> None:
        self.data: Array = asarray(data)
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.name = name
        self.kind = ""  # of a layer's tensors: the operation that the layer is named after
        self._node: _Node | None = None
        self._is_freed = False  # whether an earlier backward has been here

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as NumPy's."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def format(self) -> Format:
        """The format of the values."""
        return self.data.format

    @property
    def T(self) -> Tensor:
        """The last two axes exchanged."""
        return self.transpose(-1, -2)

    def item(self) -> float:
        """The one value of a tensor with one element."""
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array in the carrier, float32 or float64: a copy."""
        return self.data.to_numpy()

    def detach(self) -> Tensor:
        """The same values without a history."""
        return Tensor(self.data, name=self.name)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self.data.__array__(dtype, copy)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise UnsupportedError(
            f"numpy.{function.__name__} is not differentiable here; use the tensor's own methods, or leave "
            "the graph with .data (an Array) or numpy.asarray"
        )

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ArgumentError(
                f"a tensor of shape {self.shape} is neither true nor false; look at .data or .numpy()"
            )
        return bool(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad}{name})"

    def backward(self, scale: float = 1.0) -> None:
        """Gradients of this scalar, times `scale`, added into ``.grad`` of all that it came from.

        `scale` (the loss scale) is rounded to this tensor's format. The graph is freed.
        Raises `ArgumentError` unless the tensor has one element and was recorded, and where an earlier
        backward has freed a part of the graph; nothing has been added to any gradient then.
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
        order = _in_order(self)
        seed = np.full(self.shape, scale, np.float64)
        f, saturation = self.data.format, self._node.site.saturation
        pending = {id(self): Array(round_to(seed, f, saturation, count=False), f)}
        for tensor in reversed(order):
            node, gradient = tensor._node, pending.pop(id(tensor), None)
            tensor._is_freed, tensor._node = node is not None, None
            if node is None or gradient is None:
                continue
            needed = tuple(t.requires_grad for t in node.inputs)
            gradients = node.operation.backward(node.site, node.saved, gradient, needed)
            for i, (source, piece) in enumerate(zip(node.inputs, gradients, strict=True)):
                if piece is None:
                    continue
                if node.site.follows_inputs:
                    piece = node.site.returned(piece, source.data.format, i)
                if source._node is None:
                    source.grad = _accumulated(source.grad, piece, source.name, node.site)
                else:
                    before = pending.get(id(source))
                    pending[id(source)] = _added(before, piece, source.name, node.site)

    # -- operators: the table of operations under the names that NumPy and PyTorch use ----------

    def __add__(self, other: object) -> Tensor:
        return _table().ADD(self, other)

    def __radd__(self, other: object) -> Tensor:
        return _table().ADD(other, self)

    def __sub__(self, other: object) -> Tensor:
        return _table().SUBTRACT(self, other)

    def __rsub__(self, other: object) -> Tensor:
        return _table().SUBTRACT(other, self)

    def __mul__(self, other: object) -> Tensor:
        return _table().MULTIPLY(self, other)

    def __rmul__(self, other: object) -> Tensor:
        return _table().MULTIPLY(other, self)

    def __truediv__(self, other: object) -> Tensor:
        return _table().DIVIDE(self, other)

    def __rtruediv__(self, other: object) -> Tensor:
        return _table().DIVIDE(other, self)

    def __neg__(self) -> Tensor:
        return _table().NEGATE(self)

    def __matmul__(self, other: object) -> Tensor:
        return _table().MATMUL(self, other)

    def __rmatmul__(self, other: object) -> Tensor:
        return _table().MATMUL(other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return _table().TAKE(self, index=index)

    def reshape(self, *shape: Any) -> Tensor:
        """The values in another shape; nothing is rounded."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return _table().RESHAPE(self, shape=tuple(wanted))

    def permute(self, *axes: int) -> Tensor:
        """The axes in another order; nothing is rounded."""
        return _table().PERMUTE(self, axes=axes)

    def transpose(self, first: int, second: int) -> Tensor:
        """Two axes exchanged, as in PyTorch; nothing is rounded."""
        axes = list(range(self.ndim))
        axes[first], axes[second] = axes[second], axes[first]
        return _table().PERMUTE(self, axes=tuple(axes))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over axes (all by default), by the model of the policy's inner sums."""
        return _table().SUM(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over axes divided by the number of terms; see `sum`."""
        return _table().MEAN(self, axis=axis, keepdims=keepdims)

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return _table().EXP(self)

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return _table().LOG(self)

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return _table().SQRT(self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent of each element."""
        return _table().TANH(self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)) of each element."""
        return _table().SIGMOID(self)

    def relu(self) -> Tensor:
        """max(x, 0) of each element."""
        return _table().RELU(self)

    def abs(self) -> Tensor:
        """The size of each element, exact; the gradient at 0 is 0."""
        return _table().ABSOLUTE(self)

    def __pow__(self, exponent: float) -> Tensor:
        return _table().POWER(self, exponent=float(exponent))

    def log_softmax(self, axis: int = -1) -> Tensor:
        """The logarithm of `softmax`, without its underflow."""
        return _table().LOG_SOFTMAX(self, axis=axis)

    def softmax(self, axis: int = -1) -> Tensor:
        """exp(x) divided by the sum of them along `axis`."""
        return _table().SOFTMAX(self, axis=axis)


def apply(operation: Operation, site: Site, *inputs: Tensor, **options: Any) -> Tensor:
    """Run `operation` on `inputs` as `site` rounds, and record it if a gradient will be asked."""
    keep_freed()
    data, saved = operation.forward(site, *(t.data for t in inputs), **options)
    wanted = _recording.get() and any(t.requires_grad for t in inputs)
    result = Tensor(data, requires_grad=wanted, name=f"{site.place}/{operation.name}")
    if wanted:
        result._node = _Node(operation, site, saved, inputs)
    return result


def _table() -> Any:
    from fpemu.autograd import operations

    return operations


def _accumulated(present: Array | None, piece: Array, name: str, site: Site) -> Array:
    """The gradient of a leaf: the sum over its uses and over backward passes, in the format that the
    policy wants it accumulated in, by default that of the first piece."""
    own = piece.format if present is None else present.format
    there = _sums_of(name, site.gradient_sum or own, site)
    piece = there.cast(piece, "gradients", "gradient_sum")
    return piece if present is None else _added(present, piece, name, site)


def _added(present: Array | None, piece: Array, name: str, site: Site) -> Array:
    """The sum of two gradients of one tensor, in the format of the first; rounded and counted."""
    if present is None:
        return piece
    there = _sums_of(name, present.format, site)
    added = there.cast(piece, "gradients", "gradient_sum")
    return there.apply("add", present, added, role="gradients", where="gradient_sum")


def _sums_of(name: str, f: Format, site: Site) -> Site:
    """Where gradients of the tensor `name` are added in `f`, otherwise as `site` rounds."""
    return site.alone(name, "gradients", f)


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
            if tensor._is_freed and tensor._node is None:
                raise ArgumentError(
                    f"backward meets {tensor.name or 'a tensor'}, whose graph an earlier backward has freed; "
                    "add the losses and call backward once, or run the forward pass again"
                )
            seen.add(id(tensor))
            stack.append((tensor, True))
            if tensor._node is not None:
                stack.extend((source, False) for source in tensor._node.inputs)
    return order
