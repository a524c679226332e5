"""Schedules of the learning rate: PyTorch's names, arguments and numbers.

A schedule is made with an optimizer, whose learning rates it sets at once, and goes on by `step`, after
the optimizer's own: once an epoch or once an update, whatever its numbers count. Rates are float64
and computed from the one before, in PyTorch's order of operations; the optimizer rounds them to
the format of its update.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fpemu.errors import ArgumentError
from fpemu.optim.optimizer import Optimizer, check


class LRScheduler:
    """What all schedules have in common; a new one defines `following` and, if it can be in a
    `SequentialLR`, `closed`.

    `last_epoch` is the number of steps so far, -1 for a fresh start; another says that the optimizer's
    state ("lr" and "initial_lr") is that after so many.

    >>> import fpemu as fp
    >>> sgd = fp.optim.SGD([fp.Tensor([1.0], requires_grad=True)], lr=0.5)
    >>> class Halving(LRScheduler):
    ...     def following(self, lr, base, group):
    ...         return lr / 2 if self.last_epoch else lr
    >>> schedule = Halving(sgd)
    >>> schedule.step()
    >>> sgd.lr
    0.25
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"a schedule takes an optimizer of fpemu.optim, got {optimizer!r}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"group {i} has no initial_lr to go on from after last_epoch={last_epoch}; load the "
                    "optimizer's state first, or leave last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def following(self, lr: float, base: float, group: int) -> float:
        """The rate of a group at step `last_epoch`, from the one before and the first."""
        raise NotImplementedError

    def closed(self, base: float) -> float | None:
        """The rate at step `last_epoch` from the first alone, or None."""
        return None

    def step(self) -> None:
        """Set the next learning rates."""
        self.last_epoch += 1
        self._set(starting=False)

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, of each group."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain data; functions are left out."""
        kept = {k: v for k, v in vars(self).items() if k != "optimizer" and not _function(v)}
        return {k: list(v) if isinstance(v, list) else v for k, v in kept.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the optimizer's rates are in its own state.

        Raises `ArgumentError` for the state of another kind of schedule.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ArgumentError(
                f"the state of a {type(self).__name__} has {sorted(own)}, got {sorted(state)}"
            )
        vars(self).update(state)

    def _begin(self) -> None:
        self.last_epoch += 1
        self._set(starting=True)

    def _start_over(self) -> None:
        """Set the rates of step 0, as in the middle of a sequence."""
        self.last_epoch = 0
        self._set(starting=False, closed=True)

    def _set(self, *, starting: bool, closed: bool = False) -> None:
        self._starting = starting
        for i, (group, base) in enumerate(
            zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ):
            at_once = self.closed(base) if closed else None
            group["lr"] = self.following(group["lr"], base, i) if at_once is None else at_once
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        hidden = ("optimizer", "base_lrs", "last_epoch")
        shown = {k: v for k, v in vars(self).items() if k not in hidden and k[0] != "_"}
        options = ", ".join(f"{k}={v!r}" for k, v in shown.items())
        return f"{type(self).__name__}({options}) at step {self.last_epoch}"


def _function(value: Any) -> bool:
    return isinstance(value, list) and any(map(callable, value))


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a positive integer, got {value!r}")


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` steps.

    >>> import fpemu as fp
    >>> sgd = fp.optim.SGD([fp.Tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule, rates = StepLR(sgd, step_size=2, gamma=0.5), []
    >>> for _ in range(5):
    ...     rates.append(sgd.lr)
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        _whole(step_size, "step_size")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """Multiplied at multiples of `step_size`."""
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if due else lr

    def closed(self, base: float) -> float:
        """``base * gamma ** (last_epoch // step_size)``."""
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the `milestones` (twice where one is named twice)."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """Multiplied at milestones."""
        times = Counter(self.milestones)[self.last_epoch]
        return lr * self.gamma**times if times else lr

    def closed(self, base: float) -> float:
        """``base * gamma ** (milestones so far)``."""
        return base * self.gamma ** bisect_right(self.milestones, self.last_epoch)


class ExponentialLR(LRScheduler):
    """The rate times `gamma` at every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """Multiplied but at the start."""
        return lr if self._starting else lr * self.gamma

    def closed(self, base: float) -> float:
        """``base * gamma ** last_epoch``."""
        return base * self.gamma**self.last_epoch


class LinearLR(LRScheduler):
    """A warm-up: the factor goes from `start_factor` to `end_factor` in `total_iters` equal steps.

    `start_factor` is above 0 and at most 1, `end_factor` from 0 to 1, else `ArgumentError`.

    >>> import fpemu as fp
    >>> sgd = fp.optim.SGD([fp.Tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule, rates = LinearLR(sgd, start_factor=0.25, total_iters=3), []
    >>> for _ in range(5):
    ...     rates.append(sgd.lr)
    ...     schedule.step()
    >>> rates
    [0.125, 0.25, 0.375, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ArgumentError(f"start_factor must be above 0 and at most 1, got {start_factor!r}")
        if not 0 <= end_factor <= 1:
            raise ArgumentError(f"end_factor must be from 0 to 1, got {end_factor!r}")
        _whole(total_iters, "total_iters")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """Multiplied by the quotient of two factors."""
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._starting or self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return lr * (1.0 + rise / before)

    def closed(self, base: float) -> float:
        """``base`` times the factor."""
        done = min(self.total_iters, self.last_epoch)
        rise = self.end_factor - self.start_factor
        return base * (self.start_factor + rise * done / self.total_iters)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine, from the first rate down to `eta_min` in `T_max` steps (and up again, if it goes on).

    Source: Loshchilov and Hutter 2017, without the restarts.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        _whole(T_max, "T_max")
        check(eta_min, "eta_min", least=0.0)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """The distance to `eta_min` multiplied by the quotient of two cosines plus 1."""
        if self._starting:
            return lr
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # that quotient would be 0/0
            return lr + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        now, before = self._height(self.last_epoch), self._height(self.last_epoch - 1)
        return now / before * (lr - self.eta_min) + self.eta_min

    def closed(self, base: float) -> float:
        """``eta_min + (base - eta_min) * (1 + cos(pi * last_epoch / T_max)) / 2``."""
        return self.eta_min + (base - self.eta_min) * self._height(self.last_epoch) / 2

    def _height(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)


class LambdaLR(LRScheduler):
    """The first rate times ``lr_lambda(last_epoch)``; one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        count = len(optimizer.param_groups) if isinstance(optimizer, Optimizer) else 1
        self.lr_lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != count:
            raise ArgumentError(
                f"lr_lambda must be one function or {count}, got {len(self.lr_lambdas)}"
            )
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base: float, group: int) -> float:
        """The function's factor of the first rate."""
        return base * self.lr_lambdas[group](self.last_epoch)


class SequentialLR(LRScheduler):
    """One schedule after another: the next takes over, from its own step 0, at each of the `milestones`.

    >>> import fpemu as fp
    >>> sgd = fp.optim.SGD([fp.Tensor([1.0], requires_grad=True)], lr=0.5)
    >>> parts = [LinearLR(sgd, start_factor=0.25, total_iters=3), StepLR(sgd, 1, gamma=0.5)]
    >>> schedule, rates = SequentialLR(sgd, parts, milestones=[3]), []
    >>> for _ in range(6):
    ...     rates.append(sgd.lr)
    ...     schedule.step()
    >>> rates
    [0.125, 0.25, 0.375, 0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"{len(schedulers)} schedules need {max(len(schedulers) - 1, 0)} milestones between them, "
                f"got {len(milestones)}"
            )
        if any(s.optimizer is not optimizer for s in schedulers):
            raise ArgumentError("all schedules of a sequence must be made with its optimizer")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self._begin()

    def _begin(self) -> None:
        # Each of the parts has set its first rate when it was made: that is taken back.
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._take_back()
        first = self.schedulers[bisect_right(self.milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def _start_over(self) -> None:
        self.last_epoch = 0
        first = self.schedulers[bisect_right(self.milestones, 0)]
        first._start_over()
        self._last_lr = first.get_last_lr()

    def _take_back(self) -> None:
        for part in self.schedulers:
            if isinstance(part, SequentialLR):
                part._take_back()
            else:
                part.last_epoch -= 1

    def step(self) -> None:
        """Set the next learning rates."""
        self.last_epoch += 1
        number = bisect_right(self.milestones, self.last_epoch)
        part = self.schedulers[number]
        if number > 0 and self.milestones[number - 1] == self.last_epoch:
            part._start_over()
        else:
            part.step()
        self._last_lr = part.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain data, with the states of the parts."""
        state = {k: v for k, v in vars(self).items() if k not in ("optimizer", "schedulers")}
        state = {k: list(v) if isinstance(v, list) else v for k, v in state.items()}
        return {**state, "schedulers": [part.state_dict() for part in self.schedulers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the optimizer's rates are in its own state."""
        parts = state.get("schedulers", ())
        if state.keys() != self.state_dict().keys() or len(parts) != len(self.schedulers):
            raise ArgumentError("this is not the state of such a sequence of schedules")
        for part, saved in zip(self.schedulers, parts, strict=True):
            part.load_state_dict(saved)
        vars(self).update({k: v for k, v in state.items() if k != "schedulers"})
