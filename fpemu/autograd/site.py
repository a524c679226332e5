"""Where an operation stands and how it rounds there.

An operation names the *role* of each value (weights, activations, gradients, ...) and *where*
in itself it rounds ("forward/input", "weight_grad/accumulate"). Its `Site` knows the place of
the operation in the model and the rule of each role, does the rounding, and counts it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from fpemu import accumulation, elementwise, events, matrix_units
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.autograd import draws
from fpemu.autograd.casts import Cast, Operand, ScaleRule, changed, filled, instruction, seeded
from fpemu.chance import Chance
from fpemu.convert import round_to, without_subnormals
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP64, Format
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.reporting import report

# weights, activations, gradients: what products read, and what operations hand on. accumulate: the
# format in which products end. inner: the steps inside everything that is no product. loss: the loss.
ROLES = ("weights", "activations", "gradients", "accumulate", "inner", "loss")


@dataclass(frozen=True)
class Site:
    """The roundings of one operation at one place.

    `roles` gives the format of each of `ROLES` ("inner" is by default that of "accumulate").
    Results are handed on in the format of their role, unless `outputs` names one for all results (as
    systems do whose FP8 is only an operand format). `model` is how sums of products are accumulated,
    by default in order in the format of "accumulate"; `inner_model` the same for the other sums.
    `scale_rule` gives the power of two by which an operand is scaled before it is rounded, and by
    which the product is scaled back. `changes` are pairs of a pattern of places and what is other
    there, fields of `Cast` (under "sums" those of sums only); the first that matches counts.
    `passes` are the same by a role ("outputs" for results) and the first part of `where`, the pass, and
    stand behind `changes`. With `follows_inputs` the gradient of an input is rounded to that input's
    format, as systems do that cast inputs by lists of operations.
    """

    place: str
    roles: Mapping[str, Format]
    outputs: Format | None = None
    saturation: str = "none"
    scale_rule: ScaleRule | None = None
    rounding: str = "nearest_even"
    subnormals: str = "gradual"
    random_bits: int = 24
    model: Accumulator | MatrixUnit | None = None
    inner_model: Accumulator | None = None
    gradient_sum: Format | None = None
    follows_inputs: bool = False
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    passes: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    _casts: dict[tuple[str, str, bool], Cast] = field(
        default_factory=dict, compare=False, repr=False
    )

    # -- rules --------------------------------------------------------------------------------

    def rule(self, role: str, where: str, *, result: bool = False) -> Cast:
        """How a value of `role` is rounded at `where`; a `result` is one that is handed on."""
        key = (role, where, result)
        found = self._casts.get(key)
        if found is None:
            found = self._casts[key] = self._rule(role, where, result)
        return found

    def _rule(self, role: str, where: str, result: bool) -> Cast:
        f = self.outputs if result and self.outputs else self._format(role)
        operand = role in ("weights", "activations", "gradients") and not result
        model: Accumulator | MatrixUnit | None = None
        if role == "accumulate":
            model = self.model or Accumulator(f)
        if role == "inner":
            model = self.inner_model or Accumulator(f)
        rule = Cast(
            *(f, self.rounding, self.saturation, self.subnormals, self.random_bits),
            self.scale_rule if operand else None,
            model,
        )
        of_pass = self._of_pass("outputs" if result else role, where)
        for change in (of_pass, self._change(where, role)):
            if change:
                rule = changed(rule, change)
        return rule

    def _format(self, role: str) -> Format:
        if role == "inner" and "inner" not in self.roles:
            return self.roles["accumulate"]
        return self.roles[role]

    def _of_pass(self, role: str, where: str) -> Mapping[str, Any] | None:
        return self.passes.get((role, where.partition("/")[0])) if self.passes else None

    def _change(self, where: str, role: str) -> Mapping[str, Any] | None:
        if not self.changes:
            return None
        place = f"{self.place}/{where}"
        said = next((c for pattern, c in self.changes if fnmatchcase(place, pattern)), None)
        if said is None or "sums" not in said:
            return said
        rest = {name: value for name, value in said.items() if name != "sums"}
        products_only = isinstance(said["sums"]["model"], MatrixUnit)
        adds = role == "accumulate" or (role == "inner" and not products_only)
        return {**rest, **said["sums"]} if adds else rest

    def alone(self, place: str, role: str, f: Format) -> Site:
        """A site for values of one role, in `f`, that belong to no operation: rounded and overridden
        as here, but at `place`."""
        return Site(
            place,
            {role: f, "accumulate": f},
            saturation=self.saturation,
            rounding=self.rounding,
            subnormals=self.subnormals,
            random_bits=self.random_bits,
            changes=self.changes,
        )

    # -- operands and products ----------------------------------------------------------------

    def operand(self, x: Array, role: str, where: str) -> Operand:
        """`x` as a product reads it: scaled if there is a rule, rounded to the role's format."""
        rule = self.rule(role, where)
        if x.format == rule.format and "daz" not in rule.subnormals:
            if role == "weights":  # others were counted when they were handed on
                self._watch(x, role, where)
            return Operand(x)
        exponent = rule.scale_rule(x._values, rule.format) if rule.scale_rule else 0
        return Operand(self._round(x, rule, role, where, exponent), exponent)

    def again(self, x: Array, used: Operand, role: str, where: str) -> Operand:
        """An operand of another product, too: `used` as it is, unless the policy says something of
        this place, in which case `x` is rounded anew."""
        said = self._change(where, role) or self._of_pass(role, where)
        return self.operand(x, role, where) if said else used

    def products(self, a: Operand, b: Operand, where: str) -> Array:
        """``a @ b`` of matrices, in the format in which the model of products ends."""
        return self.summed(
            lambda model, **options: _multiply(a.array, b.array, model, **options),
            where,
            (a.array.format, b.array.format),
            a.exponent + b.exponent,
        )

    def summed(
        self,
        run: Callable[..., np.ndarray],
        where: str,
        formats: tuple[Format, Format],
        exponent: int = 0,
    ) -> Array:
        """What ``run(model, place=, op=)`` sums, products of values of `formats`, scaled back by
        2**-exponent; `model` has no setting open."""
        at = f"{where}/accumulate"
        rule = self.rule("accumulate", at)
        model = self._settled(rule, f"{self.place}/{at}", formats)
        values = run(model, place=f"{self.place}/{at}", op="accumulate")
        total = Operand(Array(values, model.result_format), exponent)
        return self.unscaled(total, "accumulate", f"{where}/unscale")

    def _settled(
        self, rule: Cast, place: str, formats: tuple[Format, Format] | None = None
    ) -> Accumulator | Instruction:
        model = rule.model
        if isinstance(model, MatrixUnit):
            if formats is None:
                raise UnsupportedError(f"{place}: a matrix unit adds products, and nothing else")
            return instruction(model, *formats)
        assert model is not None
        settled = filled(model, rule.rounding, rule.saturation, rule.subnormals, rule.random_bits)
        if settled.seed is not None:
            return settled
        random = settled.rounding == "stochastic"
        return dataclasses.replace(settled, seed=draws.key(place)) if random else seeded(settled)

    def unscaled(self, x: Operand, role: str, where: str) -> Array:
        """An operand's values, scaled back, rounded to the role's format."""
        if x.exponent == 0:
            return x.array if role == "accumulate" else self.cast(x.array, role, where)
        rule = self.rule(role, where)
        f = x.array.format if role == "accumulate" else rule.format
        return self._round(x.array, dataclasses.replace(rule, format=f), role, where, -x.exponent)

    def column_sums(self, x: Operand, where: str) -> Array:
        """The sum over the first axis of a matrix, as a product with ones."""
        ones = np.ones((1, x.array.shape[0]), x.array._values.dtype)
        total = self.products(Operand(Array(ones, x.array.format)), x, where)
        return total.reshape(x.array.shape[1])

    # -- everything that is no product --------------------------------------------------------

    def inner(self, where: str) -> Accumulator:
        """The model of a recipe's steps and sums, with no setting open: for functions of arrays such
        as `fpemu.softmax`. Call them inside `counted`."""
        return self.accumulator(self.rule("inner", where), where)

    def accumulator(self, rule: Cast, where: str) -> Accumulator:
        """How numbers are added at `where` by `rule`: by its model if it has one, by default in order in
        its format. No setting is open."""
        rule = dataclasses.replace(rule, model=rule.model or Accumulator(rule.format))
        model = self._settled(rule, f"{self.place}/{where}")
        assert isinstance(model, Accumulator)
        return model

    def columns_added(self, x: np.ndarray, f: Format, rule: Cast, role: str, where: str) -> Array:
        """The sums of the columns of `x`, values of `f`, by `rule`; counted at `where`."""
        model, place = self.accumulator(rule, where), f"{self.place}/{where}"
        total = accumulation.accumulate(None, x, (f, f), model, place=place, op=role)
        return Array(total.reshape(x.shape[1:]), model.result_format)

    @contextlib.contextmanager
    def counted(self, where: str) -> Iterator[None]:
        """What happens in the block without a place of its own is counted at this one."""
        with events.at(f"{self.place}/{where}"):
            yield

    def total(self, x: Array, axes: tuple[int, ...], where: str) -> Array:
        """The sum over `axes`, which stay with length 1, by the model of inner sums."""
        kept = [i for i in range(x.ndim) if i not in axes]
        rows = np.transpose(x._values, (*axes, *kept))
        sizes = (math.prod(x.shape[i] for i in some) for some in (axes, kept))
        columns = rows.reshape(tuple(sizes))
        total = self.columns_added(columns, x.format, self.rule("inner", where), "inner", where)
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return total.reshape(shape)

    def summed_to(self, gradient: Array, shape: tuple[int, ...], where: str) -> Array:
        """The gradient of something of `shape` that was broadcast: summed over what it was repeated
        along, handed on as gradients are."""
        lead = gradient.ndim - len(shape)
        axes = tuple(
            i for i, n in enumerate(gradient.shape) if i < lead or (shape[i - lead] == 1 and n != 1)
        )
        if axes:
            total = self.total(gradient, axes, f"{where}_sum")
            gradient = self.hand_on(total.reshape(shape), "gradients", where)
        return gradient

    def hand_on(self, x: Array, role: str, where: str) -> Array:
        """A result in the format in which it leaves the operation."""
        rule = self.rule(role, where, result=True)
        if x.format != rule.format:
            return self._round(x, rule, role, where)
        self._watch(x, role, where)
        return x

    def apply(
        self,
        op: str,
        *operands: Array,
        role: str,
        where: str,
        result: bool = False,
        f: Format | None = None,
    ) -> Array:
        """An elementwise operation on values of any formats, rounded once to the role's format, or `f`.

        The operand of a transcendental function must have it already.
        """
        rule = self.rule(role, where, result=result)
        f, place = f or rule.format, f"{self.place}/{where}"
        options: dict[str, Any] = {**rule.settings, "place": place, "count_as": role}
        if rule.rounding == "stochastic":
            options["chance"] = draws.chance(place, rule.random_bits)
        formats = tuple(x.format for x in operands)
        values = tuple(x._values for x in operands)
        if all(g == f for g in formats):
            return Array(elementwise.apply(op, *values, f=f, **options), f)
        if op in elementwise.TRANSCENDENTAL:
            wrong = [g.name for g in formats if g != f]
            raise ArgumentError(f"{place}: {op} in {f.name} cannot take {wrong}")
        return Array(elementwise.apply_between(op, values, formats, f, **options), f)

    def constant(self, value: float | np.ndarray, role: str) -> Array:
        """Numbers of the program (1/N, a target, a scale) in the role's format: to nearest even, whatever
        the mode, and not counted."""
        rule = self.rule(role, "constant")
        x = np.asarray(value, np.float64)
        return Array(round_to(x, rule.format, rule.saturation, count=False), rule.format)

    def cast(self, x: Array, role: str, where: str) -> Array:
        """`x` rounded to the role's format, unscaled."""
        rule = self.rule(role, where)
        return x if x.format == rule.format else self._round(x, rule, role, where)

    def cast_to(self, x: Array, f: Format, role: str, where: str) -> Array:
        """`x` rounded to `f` as the role's values are."""
        if x.format == f:
            return x
        return self._round(x, dataclasses.replace(self.rule(role, where), format=f), role, where)

    def returned(self, gradient: Array, f: Format, number: int) -> Array:
        """The gradient of input `number`, whose format is `f`, where gradients follow inputs."""
        if gradient.format == f:
            return gradient
        where = f"input_grad/cast_{number}"
        rule = dataclasses.replace(self.rule("gradients", where), format=f, scale_rule=None)
        return self._round(gradient, rule, "gradients", where)

    def _watch(self, x: Array, role: str, where: str) -> None:
        """Count values that need no rounding: some may be subnormal, none is lost here."""
        if events.active():
            place = f"{self.place}/{where}"
            report(place, role, x._values, x._values, x.format, self.saturation)

    def _round(self, x: Array, rule: Cast, role: str, where: str, exponent: int = 0) -> Array:
        """x * 2**exponent, rounded once."""
        values = x._values
        if "daz" in rule.subnormals:  # what counts is the format that the value comes from
            values = without_subnormals(values, x.format)
        if exponent:
            values = np.ldexp(values.astype(np.float64), exponent)
        place = f"{self.place}/{where}"
        random = rule.rounding == "stochastic"
        chance: Chance | None = draws.chance(place, rule.random_bits) if random else None
        rounded = round_to(
            values,
            rule.format,
            rule.saturation,
            rounding=rule.rounding,
            subnormals=rule.subnormals,
            chance=chance,
            place=place,
            op=role,
        )
        return Array(rounded, rule.format)


def _multiply(a: Array, b: Array, model: Accumulator | Instruction, *, place: str, op: str):
    if isinstance(model, Instruction):
        return matrix_units.multiply_watched(a._values, b._values, model, place=place, op=op)
    formats = (a.format, b.format)
    return accumulation.accumulate(a._values, b._values, formats, model, place=place, op=op)


def plain_site(place: str = "", f: Format = FP64) -> Site:
    """A site at which everything is in one format."""
    return Site(place, dict.fromkeys(ROLES, f))
