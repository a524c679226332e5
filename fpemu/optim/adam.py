"""Adam, and AdamW, which takes weight decay out of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fpemu.arrays import Array
from fpemu.optim.optimizer import Group, Optimizer, check
from fpemu.optim.sgd import decayed
from fpemu.optim.steps import Step, Steps
from fpemu.optim.update import State


class Adam(Optimizer):
    """``weight -= lr / c1 * mean / (sqrt(mean_square) / sqrt(c2) + eps)``.

    ``mean += (1 - beta1) * (g - mean)`` and ``mean_square = beta2 * mean_square + (1 - beta2) * g * g`` with
    ``g = gradient + weight_decay * weight``; c1 = 1 - beta1**step and c2 = 1 - beta2**step correct for the
    start at zero and are, like lr / c1 and the root of c2, computed in float64 and then rounded once.
    With `amsgrad` the largest mean_square so far takes its place.

    An `eps` of 1e-8 is zero in FP16: a gradient that was always zero then gives 0/0, NaN, as in
    PyTorch. `lr` is positive, `betas` from 0 to below 1, `eps` and `weight_decay` at least 0, else
    `ArgumentError`. Formats, roundings, NaN and what is counted: `Optimizer`. Sources: Kingma and Ba
    2015, Reddi et al. 2018; torch.optim.Adam, whose order of operations this is.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "fp32"), requires_grad=True)
    >>> weight.grad = fp.array([0.5], "fp32")
    >>> Adam([weight], lr=0.25).step()  # the first step is lr whatever the gradient
    >>> weight.data
    fp.array([0.75], fp.FP32)
    """

    moments = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        fma: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            betas=tuple(betas),
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            fma=fma,
        )

    def _check(self, group: Group, *, started: bool = False) -> None:
        super()._check(group, started=started)
        for i, beta in enumerate(group["betas"]):
            check(beta, f"betas[{i}]", least=0.0, below=1.0)
        check(group["eps"], "eps", least=0.0)
        check(group["weight_decay"], "weight_decay", least=0.0)

    def _step(
        self, steps: Steps, state: State, group: Group, weight: Array, gradient: Array
    ) -> tuple[Array, Step]:
        lr, (beta1, beta2), count = group["lr"], group["betas"], float(state["step"])
        if self.decoupled:
            if group["weight_decay"]:
                rest = steps.number_of(1 - lr * group["weight_decay"])
                weight = steps("multiply", weight, rest, where="weight_decay", role="result")
        else:
            gradient = decayed(steps, gradient, weight, group["weight_decay"])
        mean, square = state.get("exp_avg"), state.get("exp_avg_sq")
        if mean is None or square is None:
            mean, square = (steps.zeros(weight.shape, role=r) for r in ("momentum", "variance"))
        role = steps.kept("momentum")
        mean = steps.between(mean, gradient, 1 - beta1, where="mean", role=role)
        mean = steps.keep(state, "exp_avg", mean, "momentum")
        square = steps.mean_square(square, gradient, beta2)
        square = steps.keep(state, "exp_avg_sq", square, "variance")
        if group["amsgrad"]:
            square = self._largest(steps, state, square)
        correction = (1 - beta2**count) ** 0.5
        root = steps("sqrt", square, where="root")
        root = steps("divide", root, steps.number_of(correction), where="corrected_root")
        denominator = steps("add", root, steps.number_of(group["eps"]), where="denominator")
        size = steps.number_of(lr / (1 - beta1**count))
        scaled = steps("multiply", mean, size, where="scaled_mean")
        return weight, Step(steps("divide", scaled, denominator, where="step"), mean)

    def _largest(self, steps: Steps, state: State, square: Array) -> Array:
        before = state.get("max_exp_avg_sq")
        if before is None:
            before = steps.zeros(square.shape, role="variance")
        role = steps.kept("variance")
        before, square = (steps.as_role(x, role, where="largest") for x in (before, square))
        largest = steps("maximum", before, square, where="largest", role=role)
        return steps.keep(state, "max_exp_avg_sq", largest, "variance")


class AdamW(Adam):
    """Adam with decoupled weight decay: first ``weight *= 1 - lr * weight_decay``, then Adam's step.

    The factor is rounded once to the format of the update: in BF16 it is 1 unless lr * weight_decay is
    above 0.00195, and then the decay is lost, whatever the update rule. FP32 master weights, the rule
    "remainder" and ``update_in=fp32`` with the rule "kahan" or "stochastic" lose none. Source: Loshchilov and Hutter 2019; torch.optim.AdamW.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([1.0], "fp32"), requires_grad=True)
    >>> weight.grad = fp.array([0.0], "fp32")
    >>> AdamW([weight], lr=0.25, weight_decay=0.5).step()
    >>> weight.data
    fp.array([0.875], fp.FP32)
    """

    decoupled = True

    def __init__(
        self, parameters: Iterable[Any], *, weight_decay: float = 1e-2, **options: Any
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, **options)
