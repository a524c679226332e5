"""Adagrad: gradients divided by the root of the sum of all their squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fpemu.arrays import Array
from fpemu.optim.optimizer import Group, Optimizer, check
from fpemu.optim.sgd import decayed
from fpemu.optim.steps import Step, Steps
from fpemu.optim.update import State


class Adagrad(Optimizer):
    """``sum += g * g; weight -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum) + eps)``.

    ``g = gradient + weight_decay * weight``; the sum starts at `initial_accumulator_value`. The decayed
    learning rate is computed in float64 and then rounded once. The sum only grows: in few bits it
    soon stops growing.

    `lr` is positive, the other numbers at least 0, else `ArgumentError`. Formats, roundings, NaN and what
    is counted: `Optimizer`; the sum has the format `variance`. Source: Duchi et al. 2011;
    torch.optim.Adagrad, whose order of operations this is.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "fp32"), requires_grad=True)
    >>> weight.grad = fp.array([3.0], "fp32")
    >>> Adagrad([weight], lr=0.25).step()
    >>> weight.data
    fp.array([0.75], fp.FP32)
    """

    moments = ("sum",)

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
        fma: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
            fma=fma,
        )

    def _check(self, group: Group, *, started: bool = False) -> None:
        super()._check(group, started=started)
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            check(group[name], name, least=0.0)

    def _step(
        self, steps: Steps, state: State, group: Group, weight: Array, gradient: Array
    ) -> tuple[Array, Step]:
        gradient = decayed(steps, gradient, weight, group["weight_decay"])
        total = state.get("sum")
        if total is None:
            start = group["initial_accumulator_value"]
            total = steps.zeros(weight.shape, start, role="variance")
        names = {"where": "sum", "product": "square", "role": steps.kept("variance")}
        total = steps.add_product(total, gradient, gradient, **names)
        total = steps.keep(state, "sum", total, "variance")
        root = steps("sqrt", total, where="root")
        denominator = steps("add", root, steps.number_of(group["eps"]), where="denominator")
        lr = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        scaled = steps("multiply", gradient, steps.number_of(lr), where="scaled_gradient")
        return weight, Step(steps("divide", scaled, denominator, where="step"), gradient)
