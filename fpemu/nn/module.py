"""`Module`, the base of layers, and `Sequential`, a chain of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from fpemu.arrays import Array, array
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError


class Module:
    """A layer or model: parameters by name, a place, and `forward`.

    Subclasses set tensors with ``requires_grad`` and other modules as attributes and define
    ``forward(x)``; ``self.place`` is the name under which their roundings are counted.
    """

    place: str = "layer"

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for the input tensor `x`."""
        raise NotImplementedError

    def __call__(self, x: object) -> Tensor:
        return self.forward(x if isinstance(x, Tensor) else Tensor(x))

    def children(self) -> Iterator[tuple[str, Module]]:
        """Direct sub-modules with their names."""
        return ((n, v) for n, v in vars(self).items() if isinstance(v, Module))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All parameters with PyTorch's keys, such as ``"0.weight"``."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.requires_grad:
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of `named_parameters`."""
        return [p for _, p in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters():
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' values under PyTorch's keys; linear weights are (out, in)."""
        return {name: p.data.to_numpy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Set all parameters from arrays, each rounded once to its parameter's format.

        Raises `ArgumentError`, with nothing changed, if keys or shapes do not agree.
        """
        own = dict(self.named_parameters())
        missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or extra:
            raise ArgumentError(f"state_dict does not fit: missing {missing}, unexpected {extra}")
        new = {name: array(value, own[name].data.format) for name, value in state.items()}
        for name, value in new.items():
            if value.shape != own[name].shape:
                raise ArgumentError(
                    f"state_dict[{name!r}] has shape {value.shape}, the model {own[name].shape}"
                )
        for name, value in new.items():
            own[name].data = value

    def store_in(self, f: object, *, saturation: str = "none") -> None:
        """Round all parameters to the storage format `f` (counted at ``.../init``)."""
        from fpemu.convert import round_to
        from fpemu.formats import as_format

        f = as_format(f)
        for name, p in self.named_parameters():
            if p.data.format != f:
                place = f"{p.name.rpartition('/')[0]}/init/{name.rpartition('.')[2]}"
                p.data = Array(round_to(p.data._values, f, saturation, place=place, op="init"), f)
            p.grad = None

    def set_place(self, place: str) -> None:
        """Name the place of this module and, below it, of its children and parameters."""
        self.place = place
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                value.name = f"{place}/{name}"
        for name, child in self.children():
            child.set_place(f"{place}.{name}")


class Sequential(Module):
    """Modules applied one after the other; their places are ``layers.0``, ``layers.1``, ...

    >>> from fpemu.nn import Linear, ReLU
    >>> model = Sequential(Linear(64, 32), ReLU(), Linear(32, 10))
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Module) -> None:
        wrong = [layer for layer in layers if not isinstance(layer, Module)]
        if wrong:
            raise ArgumentError(f"Sequential takes modules, got {wrong[0]!r}")
        self._layers = layers
        self.set_place("layers")

    def children(self) -> Iterator[tuple[str, Module]]:
        return ((str(i), layer) for i, layer in enumerate(self._layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self._layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Module:
        return self._layers[index]

    def __repr__(self) -> str:
        return "Sequential(" + ", ".join(map(repr, self._layers)) + ")"
