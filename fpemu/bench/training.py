"""A training step of an MLP and of a CNN, every product and sum rounded, beside plain PyTorch in FP32 at the
same number of threads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fpemu import nn, optim
from fpemu.accumulation import threads
from fpemu.autograd.tensor import Tensor
from fpemu.bench.arrays import Row, median_ratio
from fpemu.bench.peers import LeftOut, torch_threads
from fpemu.bench.products import threads_used
from fpemu.policy import Policy
from fpemu.random import Stream, manual_seed

AGAINST = "PyTorch FP32"
TARGET = 4.0
POLICIES = ("fp16", "fp16_master", "bf16", "fp32")
# Rows of a batch, shape of a row, and how the models are built here and there.
MODELS: dict[str, tuple[int, tuple[int, ...]]] = {
    "mlp 784-256-128-10, batch 64": (64, (784,)),
    "cnn 8 and 16 3x3, 28x28, batch 32": (32, (1, 28, 28)),
}
Step = Callable[[], object]


def rows(repeats: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The measurements: `ratio` is the time of a step relative to PyTorch's."""
    for name in MODELS:
        for text in POLICIES:
            for count in sorted({1, threads.threads()}):
                yield f"{name} {text}, threads: {count}", partial(_row, name, text, count, repeats)


def _row(name: str, text: str, count: int, repeats: int) -> Row:
    if importlib.util.find_spec("torch") is None:
        raise LeftOut("PyTorch (not installed)")
    batch, shape = MODELS[name]
    stream = Stream(0, "bench")
    x = stream.uniform(0.0, 1.0, (batch, *shape)).astype(np.float32)
    y = (stream.uniform(0.0, 10.0, (batch,))).astype(np.int64)
    with threads_used(count), torch_threads(count):
        ratio, seconds = median_ratio(_ours(text, x, y), _theirs(x, y), repeats)
    return Row("train", name, text, "step", AGAINST, ratio, seconds * 1e9, TARGET, count)


def _ours(text: str, x: np.ndarray, y: np.ndarray) -> Step:
    manual_seed(0)
    policy = Policy.parse(text)
    model: nn.Module = nn.mlp([784, 256, 128, 10]) if x.ndim == 2 else nn.cnn((1, 28, 28), 10)
    model.store_in(policy)
    sgd = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rows = Tensor(x)

    def step() -> None:
        model.zero_grad()
        with policy:
            nn.cross_entropy(model(rows), y).backward()
            sgd.step()

    return step


def _theirs(x: np.ndarray, y: np.ndarray) -> Step:
    import torch

    layers: list[Any]
    if x.ndim == 2:
        layers = [torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128)]
        layers += [torch.nn.ReLU(), torch.nn.Linear(128, 10)]
    else:
        layers = []
        for inputs, outputs in ((1, 8), (8, 16)):
            layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1), torch.nn.ReLU()]
            layers += [torch.nn.MaxPool2d(2)]
        layers += [torch.nn.Flatten(), torch.nn.Linear(784, 10)]
    model = torch.nn.Sequential(*layers)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rows, targets = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> None:
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(model(rows), targets).backward()
        sgd.step()

    return step
