"""What a policy does to a model, place by place: found by running the model, not by guessing.

A copy of the model takes one step on a batch, as in training: parameters are stored, then forward,
backward and, if there is one, the optimizer's update. Its operations stand at sites that write down
what they are asked; what is rounded outside of operations (stored parameters, sums of gradients, the
update) is read from a trace. Nothing of the model itself changes.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fpemu import events, text
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.autograd import draws, places
from fpemu.autograd.casts import Cast, Operand
from fpemu.autograd.operations import CROSS_ENTROPY
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.policy import why
from fpemu.random import Stream

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy


@dataclass(frozen=True)
class Row:
    """One place and what happens there.

    `source` are the formats of what comes in, `format` that of what goes out; `happens` is "rounded",
    "as it is" (it has the format already), or "matrix unit" (of what it does inside only the results are
    counted); `sums` is how products or steps are accumulated; `scaling` the rule by which an operand is
    scaled before it is rounded; `decided` the word of the policy that says so; `counted` whether a
    trace counts values here.
    """

    place: str
    role: str
    source: tuple[str, ...]
    format: str
    happens: str
    rounding: str
    saturation: str
    subnormals: str
    scaling: str
    sums: str
    decided: str
    counted: bool = True


COLUMNS = tuple(field.name for field in dataclasses.fields(Row) if field.name != "counted")
# Columns that are left out of the table where they say the usual thing everywhere.
_USUAL = {
    "rounding": "nearest_even",
    "saturation": "none",
    "subnormals": "gradual",
    "scaling": "none",
}


@dataclass(frozen=True)
class Explanation:
    """The places of a model under a policy, in the order in which they are met; prints as a table."""

    policy: str
    rows: tuple[Row, ...]
    unsuited: tuple[str, ...] = ()  # overrides that name a module which the model does not have

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary per row."""
        return [{**dataclasses.asdict(row), "source": list(row.source)} for row in self.rows]

    def __str__(self) -> str:
        notes = "".join(f"\nno such module: {line}" for line in self.unsuited)
        return f"{self.policy}{notes}\n\n{text.table(*self._cells(), left=True)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return text.html_table(*self._cells())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        shown = [
            name
            for name in COLUMNS
            if name not in _USUAL or any(getattr(r, name) != _USUAL[name] for r in self.rows)
        ]
        header = ["from" if n == "source" else "to" if n == "format" else n for n in shown]
        return header, [[_cell(getattr(row, name)) for name in shown] for row in self.rows]


def _cell(value: Any) -> str:
    return (", ".join(value) if isinstance(value, tuple) else str(value)) or "-"


def explain(
    policy: Policy,
    model: Any,
    inputs: Any,
    *,
    loss: Callable[[Tensor], Tensor] | None = None,
    optimizer: Any = None,
) -> Explanation:
    """The table of every place of `model` under `policy`.

    Parameters
    ----------
    model : of `fpemu.nn`; a copy of it runs.
    inputs : a batch, or its shape as a tuple of integers (random numbers of that shape are taken).
    loss : from the model's output to a scalar tensor; by default cross-entropy over the last axis, or
        the output itself if it has one element.
    optimizer : of the model's parameters; its update is listed, too.

    Raises `ArgumentError` for inputs that are neither; what the model raises comes through.
    """
    sample = _sample(inputs)
    model, optimizer = copy.deepcopy((model, optimizer))
    recorder = _Recorder(policy)
    with events.paused(), events.trace() as trace, draws.block(0, 0):
        if hasattr(model, "store_in"):
            model.store_in(policy)
        with policy:
            token = places.provide(recorder.site)
            try:
                end = (loss or _loss)(model(sample))
                if end.requires_grad:  # there is something to learn
                    end.backward(policy.loss_scale)
            finally:
                places.withdraw(token)
            if optimizer is not None:
                optimizer.step(divide_by=policy.loss_scale)
    kinds = {}
    if hasattr(model, "parameters"):
        kinds = {p.name: p.kind for p in model.parameters()}
    outside = list(_outside(policy, trace, {row.place for row in recorder.found()}, kinds))
    before = [row for row in outside if row.role == "init"]
    after = [row for row in outside if row.role != "init"]
    modules = [m.place for m in model.modules()] if hasattr(model, "modules") else None
    unsuited = (str(o) for o in policy.overrides if modules and not o.suits(modules))
    return Explanation(str(policy), (*before, *recorder.found(), *after), tuple(unsuited))


