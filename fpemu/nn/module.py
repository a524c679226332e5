"""`Module`, the base of layers, and `Sequential`, a chain of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fpemu.arrays import array
from fpemu.autograd import places
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError, UnsupportedError


class Module:
    """A layer or model: parameters and buffers by name, a place, and `forward`.

    Subclasses set tensors with ``requires_grad`` (parameters), tensors without (buffers, which are
    saved but not trained) and other modules as attributes and define ``forward(*inputs)``. Operations
    and functions of tensors in it stand at places below ``self.place``, such as ``layers.3.add``.

    >>> from fpemu import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self, inner):
    ...         self.inner = inner
    ...     def forward(self, x):
    ...         return x + self.inner(x)
    >>> model = Residual(nn.Linear(2, 2))
    >>> model(np.zeros((1, 2))).shape, list(model.state_dict())
    ((1, 2), ['inner.weight', 'inner.bias'])
    """

    place: str = "model"
    training: bool = True  # what `train` and `eval` set: some layers then do another thing

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The layer's output for input tensors."""
        raise UnsupportedError(
            f"{type(self).__name__} at {self.place!r} has no forward; define forward(self, x)"
        )

    def __call__(self, *inputs: object, **options: Any) -> Any:
        given = [x if isinstance(x, Tensor) or x is None else self._read(x) for x in inputs]
        with places.standing(self.place):
            return self.forward(*given, **options)

    def _read(self, x: object) -> Any:
        """What is no tensor yet becomes one; layers that take integers do another thing."""
        return Tensor(x)

    def children(self) -> Iterator[tuple[str, Module]]:
        """Direct sub-modules with their names."""
        return ((n, v) for n, v in vars(self).items() if isinstance(v, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (under "") and all below it, with PyTorch's names."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    # -- parameters and buffers -----------------------------------------------------------

    def _tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
        for name, child in self.children():
            yield from child._tensors(f"{prefix}{name}.")

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All parameters with PyTorch's keys, such as ``"0.weight"``."""
        return ((name, t) for name, t in self._tensors(prefix) if t.requires_grad)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All buffers (running means and the like) with PyTorch's keys."""
        return ((name, t) for name, t in self._tensors(prefix) if not t.requires_grad)

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of `named_parameters`; each once."""
        return list({id(p): p for _, p in self.named_parameters()}.values())

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters():
            p.grad = None

    def train(self, mode: bool = True) -> Module:
        """Set this module and all below it to training, or with False to evaluation."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """As ``train(False)``: dropout does nothing, batch norm takes its running statistics."""
        return self.train(False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' and buffers' values under PyTorch's keys; linear weights are (out, in)."""
        return {name: t.data.to_numpy() for name, t in self._tensors()}

    def load_state_dict(self, state: Mapping[str, object] | str | os.PathLike[str]) -> None:
        """Set all parameters and buffers from arrays, each rounded once to its own format.

        Arrays may be NumPy's, PyTorch's or fpemu's; a path is that of a safetensors file (see
        `nn.load_safetensors`). Raises `ArgumentError`, with nothing changed, if keys or shapes do not
        agree.
        """
        if isinstance(state, (str, os.PathLike)):
            from fpemu.nn.weight_files import load_safetensors

            state = load_safetensors(state)
        own = dict(self._tensors())
        missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or extra:
            raise ArgumentError(f"state_dict does not fit: missing {missing}, unexpected {extra}")
        new = {
            name: array(as_numbers(value), own[name].data.format) for name, value in state.items()
        }
        for name, value in new.items():
            if value.shape != own[name].shape:
                raise ArgumentError(
                    f"state_dict[{name!r}] has shape {value.shape}, the model {own[name].shape}"
                )
        for name, value in new.items():
            own[name].data = value

    def store_in(self, f: object, *, saturation: str = "none") -> None:
        """Round all parameters to the storage format `f` (counted at ``.../init``), or, if `f` is a
        `Policy`, each to the format in which that stores it, as it rounds there."""
        from fpemu.formats import as_format
        from fpemu.policy import Policy

        for p in self.parameters():
            layer, _, name = p.name.rpartition("/")
            if isinstance(f, Policy):
                own = f.of(p)
                there = own.site(layer).alone(layer, "init", own.storage)
            else:
                there = Site(
                    layer,
                    dict.fromkeys(("init", "accumulate"), as_format(f)),
                    saturation=saturation,
                )
            p.data = there.cast(p.data, "init", f"init/{name}")
            p.grad = None

    # -- places ---------------------------------------------------------------------------

    def set_place(self, place: str) -> None:
        """Name the place of this module and, below it, of its children and parameters."""
        self.place = place
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                value.name = f"{place}/{name}"
        for name, child in self.children():
            child.set_place(f"{place}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, (list, tuple, dict)) and name[:1] != "_":
            inside = value.values() if isinstance(value, dict) else value
            if any(isinstance(v, Module) for v in inside):
                raise ArgumentError(
                    f"{type(self).__name__}.{name}: modules in a {type(value).__name__} would not be found "
                    "for training; use nn.ModuleList or nn.Sequential, or an attribute for each"
                )
        object.__setattr__(self, name, value)
        # A model of one's own says nothing of places: what it consists of stands below it.
        if isinstance(value, Module):
            value.set_place(f"{self.place}.{name}")
        elif isinstance(value, Tensor):
            value.name = f"{self.place}/{name}"
            value.kind = type(self).place

    # -- printing -------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of a layer."""
        return ""

    def __repr__(self) -> str:
        inside = [f"{name}={child!r}" for name, child in self.children()]
        said = self.extra_repr()
        return f"{type(self).__name__}({', '.join([said] * bool(said) + inside)})"

    def __str__(self) -> str:
        from fpemu.nn.summary import tree

        return tree(self)


def as_numbers(value: Any) -> Any:
    """A tensor of PyTorch's as an array (BF16 and FP8 by way of FP32, which holds them); all else as it
    is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        narrow = str(value.dtype).startswith(("torch.bfloat16", "torch.float8"))
        return (value.float() if narrow else value).numpy()
    return value


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

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the last layer makes of what the one before it made ..."""
        (x,) = inputs
        for layer in self._layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Module:
        return self._layers[index]

    def __repr__(self) -> str:
        return "Sequential(" + ", ".join(map(repr, self._layers)) + ")"


class ModuleList(Module):
    """Modules in a list, to be called one by one: their names are ``0``, ``1``, ...

    >>> from fpemu import nn
    >>> class Stack(nn.Module):
    ...     def __init__(self):
    ...         self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 1)])
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x)
    ...         return x
    >>> list(Stack().state_dict())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._modules: list[Module] = []
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Put one more at the end; returns the list."""
        if not isinstance(module, Module):
            raise ArgumentError(f"ModuleList takes modules, got {module!r}")
        module.set_place(f"{self.place}.{len(self._modules)}")
        self._modules.append(module)
        return self

    def children(self) -> Iterator[tuple[str, Module]]:
        return ((str(i), module) for i, module in enumerate(self._modules))

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return self._modules[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)
