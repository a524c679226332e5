"""The operations of one weight's update: each rounded once, at a place of its own, and counted."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from fpemu import elementwise
from fpemu.arrays import Array
from fpemu.autograd import draws
from fpemu.autograd.site import Site
from fpemu.convert import round_to
from fpemu.formats import FP32, Format
from fpemu.policy import Policy


class Step(NamedTuple):
    """What is to be subtracted from a weight: `value`, times `factor` if there is one.

    `direction` says where something is to change at all: where it is not zero.
    """

    value: Array
    direction: Array
    factor: Array | None = None


class Steps:
    """Rounded operations below ``<layer>/update/<name>/``.

    A result has the format of its role: "update", the one in which updates are computed; "momentum"
    and "variance", those of the moments; "stored", that of the weights. Operands are read exactly,
    whatever format they have. In a `fused` update only what is kept is rounded to the moments'
    formats, and the update goes on with what it has at hand. With `fma` a product that is only
    added to something is not rounded by itself.
    """

    def __init__(self, site: Site, at: str, *, fused: bool = False, count_as: str = "update"):
        self.site, self.at, self.fused, self.count_as = site, at, fused, count_as
        self.format = site.rule("update", at).format
        self.fma = False
        self.rule = "plain"  # the update rule
        self.number = "0"  # of the optimizer's step: random bits differ from step to step

    def __call__(
        self,
        op: str,
        *operands: Array,
        where: str,
        role: str = "update",
        rounding: str = "",
        f: Format | None = None,
    ) -> Array:
        """`op`, or "convert", rounded once to the role's format (or what the policy says of the place),
        or to `f`."""
        at = f"{self.at}/{where}"
        rule, place = self.site.rule(role, at), f"{self.site.place}/{at}"
        if f is not None:
            rule = dataclasses.replace(rule, format=f)
        options: dict[str, Any] = {**rule.settings, "place": place, "count_as": self.count_as}
        options["rounding"] = rounding or rule.rounding
        if options["rounding"] == "stochastic":
            options["chance"] = draws.chance(f"{place}/{self.number}", rule.random_bits)
        operands = tuple(read_as(x, rule.format) for x in operands)
        values, formats = tuple(x._values for x in operands), tuple(x.format for x in operands)
        if op != "convert" and all(f == rule.format for f in formats):
            return Array(elementwise.apply(op, *values, f=rule.format, **options), rule.format)
        result = elementwise.apply_between(op, values, formats, rule.format, **options)
        return Array(result, rule.format)

    def format_at(self, where: str, role: str = "update") -> Format:
        """The format in which an operation ends there."""
        return self.site.rule(role, f"{self.at}/{where}").format

    def number_of(self, value: float) -> Array:
        """A hyperparameter in the format of the update; not counted."""
        saturation = self.site.saturation
        rounded = round_to(np.asarray(value, np.float64), self.format, saturation, count=False)
        return Array(rounded, self.format)

    def gradient(self, gradient: Array, divide_by: float, *, maximize: bool = False) -> Array:
        """The gradient without its loss scale, a number of FP32, in the format of the update."""
        if gradient.format.precision > 24 >= self.format.precision:
            # Quotients of such would take the exact reference: round them first, at a place of its own.
            gradient = self("convert", gradient, where="cast")
        scale = Array(np.asarray(divide_by, np.float32), FP32)
        if round_to(scale._values, self.format, count=False) == divide_by:
            scale = Array(scale._values, self.format)
        unscaled = self("divide", gradient, scale, where="unscale")
        return Array(-unscaled._values, unscaled.format) if maximize else unscaled

    # -- composed operations, as PyTorch's kernels have them ------------------------------------

    def add_product(
        self, a: Array, b: Array, c: Array, *, where: str, product: str, role: str = "update"
    ) -> Array:
        """a + b * c: the product is rounded at `product`, the sum at `where`; with `fma` only the sum."""
        if self.fma:
            return self("fma", b, c, a, where=where, role=role)
        return self("add", a, self("multiply", b, c, where=product), where=where, role=role)

    def minus(self, a: Array, step: Step, *, where: str, role: str, rounding: str = "") -> Array:
        """``a`` less the step, whose product with its factor is rounded at "step" unless by `fma`."""
        value = step.value
        if step.factor is not None:
            if self.fma:
                factor = Array(-step.factor._values, step.factor.format)
                return self("fma", value, factor, a, where=where, role=role, rounding=rounding)
            value = self("multiply", value, step.factor, where="step")
        return self("subtract", a, value, where=where, role=role, rounding=rounding)

    def between(self, a: Array, b: Array, weight: float, *, where: str, role: str) -> Array:
        """a + weight * (b - a), or from the other end where that is nearer (``torch.lerp``)."""
        share = self.number_of(weight)
        difference = self("subtract", b, a, where=f"{where}_difference")
        options = {"where": where, "product": f"{where}_change", "role": role}
        if abs(share.item()) < 0.5:
            return self.add_product(a, difference, share, **options)
        rest = self.number_of(share.item() - 1.0)
        return self.add_product(b, difference, rest, **options)

    def mean_square(self, mean: Array, gradient: Array, decay: float) -> Array:
        """decay * mean + (1 - decay) * gradient**2, in that order, in the format of the variance."""
        decayed = self("multiply", mean, self.number_of(decay), where="variance_decay")
        scaled = self("multiply", gradient, self.number_of(1 - decay), where="variance_scaled")
        options = {"where": "variance", "product": "variance_square", "role": self.kept("variance")}
        return self.add_product(decayed, scaled, gradient, **options)

    # -- what is kept from step to step ---------------------------------------------------------

    def kept(self, role: str) -> str:
        """The role in which an operation ends whose result is kept in the format of `role`."""
        return "update" if self.fused else role

    def keep(self, state: dict[str, Any], key: str, value: Array, role: str) -> Array:
        """Keep `value` in the format of `role`; what later operations of this step read."""
        state[key] = self.stored(value, role, where=f"{key}_store")
        return value if self.fused else state[key]

    def stored(self, value: Array, role: str, *, where: str, rounding: str = "") -> Array:
        """`value` in the format of `role`, which the policy cannot change at one place only."""
        f = self.site.roles[role]
        if value.format == f:
            return value
        return self("convert", value, where=where, role=role, rounding=rounding, f=f)

    def as_role(self, x: Array, role: str, *, where: str) -> Array:
        """`x` as an operand of an exact operation, which takes only values of its own format."""
        x = read_as(x, self.format_at(where, role))
        if x.format == self.format_at(where, role):
            return x
        return self("convert", x, where=where, role=role)

    def zeros(self, shape: tuple[int, ...], value: float = 0.0, role: str = "momentum") -> Array:
        """An array full of one number in the format of `role`."""
        f = self.site.roles[role]
        full = round_to(np.full(shape, value, np.float64), f, self.site.saturation, count=False)
        return Array(full, f)


def of_weight(policy: Policy, name: str, stored: Format, *, saturation: str | None = None) -> Steps:
    """The operations on the weight `name` (``<layer>/<weight>``), stored in `stored`."""
    layer, _, weight = name.rpartition("/")
    own = policy.at(layer)
    f = own.update_in or stored
    roles = {
        "update": f,
        "result": f if holds(f, stored) else stored,
        "stored": stored,
        "momentum": own.momentum or stored,
        "variance": own.variance or stored,
    }
    site = site_for(policy, layer, roles, saturation)
    return Steps(site, f"update/{weight}", fused=own.update_in is not None)


def site_for(
    policy: Policy, layer: str, roles: dict[str, Format], saturation: str | None = None
) -> Site:
    """The layer's site under the policy, with these roles in place of its own."""
    return dataclasses.replace(
        policy.site(layer),
        roles=roles,
        outputs=None,
        scale_rule=None,
        model=None,
        follows_inputs=False,
        saturation=saturation or policy.at(layer).saturation,
        _casts={},
    )


@functools.lru_cache(maxsize=512)
def holds(f: Format, other: Format) -> bool:
    """Whether every value of `other` is one of `f`.

    >>> from fpemu.formats import BF16, E5M2, FP16, FP32
    >>> holds(FP32, BF16), holds(FP16, E5M2), holds(FP16, BF16), holds(BF16, FP16)
    (True, True, False, False)
    """
    if f == other:
        return True
    special = ("has_inf", "has_nan", "has_negative_zero", "has_zero", "signed")
    return (
        f.precision >= other.precision
        and f.max >= other.max
        and f.emin - f.fraction_bits <= other.emin - other.fraction_bits
        and all(getattr(f, name) >= getattr(other, name) for name in special)
    )


def read_as(x: Array, f: Format) -> Array:
    """The same values as values of `f`, if it holds them all; else `x`."""
    return x if x.format == f or not holds(f, x.format) else Array(x._values, f)
