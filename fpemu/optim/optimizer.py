"""`Optimizer`: groups of parameters, their state, and one update after the other."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fpemu import events
from fpemu.arrays import Array
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import Format
from fpemu.optim import saved
from fpemu.optim.steps import Step, Steps, of_weight, read_as
from fpemu.optim.update import RULES, State, storage_of, stored_number
from fpemu.policy import Policy, current
from fpemu.scaling.loss_scale import in_fp32

Group = dict[str, Any]


class Optimizer:
    """What all optimizers have in common.

    `parameters` are tensors, or as in PyTorch groups of them, each a dict with "params" and whatever
    options are other there: ``[{"params": ..., "lr": 0.01}, {"params": ...}]``. The groups are
    `param_groups`; their options may be changed at any time, as schedules change "lr". `state` holds
    what is kept for each parameter, under PyTorch's names.

    A step goes by the policy in force (`fp.train` enters it; in loops of one's own write
    ``with policy: optimizer.step()``), without one in FP32's manner:

    - An update is computed in the format `update_in`, by default that of the stored weight, step by
      step: each operation is rounded once at a place ``<layer>/update/<weight>/...``, moments to the
      formats `momentum` and `variance`. Options such as `lr` are rounded to the update's format.
    - Where `update_in` is given the update is one fused kernel: nothing between is rounded to the
      formats of weights and moments, only what is kept ("store").
    - The new weight is made by the rule `update` of the policy (`fpemu.optim.update`).
    - With ``fma=True`` products that are only added to something are not rounded by themselves, as
      in PyTorch's CPU kernels on processors with fused multiply-add.

    A nonzero update that changes neither the weight nor what the rule keeps beside it is
    *absorbed*: event "swamped" of operation "absorbed" at ``<layer>/update/<weight>``. NaN and
    infinite gradients go through the arithmetic as IEEE 754 says; nothing is skipped but
    parameters without a gradient.
    """

    moments: ClassVar[tuple[str, ...]] = ()  # names of the arrays in a parameter's state

    def __init__(self, parameters: Iterable[Any], **defaults: Any) -> None:
        self.defaults = {**defaults, "maximize": bool(defaults.get("maximize", False))}
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self.steps = 0
        self._cache: dict[Tensor, tuple[Policy, str | None, Format, Steps]] = {}
        given = list(parameters)
        groups = given if given and isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)
        if not self.parameters:
            raise ArgumentError(f"{self._name} has no parameters to train")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Train more parameters; options that `group` does not name are those of the optimizer."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise ArgumentError(f'a group is a dict with "params", got {group!r}')
        for option in group:
            if option not in ("params", "initial_lr", *self.defaults):
                raise unknown(f"option of {self._name}", option, self.defaults)
        given = group["params"]
        tensors = [given] if isinstance(given, Tensor) else list(given)
        for p in tensors:
            if not isinstance(p, Tensor):
                raise ArgumentError(f"{self._name} takes a model's parameters (tensors), got {p!r}")
        added = {**self.defaults, **group, "params": tensors}
        self._check(added)
        everything = [id(p) for p in (*self.parameters, *tensors)]
        if len(set(everything)) != len(everything):
            raise ArgumentError("a parameter is given twice; one group can train it")
        self.param_groups.append(added)

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters of all groups."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self, *, divide_by: float = 1.0, saturation: str | None = None) -> None:
        """Update all parameters that have a gradient; gradients are first divided by `divide_by`.

        `divide_by` is the loss scale that `backward` was given, rounded to FP32: a positive
        number of FP32's range, else `ArgumentError`. `saturation` is by default the policy's.
        """
        divide_by, policy = in_fp32(divide_by, "divide_by"), current()
        for group in self.param_groups:
            self._check(group, started=True)
        self.steps += 1
        if saturation == policy.saturation:
            saturation = None  # so that the policy can say something else of a module
        number = 0
        for group in self.param_groups:
            for p in group["params"]:
                number += 1
                if p.grad is not None:
                    # Parameters without a name would share their random bits.
                    count = f"{self.steps}" if p.name else f"{self.steps}/{number}"
                    self._update(p, p.grad, group, policy, divide_by, saturation, count)

    def _update(
        self,
        p: Tensor,
        gradient: Array,
        group: Group,
        policy: Policy,
        divide_by: float,
        saturation: str | None,
        number: str,
    ) -> None:
        steps, rule = self._steps(p, policy, saturation)
        steps.fma, steps.number = group["fma"], number
        state = self.state.setdefault(p, {"step": 0})
        state["step"] += 1
        beside = [state.get(key) for key in saved.BESIDE]
        weight = read_as(stored_number(rule, p.data, state), steps.format)
        direction = steps.gradient(gradient, divide_by, maximize=group["maximize"])
        shrunk, step = self._step(steps, state, group, weight, direction)
        new = RULES[rule](steps, shrunk, step, state)
        if events.active():
            wanted = _nonzero(step.direction) & (group["lr"] != 0)
            if shrunk is not weight:
                wanted |= _nonzero(weight)
            kept = new._values == p.data._values
            for before, key in zip(beside, saved.BESIDE, strict=True):
                kept &= _same(before, state.get(key))
            events.record(
                f"{steps.site.place}/{steps.at}",
                "absorbed",
                new.format.name,
                {
                    "values": new.size,
                    "nonzero": int(np.count_nonzero(wanted)),
                    "swamped": int(np.count_nonzero(wanted & kept)),
                },
            )
        p.data = new

    def _steps(self, p: Tensor, policy: Policy, saturation: str | None) -> tuple[Steps, str]:
        """The rounded operations on a parameter, and the name of its rule."""
        found = self._cache.get(p)
        if found is None or found[:3] != (policy, saturation, p.data.format):
            own = policy.at(p.name.rpartition("/")[0])
            stored = storage_of(own.update, p.data, own.update_in)
            made = of_weight(policy, p.name, stored, saturation=saturation)
            made.rule = own.update
            found = self._cache[p] = (policy, saturation, p.data.format, made)
        return found[3], found[3].rule

    def _step(
        self, steps: Steps, state: State, group: Group, weight: Array, gradient: Array
    ) -> tuple[Array, Step]:
        """The weight (shrunk, where weight decay is decoupled) and what is to be subtracted from it."""
        raise NotImplementedError

    # -- options ------------------------------------------------------------------------------

    def _check(self, group: Group, *, started: bool = False) -> None:
        """Refuse options that cannot be meant; a schedule may have set "lr" to 0."""
        lr = group["lr"]
        if not started or lr != 0:
            check(lr, "lr", above=0.0)

    # -- saving -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, beside the weights, in PyTorch's layout.

        "state" holds what is kept of each parameter by its number, arrays as ``{"codes": ...,
        "format": ...}``; "param_groups" the options, with numbers for "params"; "steps" the number of
        steps, on which random bits depend. Everything is a copy.
        """
        return saved.written(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, here or in PyTorch (arrays then keep their dtype's format).

        Raises `ArgumentError`, with nothing changed, if groups, parameters, names or shapes do not
        agree.
        """
        saved.restore(self, state)

    def __repr__(self) -> str:
        said = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v!r}" for k, v in group.items() if k != "params")
            said.append(f"{'' if i == 0 else '; '}{len(group['params'])} parameters, {options}")
        return f"{self._name}({''.join(said)})"


def check(
    value: object,
    name: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float = float("inf"),
) -> None:
    """Raise `ArgumentError` unless `value` is a number in that range."""
    number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    low = number and (value > above if above is not None else value >= least)  # type: ignore[operator]
    if low and value < below:  # type: ignore[operator]
        return
    if above is not None:
        wanted = "a positive finite number"
    else:
        wanted = f"at least {least:g} and " + (f"below {below:g}" if below < np.inf else "finite")
    raise ArgumentError(f"{name} must be {wanted}, got {value!r}")


def _nonzero(x: Array) -> np.ndarray:
    return (x._values != 0) & np.isfinite(x._values)


def _same(before: Any, after: Any) -> Any:
    """Where what is kept beside a weight has not changed; nothing kept is zeros."""
    if after is None:
        return True
    now = after._values if isinstance(after, Array) else after
    if before is None:
        return now == 0
    return now == (before._values if isinstance(before, Array) else before)
