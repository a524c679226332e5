"""Models as text: the tree that ``print(model)`` shows, and a table of parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fpemu.autograd.tensor import Tensor
from fpemu.nn.module import Module
from fpemu.text import table


def summary(model: Module) -> str:
    """One line for each layer: name, type, shapes of its parameters, how many, and their formats.

    Layers without parameters are listed, too. Parameters that are used in several places count once.
    Buffers are listed with their layer, and neither counted nor seen in the formats.

    >>> from fpemu import nn
    >>> print(summary(nn.mlp([64, 32, 10])))
    layer  type    shapes                      parameters  format
    -----  ------  --------------------------  ----------  ------
    0      Linear  weight (32, 64), bias (32)        2080  fp32
    1      ReLU    -                                    -  -
    2      Linear  weight (10, 32), bias (10)         330  fp32
    total          -                                 2410  fp32
    """
    rows, seen = [], set[int]()
    for name, module in model.named_modules():
        own = _own(module)
        if not own and list(module.children()):
            continue
        trained = [t for _, t in own if t.requires_grad and id(t) not in seen]
        seen |= {id(t) for t in trained}
        shapes = ", ".join(f"{key} ({', '.join(map(str, t.shape))})" for key, t in own)
        counted = f"{sum(t.size for t in trained)}" if trained else "-"
        kind = type(module).__name__
        rows.append([name or "-", kind, shapes or "-", counted, _formats(trained)])
    every = model.parameters()
    rows.append(["total", "", "-", f"{sum(p.size for p in every)}", _formats(every)])
    return table(["layer", "type", "shapes", "parameters", "format"], rows)


def tree(model: Module) -> str:
    """The modules inside each other as PyTorch prints them, each with its own parameters; then the
    number of all parameters and the bytes that they take.

    >>> from fpemu import nn
    >>> print(tree(nn.mlp([64, 32, 10])))
    Sequential(
      (0): Linear(64, 32)  # 2080 parameters in fp32
      (1): ReLU()
      (2): Linear(32, 10)  # 330 parameters in fp32
    )
    2410 parameters, 9640 bytes
    """
    every = model.parameters()
    bits = sum(p.size * p.format.bits for p in every)
    total = f"{sum(p.size for p in every)} parameters, {math.ceil(bits / 8)} bytes"
    return "\n".join([*_lines(model, "", ""), total])


def _lines(module: Module, before: str, indent: str) -> Iterable[str]:
    own = [t for _, t in _own(module) if t.requires_grad]
    note = f"  # {sum(t.size for t in own)} parameters in {_formats(own)}" if own else ""
    head, said = f"{indent}{before}{type(module).__name__}(", module.extra_repr()
    children = list(module.children())
    if not children:
        yield f"{head}{said}){note}"
        return
    yield head if said else head + note
    if said:
        yield f"{indent}  {said}{note}"
    for name, child in children:
        yield from _lines(child, f"({name}): ", indent + "  ")
    yield indent + ")"


def _own(module: Module) -> list[tuple[str, Tensor]]:
    """The module's tensors, without those of modules below it."""
    return [(name, v) for name, v in vars(module).items() if isinstance(v, Tensor)]


def _formats(tensors: Iterable[Tensor]) -> str:
    names = dict.fromkeys(t.format.name for t in tensors)
    return ", ".join(names) or "-"
