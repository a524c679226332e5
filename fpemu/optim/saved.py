"""An optimizer's state as plain data: arrays as codes and the names of their formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.convert import decode
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import NAMED, as_format
from fpemu.nn.module import as_numbers

if TYPE_CHECKING:
    from fpemu.optim.optimizer import Optimizer

BESIDE = ("compensation", "remainder")  # what update rules keep beside a weight
# Options of PyTorch's that say how its kernels run, not what they compute.
_OF_PYTORCH = ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay")


def written(optimizer: Optimizer) -> dict[str, Any]:
    """See `Optimizer.state_dict`."""
    numbers = {p: i for i, p in enumerate(optimizer.parameters)}
    groups = [
        {**group, "params": [numbers[p] for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    state = {
        numbers[p]: {key: _plain(value) for key, value in kept.items()}
        for p, kept in optimizer.state.items()
    }
    return {"state": state, "param_groups": groups, "steps": optimizer.steps}


def restore(optimizer: Optimizer, given: Mapping[str, Any]) -> None:
    """See `Optimizer.load_state_dict`."""
    missing = [key for key in ("state", "param_groups") if key not in given]
    if missing:
        raise ArgumentError(f"the state of an optimizer lacks {missing}")
    groups, parameters = given["param_groups"], optimizer.parameters
    sizes = [len(group["params"]) for group in groups]
    own = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != own:
        raise ArgumentError(f"the state has groups of {sizes} parameters, the optimizer of {own}")
    numbers = [number for group in groups for number in group["params"]]
    by_number = dict(zip(numbers, parameters, strict=True))
    state = {}
    for number, kept in given["state"].items():
        if number not in by_number:
            raise ArgumentError(
                f"the state has a parameter {number!r} that is in none of its groups"
            )
        state[by_number[number]] = _read(optimizer, kept, number, by_number[number].shape)
    new = []
    for group, present in zip(groups, optimizer.param_groups, strict=True):
        options = {k: v for k, v in group.items() if k != "params" and k not in _OF_PYTORCH}
        for option in options:
            if option not in ("initial_lr", *optimizer.defaults):
                raise unknown(f"option of {type(optimizer).__name__}", option, optimizer.defaults)
        new.append({**present, **options})
        optimizer._check(new[-1], started=True)
    optimizer.param_groups[:] = new
    optimizer.state = state
    optimizer.steps = int(given.get("steps", max((s["step"] for s in state.values()), default=0)))


def _plain(value: Any) -> Any:
    if not isinstance(value, Array):
        return value.copy() if isinstance(value, np.ndarray) else value
    named = NAMED.get(value.format.name) == value.format
    return {
        "codes": value.codes.copy(),
        "format": value.format.name if named else value.format,
    }


def _read(optimizer: Optimizer, kept: Mapping[str, Any], number: object, shape: tuple) -> dict:
    """What is kept of one parameter, checked."""
    allowed = (*optimizer.moments, *BESIDE)
    read: dict[str, Any] = {"step": int(as_numbers(kept.get("step", 0)))}
    for key, value in kept.items():
        if key == "step" or value is None:
            continue
        if key not in allowed:
            raise unknown(f"state of {type(optimizer).__name__}", key, ("step", *allowed))
        if isinstance(value, Mapping):
            f = as_format(value["format"])
            value = Array(decode(value["codes"], f), f)
        elif key == "remainder":
            value = np.array(value, np.uint16)
        else:
            value = asarray(as_numbers(value))
        if value.shape != shape:
            raise ArgumentError(
                f"{key} of parameter {number} has shape {value.shape}, the parameter {shape}"
            )
        read[key] = value
    return read
