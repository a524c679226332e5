"""RMSprop: gradients divided by the root of their running mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fpemu.arrays import Array
from fpemu.optim.optimizer import Group, Optimizer, check
from fpemu.optim.sgd import decayed
from fpemu.optim.steps import Step, Steps
from fpemu.optim.update import State


class RMSprop(Optimizer):
    """``mean_square = alpha * mean_square + (1 - alpha) * g * g; weight -= lr * g / (root + eps)``.

    ``g = gradient + weight_decay * weight`` and ``root = sqrt(mean_square)``; with `centered` the square of
    the running mean of g is first taken off. With `momentum` the weight moves by lr times
    ``velocity = momentum * velocity + g / (root + eps)``.

    `lr` is positive, `alpha` from 0 to below 1, `eps`, `momentum` and `weight_decay` at least 0, else
    `ArgumentError`. Formats, roundings, NaN and what is counted: `Optimizer`; `momentum` is the format
    of the velocity and of the mean, `variance` that of the mean square. Sources: Tieleman and Hinton
    2012, Graves 2013 (centered); torch.optim.RMSprop, whose order of operations this is.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "fp32"), requires_grad=True)
    >>> weight.grad = fp.array([2.0], "fp32")
    >>> RMSprop([weight], lr=0.125, alpha=0.75).step()  # 1 - 0.125 * 2 / sqrt(0.25 * 4)
    >>> weight.data
    fp.array([0.75], fp.FP32)
    """

    moments = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
        fma: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
            fma=fma,
        )

    def _check(self, group: Group, *, started: bool = False) -> None:
        super()._check(group, started=started)
        check(group["alpha"], "alpha", least=0.0, below=1.0)
        for name in ("eps", "weight_decay", "momentum"):
            check(group[name], name, least=0.0)

    def _step(
        self, steps: Steps, state: State, group: Group, weight: Array, gradient: Array
    ) -> tuple[Array, Step]:
        gradient = decayed(steps, gradient, weight, group["weight_decay"])
        square = state.get("square_avg")
        if square is None:
            square = steps.zeros(weight.shape, role="variance")
        square = steps.mean_square(square, gradient, group["alpha"])
        square = steps.keep(state, "square_avg", square, "variance")
        if group["centered"]:
            square = self._centered(steps, state, group, square, gradient)
        root = steps("sqrt", square, where="root")
        denominator = steps("add", root, steps.number_of(group["eps"]), where="denominator")
        lr = steps.number_of(group["lr"])
        if group["momentum"]:
            velocity = self._velocity(steps, state, group, gradient, denominator)
            return weight, Step(velocity, velocity, lr)
        scaled = steps("multiply", gradient, lr, where="scaled_gradient")
        return weight, Step(steps("divide", scaled, denominator, where="step"), gradient)

    def _centered(
        self, steps: Steps, state: State, group: Group, square: Array, gradient: Array
    ) -> Array:
        """The mean square less the square of the mean."""
        mean = state.get("grad_avg")
        if mean is None:
            mean = steps.zeros(gradient.shape, role="momentum")
        role = steps.kept("momentum")
        mean = steps.between(mean, gradient, 1 - group["alpha"], where="mean", role=role)
        mean = steps.keep(state, "grad_avg", mean, "momentum")
        negative = Array(-mean._values, mean.format)
        names = {"where": "centered", "product": "mean_square"}
        return steps.add_product(square, negative, mean, **names)

    def _velocity(
        self, steps: Steps, state: State, group: Group, gradient: Array, denominator: Array
    ) -> Array:
        velocity = state.get("momentum_buffer")
        if velocity is None:
            velocity = steps.zeros(gradient.shape, role="momentum")
        momentum = steps.number_of(group["momentum"])
        faded = steps("multiply", velocity, momentum, where="decay")
        quotient = steps("divide", gradient, denominator, where="quotient")
        role = steps.kept("momentum")
        velocity = steps("add", faded, quotient, where="velocity", role=role)
        return steps.keep(state, "momentum_buffer", velocity, "momentum")
