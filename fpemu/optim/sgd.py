"""Stochastic gradient descent in the weights' storage format."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fpemu import elementwise, events
from fpemu.arrays import Array
from fpemu.autograd.tensor import Tensor
from fpemu.convert import round_to
from fpemu.errors import ArgumentError
from fpemu.scaling.loss_scale import in_fp32


class SGD:
    """``velocity = momentum * velocity + gradient; weight -= lr * velocity``.

    Every operation is rounded in the format in which the weight is stored (the master weights'
    if the policy has them), at the places ``.../update/*``; so are `lr`, `momentum` and the
    velocity. With momentum 0 there is no velocity. A nonzero update that leaves its weight as it
    was is *absorbed*, and counted as event "swamped" of operation "absorbed". NaN and infinite
    gradients go through the arithmetic as IEEE 754 says; nothing is skipped.

    `parameters` is a sequence of tensors, `lr` positive, `momentum` from 0 to below 1, else
    `ArgumentError`.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "bf16"), requires_grad=True)
    >>> weight.grad = fp.array([0.0625], "bf16")
    >>> SGD([weight], lr=0.05).step()  # 1 - 0.003125: half a last place of BF16 is 0.00195
    >>> weight.data
    fp.array([0.99609375], fp.BF16)
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        lr: float = 0.1,
        momentum: float = 0.0,
    ) -> None:
        if not isinstance(lr, numbers.Real) or not 0 < lr < float("inf"):
            raise ArgumentError(f"lr must be a positive finite number, got {lr!r}")
        if not isinstance(momentum, numbers.Real) or not 0 <= momentum < 1:
            raise ArgumentError(f"momentum must be at least 0 and below 1, got {momentum!r}")
        self.parameters: list[Tensor] = list(parameters)
        wrong = [p for p in self.parameters if not isinstance(p, Tensor)]
        if wrong:
            raise ArgumentError(f"SGD takes a model's parameters (tensors), got {wrong[0]!r}")
        self.lr: float = float(lr)
        self.momentum: float = float(momentum)
        self._velocity: list[Array | None] = [None] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, object]:
        """What is kept from step to step: the velocities, and the numbers that may be changed."""
        return {"lr": self.lr, "momentum": self.momentum, "velocity": list(self._velocity)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another optimizer of the same parameters stood."""
        velocity = list(state["velocity"])
        shapes = [None if v is None else v.shape for v in velocity]
        fits = [s in (None, p.shape) for s, p in zip(shapes, self.parameters, strict=False)]
        if len(velocity) != len(self.parameters) or not all(fits):
            raise ArgumentError("the state is of an optimizer of other parameters")
        self.lr, self.momentum, self._velocity = state["lr"], state["momentum"], velocity

    def step(self, *, divide_by: float = 1.0, saturation: str = "none") -> None:
        """Update all parameters that have a gradient; gradients are first divided by `divide_by`.

        `divide_by` is the loss scale that `backward` was given, rounded to FP32: a positive
        number of FP32's range, else `ArgumentError`.
        """
        divide_by = in_fp32(divide_by, "divide_by")
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                self._update(i, p, p.grad, divide_by, saturation)

    def _update(
        self, i: int, p: Tensor, gradient: Array, divide_by: float, saturation: str
    ) -> None:
        f = p.data.format
        layer, _, name = p.name.rpartition("/")

        def apply(op: str, *operands: np.ndarray, where: str) -> np.ndarray:
            place = f"{layer}/update/{name}/{where}"
            return elementwise.apply(
                op, *operands, f=f, saturation=saturation, place=place, count_as="update"
            )

        def constant(value: float) -> np.ndarray:
            return round_to(np.asarray(value, np.float64), f, saturation, count=False)

        # One rounding, from the gradient's format to the storage format: a quotient of numbers of
        # up to 24 bits lies too far from any tie for float64 to land on it. Wider gradients are
        # first rounded to the storage format, at a place of its own.
        values = gradient._values
        if gradient.format.precision > 24 >= f.precision:
            place = f"{layer}/update/{name}/cast"
            values = round_to(values, f, saturation, place=place, op="update")
        direction = apply("divide", values, np.asarray(divide_by, np.float64), where="unscale")
        if self.momentum:
            previous = self._velocity[i]
            if previous is not None:
                decayed = apply(
                    "multiply", previous._values, constant(self.momentum), where="decay"
                )
                direction = apply("add", decayed, direction, where="velocity")
            self._velocity[i] = Array(direction, f)
        step = apply("multiply", direction, constant(self.lr), where="step")
        new = apply("subtract", p.data._values, step, where="result")
        if events.active():
            wanted = (direction != 0) & np.isfinite(direction)
            absorbed = wanted & (new == p.data._values)
            place = f"{layer}/update/{name}"
            events.record(
                place,
                "absorbed",
                f.name,
                {
                    "values": new.size,
                    "nonzero": int(np.count_nonzero(wanted)),
                    "swamped": int(np.count_nonzero(absorbed)),
                },
            )
        p.data = Array(new, f)