def _sample(inputs: Any) -> Any:
    if isinstance(inputs, tuple) and inputs and all(isinstance(n, int) for n in inputs):
        if min(inputs) < 1:
            raise ArgumentError(f"a batch has at least one of each, got the shape {inputs}")
        return Stream(0, "explain").uniform(-1.0, 1.0, inputs).astype(np.float32)
    if isinstance(inputs, (Tensor, Array, np.ndarray)):
        return inputs
    raise ArgumentError(
        f"explain takes a batch or its shape, such as (32, 784), to run the model on; got {inputs!r}"
    )


def _loss(output: Tensor) -> Tensor:
    if output.size == 1:
        return output
    rows = output.reshape(-1, output.shape[-1])
    return CROSS_ENTROPY(rows, place="loss", targets=np.zeros(rows.shape[0], np.int64))


class _Recorder:
    """Sites that round as the policy's do and write down each thing they are asked."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.rows: dict[tuple[str, ...], Row] = {}

    def found(self) -> list[Row]:
        return list(self.rows.values())

    def site(self, place: str, operation: str, formats: tuple[Format, ...]) -> Site:
        plain = self.policy.site(place, operation, formats)
        settings = {f.name: getattr(plain, f.name) for f in dataclasses.fields(Site) if f.init}
        made = _RecordingSite(**settings)
        object.__setattr__(made, "_seen", _Seen(self, operation, formats))
        return made

    def note(self, row: Row) -> None:
        """A row, or other sources of one that is there already."""
        key = (row.place, row.role, row.format, row.happens)
        before = self.rows.get(key)
        if before is not None:
            source = tuple(dict.fromkeys((*before.source, *row.source)))
            row = dataclasses.replace(before, source=source)
        self.rows[key] = row


@dataclass
class _Seen:
    """What a recording site knows beside its rules: who asks, and what is being rounded right now."""

    recorder: _Recorder
    operation: str
    formats: tuple[Format, ...]
    result: bool = False
    follows: bool = False
    roles: dict[str, str] = field(default_factory=dict)  # the one asked for last, by where


class _RecordingSite(Site):
    """A `Site` whose steps are its base's, each written down."""

    _seen: _Seen

    def _note(
        self,
        role: str,
        where: str,
        rule: Cast,
        source: tuple[Format, ...],
        *,
        result: bool = False,
        happens: str = "rounded",
        sums: str = "",
        counted: bool = True,
    ) -> None:
        seen = self._seen
        policy = seen.recorder.policy
        asked = (self.place, seen.operation, seen.formats, role, where, result)
        decided = "the input's format" if seen.follows else why.decided(policy, *asked)
        scaled = rule.scale_rule is not None and happens == "rounded"
        seen.recorder.note(
            Row(
                f"{self.place}/{where}",
                role,
                tuple(dict.fromkeys(f.name for f in source)),
                rule.format.name,
                happens,
                rule.rounding,
                rule.saturation,
                rule.subnormals,
                "per_tensor" if scaled else "none",
                sums,
                decided,
                counted,
            )
        )

    def _next(self, *, result: bool = False, follows: bool = False) -> None:
        """What is known of the rounding that comes now."""
        self._seen.result, self._seen.follows = result, follows

    def operand(self, x: Array, role: str, where: str) -> Operand:
        self._next()
        read = super().operand(x, role, where)
        rule = self.rule(role, where)
        if x.format == rule.format and "daz" not in rule.subnormals:
            counted = role == "weights"  # others were counted when they were handed on
            self._note(role, where, rule, (x.format,), happens="as it is", counted=counted)
        return read

    def hand_on(self, x: Array, role: str, where: str) -> Array:
        self._next(result=True)
        rule = self.rule(role, where, result=True)
        if x.format == rule.format:
            self._note(role, where, rule, (x.format,), result=True, happens="as it is")
        return super().hand_on(x, role, where)

    def cast(self, x: Array, role: str, where: str) -> Array:
        self._next()
        return super().cast(x, role, where)

    def cast_to(self, x: Array, f: Format, role: str, where: str) -> Array:
        self._next()
        return super().cast_to(x, f, role, where)

    def unscaled(self, x: Operand, role: str, where: str) -> Array:
        self._next()
        return super().unscaled(x, role, where)

    def returned(self, gradient: Array, f: Format, number: int) -> Array:
        self._next(follows=True)
        done = super().returned(gradient, f, number)
        self._next()
        return done

    def _round(self, x: Array, rule: Cast, role: str, where: str, exponent: int = 0) -> Array:
        self._note(role, where, rule, (x.format,), result=self._seen.result)
        return super()._round(x, rule, role, where, exponent)

    def apply(
        self,
        op: str,
        *operands: Array,
        role: str,
        where: str,
        result: bool = False,
        f: Format | None = None,
    ) -> Array:
        rule = self.rule(role, where, result=result)
        self._next()
        self._note(
            role,
            where,
            rule if f is None else dataclasses.replace(rule, format=f),
            tuple(x.format for x in operands),
            result=result,
        )
        return super().apply(op, *operands, role=role, where=where, result=result, f=f)

    def rule(self, role: str, where: str, *, result: bool = False) -> Cast:
        self._seen.roles[where] = role
        return super().rule(role, where, result=result)

    def _settled(
        self, rule: Cast, place: str, formats: tuple[Format, Format] | None = None
    ) -> Accumulator | Instruction:
        model = super()._settled(rule, place, formats)
        where = place.removeprefix(f"{self.place}/")
        self._next()
        unit = isinstance(rule.model, MatrixUnit)
        self._note(
            self._seen.roles[where],
            where,
            dataclasses.replace(rule, format=model.result_format),
            formats or (),
            happens="matrix unit" if unit else "rounded",
            sums=str(rule.model),
        )
        return model


