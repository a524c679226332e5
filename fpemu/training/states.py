"""Nested states (of optimizers, callbacks) as JSON and, beside it, named arrays. No pickle.

Dictionaries, lists, tuples, numbers, strings, None, formats, `Array`s and NumPy arrays are held; what
JSON lacks is a dictionary with one key that begins with "$".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.arrays.storage import field_of, format_of, structured
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import Format


def pack(state: object, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`state` as JSON can hold it; its arrays are put into `arrays` under names below `name`.

    >>> arrays = {}
    >>> packed = pack({"velocity": [None, np.float32([1.5])], "lr": math.inf}, "optimizer", arrays)
    >>> packed
    {'velocity': [None, {'$array': 'optimizer.velocity.1'}], 'lr': {'$float': 'inf'}}
    >>> unpack(packed, arrays)
    {'velocity': [None, array([1.5], dtype=float32)], 'lr': inf}
    """
    if state is None or isinstance(state, (bool, str)):
        return state
    if isinstance(state, np.bool_):
        return bool(state)
    if isinstance(state, (int, np.integer)):
        return int(state)
    if isinstance(state, (float, np.floating)):
        return float(state) if math.isfinite(state) else {"$float": str(float(state))}
    if isinstance(state, Tensor):
        state = state.data
    if isinstance(state, (Array, np.ndarray)):
        arrays[name] = structured(state) if isinstance(state, Array) else state
        if arrays[name].dtype.hasobject:
            raise ArgumentError(f"{name} is an array of Python objects, which no checkpoint holds")
        return {"$array": name}
    if isinstance(state, Format):
        return {"$format": field_of(state)}
    if isinstance(state, Mapping):
        items = {key: pack(value, f"{name}.{key}", arrays) for key, value in state.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in items):
            return items
        return {"$items": [[pack(key, name, arrays), value] for key, value in items.items()]}
    if isinstance(state, (list, tuple)):
        listed = [pack(value, f"{name}.{i}", arrays) for i, value in enumerate(state)]
        return listed if isinstance(state, list) else {"$tuple": listed}
    raise ArgumentError(
        f"{name} is of type {type(state).__name__}, which no checkpoint holds; a state_dict may hold "
        "dictionaries, lists, numbers, strings, None, formats and arrays"
    )


def unpack(packed: Any, arrays: Mapping[str, Any]) -> Any:
    """The state that `pack` was given; `KeyError` or `ValueError` if that is no packed state."""
    if isinstance(packed, list):
        return [unpack(value, arrays) for value in packed]
    if not isinstance(packed, dict):
        return packed
    if len(packed) != 1 or not next(iter(packed)).startswith("$"):
        return {key: unpack(value, arrays) for key, value in packed.items()}
    ((kind, value),) = packed.items()
    if kind == "$array":
        return arrays[value]
    if kind == "$float":
        return float(value)
    if kind == "$tuple":
        return tuple(unpack(v, arrays) for v in value)
    if kind == "$items":
        return {unpack(k, arrays): unpack(v, arrays) for k, v in value}
    if kind == "$format":
        f = format_of(np.dtype([(value, "u1")]))
        if f is not None:
            return f
    raise ValueError(f"{kind} says nothing")


def json_text(value: object) -> str:
    """`value` as standard JSON: infinities and NaN become strings ("nan", "inf", "-inf")."""
    return json.dumps(_standard(value), allow_nan=False)


def _standard(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _standard(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(v) for v in value]
    return value


def number(value: Any) -> Any:
    """What `json_text` made of a number, as a number again; all else as it is."""
    return float(value) if value in ("nan", "inf", "-inf") else value
