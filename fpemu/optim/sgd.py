"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fpemu.arrays import Array
from fpemu.errors import ArgumentError
from fpemu.optim.optimizer import Group, Optimizer, check
from fpemu.optim.steps import Step, Steps
from fpemu.optim.update import State


class SGD(Optimizer):
    """``velocity = momentum * velocity + (1 - dampening) * g; weight -= lr * velocity``.

    ``g = gradient + weight_decay * weight``; the first velocity is g. With `nesterov` the weight moves
    along ``g + momentum * velocity``; with momentum 0 along g, and nothing is kept.

    `lr` is positive, `momentum` from 0 to below 1, `dampening` and `weight_decay` at least 0; Nesterov's
    momentum needs momentum and no dampening; else `ArgumentError`. Formats, roundings, NaN and
    what is counted: `Optimizer`. Source: torch.optim.SGD, whose order of operations this is.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "bf16"), requires_grad=True)
    >>> weight.grad = fp.array([0.0625], "bf16")
    >>> SGD([weight], lr=0.05).step()  # 1 - 0.003125: half a last place of BF16 is 0.00195
    >>> weight.data
    fp.array([0.99609375], fp.BF16)
    """

    moments = ("momentum_buffer",)

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        fma: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            fma=fma,
        )

    def _check(self, group: Group, *, started: bool = False) -> None:
        super()._check(group, started=started)
        check(group["momentum"], "momentum", least=0.0, below=1.0)
        check(group["dampening"], "dampening", least=0.0)
        check(group["weight_decay"], "weight_decay", least=0.0)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ArgumentError(
                "nesterov=True needs momentum > 0 and dampening=0, got "
                f"momentum={group['momentum']:g} and dampening={group['dampening']:g}"
            )

    def _step(
        self, steps: Steps, state: State, group: Group, weight: Array, gradient: Array
    ) -> tuple[Array, Step]:
        gradient = decayed(steps, gradient, weight, group["weight_decay"])
        if group["momentum"]:
            velocity = self._velocity(steps, state, group, gradient)
            if group["nesterov"]:
                momentum = steps.number_of(group["momentum"])
                names = {"where": "nesterov", "product": "nesterov_velocity"}
                gradient = steps.add_product(gradient, velocity, momentum, **names)
            else:
                gradient = velocity
        return weight, Step(gradient, gradient, steps.number_of(group["lr"]))

    def _velocity(self, steps: Steps, state: State, group: Group, gradient: Array) -> Array:
        previous, where, role = state.get("momentum_buffer"), "velocity", steps.kept("momentum")
        if previous is None:
            velocity = gradient
        else:
            decay = steps.number_of(group["momentum"])
            faded = steps("multiply", previous, decay, where="decay")
            if group["dampening"]:
                share = steps.number_of(1 - group["dampening"])
                names = {"where": where, "product": "dampening", "role": role}
                velocity = steps.add_product(faded, gradient, share, **names)
            else:
                velocity = steps("add", faded, gradient, where=where, role=role)
        return steps.keep(state, "momentum_buffer", velocity, "momentum")


def decayed(steps: Steps, gradient: Array, weight: Array, weight_decay: float) -> Array:
    """gradient + weight_decay * weight, at "decayed_gradient"."""
    if not weight_decay:
        return gradient
    names = {"where": "decayed_gradient", "product": "weight_decay"}
    return steps.add_product(gradient, weight, steps.number_of(weight_decay), **names)