def _outside(
    policy: Policy, trace: events.Trace, known: set[str], kinds: dict[str, str]
) -> Iterator[Row]:
    """Rows for what is counted outside of operations: by the trace, and by the policy of the parameter."""
    rows = trace.to_dicts()
    counted_at = {row["place"] for row in rows}
    for counted in rows:
        place, op, f = str(counted["place"]), str(counted["op"]), str(counted["format"])
        if place in known or op in ("absorbed", "asarray") or not place:
            continue
        module, kind = _whose(place, kinds)
        here, rest = policy.at(module, kind), place.removeprefix(f"{module}/")
        how = {name: getattr(here, name) for name in ("rounding", "saturation", "subnormals")}
        decided = why.outside(policy, module, kind, rest, f)
        if op == "init":  # parameters are stored as they are loaded, rounded to nearest
            how |= {"rounding": "nearest_even", "subnormals": "gradual"}
        else:
            line = why.line_of_places(policy, module, kind, rest)
            if line is not None:
                how |= {name: value for name, value in line[1].changes if name in how}
                said = f"override {line[0]} ({line[1]})"
                sets = "format" in dict(line[1].changes) and not rest.endswith("store")
                decided = said if sets else f"{decided}; {said}"
            if op == "update" and here.update == "stochastic":
                weight, _, step = place.rpartition("/")
                last = "store" if f"{weight}/store" in counted_at else "result"
                how |= {"rounding": "stochastic"} if step == last else {}
        yield Row(
            place=place,
            role=op,
            source=(),
            format=f,
            happens="rounded",
            scaling="none",
            sums="",
            decided=decided,
            **how,
        )


def _whose(place: str, kinds: dict[str, str]) -> tuple[str, str]:
    """The module that a place outside of operations belongs to, and its parameter's kind."""
    module, _, rest = place.partition("/")
    first, _, more = rest.partition("/")
    name = more.partition("/")[0] if first in ("init", "update", "clip") else first
    return module, kinds.get(f"{module}/{name}", "")
