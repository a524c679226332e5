"""`Policy`: how every value is rounded while a model runs and is trained, as immutable data."""

from __future__ import annotations

import contextvars
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from fpemu import matrix_units
from fpemu import rounding as vocabulary
from fpemu.accumulation import Accumulator
from fpemu.autograd import places
from fpemu.autograd.site import Site
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import FP32, Format, as_format
from fpemu.matrix_units import MatrixUnit
from fpemu.policy.lists import RULES as LISTS
from fpemu.policy.lists import rule_of
from fpemu.policy.override import Override
from fpemu.scaling import RULES

Sums = Format | Accumulator | MatrixUnit

_active: contextvars.ContextVar[tuple[Policy, ...]] = contextvars.ContextVar(
    "fpemu_policies", default=()
)

UPDATES = ("plain", "kahan", "stochastic", "remainder")


@dataclass(frozen=True, repr=False)
class Policy:
    """How every value is rounded while a model runs and is trained.

    =============  ================================================================================
    weights        what products read as weights, and the biases: the working copy
    activations    what products read as input, and what layers hand forward
    gradients      what products read as incoming gradient, and what layers hand back, parameter
                   gradients included
    accumulate     every product and every partial sum inside a matrix product: a format, or an
                   `Accumulator`, or a `MatrixUnit`
    inner          the steps inside whatever is no product (normalization, softmax, activation
                   functions, means): a format or an `Accumulator`; None: the format in which
                   `accumulate` ends
    master         the stored weights that updates are applied to; None: no separate copy, updates
                   are applied in the weights' format
    outputs        if set, results of layers and biases have this format, and the three formats
                   above are those of products' operands only (how systems use FP8)
    loss           softmax, logarithm and mean of the loss, each operation rounded
    gradient_sum   gradients of parameters added over uses and micro-batches; None: as they come
    momentum       the optimizer's first moments (velocities); None: as the stored weights
    variance       its second moments (mean squares); None: as the stored weights
    update_in      the format in which an update is computed, as in one fused kernel; None: step by
                   step in the format of the stored weights
    update         "plain"; "kahan" (with a running correction); "stochastic" (rounded at random);
                   "remainder" (the 16 bits that BF16 weights lack are kept apart)
    loss_scale     the loss gradient is multiplied by it and divided out again before the update
    scaling        "none", or "per_tensor": operands are scaled by a power of two before they are
                   rounded, and products scaled back
    rounding, saturation, subnormals, random_bits    as `fpemu.quantize`, for all roundings
    low, fp32, promote, leave    names of operations ("*": all others), by what happens to their
                   inputs: cast to the formats above; cast to FP32; cast to the widest format among
                   them; nothing. Gradients then have the formats of the inputs
    overrides      `Override`s: patterns of modules or places, and what is other there; of those
                   that match the first counts
    =============  ================================================================================

    Use it as ``with policy: loss = ...`` or hand it to `fp.train`. The text form lists
    ``role=format`` pairs; roles left out are FP32 (`Policy.parse`).

    >>> p = Policy.parse("weights=e4m3 activations=e4m3 gradients=e5m2 accumulate=fp32 master=fp32")
    >>> p.gradients, p.loss_scale
    (fp.E5M2, 1.0)
    >>> Policy.parse(str(p)) == p
    True
    >>> p = Policy.parse("fp16_master accumulate='h100 mma'; layers.0: weights=fp32 activations=fp32")
    >>> p.overrides[0].pattern, p.at("layers.0").weights, p.at("layers.2").weights
    ('layers.0', fp.FP32, fp.FP16)
    """

    weights: Format = FP32
    activations: Format = FP32
    gradients: Format = FP32
    accumulate: Sums = FP32
    master: Format | None = None
    outputs: Format | None = None
    loss: Format = FP32
    loss_scale: float = 1.0
    scaling: str = "none"
    saturation: str = "none"
    inner: Format | Accumulator | None = None
    gradient_sum: Format | None = None
    momentum: Format | None = None
    variance: Format | None = None
    update_in: Format | None = None
    update: str = "plain"
    rounding: str = "nearest_even"
    subnormals: str = "gradual"
    random_bits: int = 24
    low: tuple[str, ...] = ()
    fp32: tuple[str, ...] = ()
    promote: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in FORMATS:
            value = getattr(self, name)
            if value is not None or name not in OPTIONAL:
                put(self, name, as_format(value))
        put(self, "accumulate", as_sums("accumulate", self.accumulate))
        if self.inner is not None:
            inner = as_sums("inner", self.inner)
            if isinstance(inner, MatrixUnit):
                raise ArgumentError(
                    f"inner={str(inner)!r}: a matrix unit adds products, and nothing else; name a format"
                )
            put(self, "inner", inner)
        try:
            scale = float(self.loss_scale)
        except (TypeError, ValueError):
            scale = math.nan
        if not (0 < scale < math.inf):
            raise ArgumentError(
                f"loss_scale must be a positive finite number, got {self.loss_scale!r}"
            )
        put(self, "loss_scale", scale)
        if not isinstance(self.scaling, str) or self.scaling not in RULES:
            raise unknown("scaling", self.scaling, RULES)
        vocabulary.check(
            rounding=self.rounding, saturation=self.saturation, subnormals=self.subnormals
        )
        if self.update not in UPDATES:
            raise unknown("update", self.update, UPDATES)
        for name in LISTS:
            put(self, name, tuple(getattr(self, name)))
        put(self, "overrides", tuple(self.overrides))
        put(self, "_sites", {})  # by place, operation and formats: a policy never changes

    @property
    def storage(self) -> Format:
        """The format in which weights are stored and updated: `master`, or else `weights`."""
        return self.master or self.weights

    @classmethod
    def parse(cls, text: str) -> Policy:
        """The policy that `text` describes: a preset's name, ``role=format`` pairs, or both; then, each
        behind a semicolon, overrides: a pattern, a colon, and what is other there.

        Pairs after a preset's name override it. ``master=none`` means no master weights; a loss
        scale is a number or a power such as ``2^15``; an accumulation model of several words stands in
        quotes; lists of operations are joined by ``+``.
        Raises `ArgumentError` naming the word that is not understood and what is allowed.

        >>> Policy.parse("fp16_master loss_scale=2^10").loss_scale
        1024.0
        """
        from fpemu.policy.text import parse

        return parse(text)

    def __str__(self) -> str:
        """The text that `parse` reads: the four main roles and whatever differs from default."""
        from fpemu.policy.text import written

        return written(self)

    def __repr__(self) -> str:
        text = str(self)
        return f'fp.Policy.parse("{text}")' if '"' not in text else f"fp.Policy.parse({text!r})"

    # -- use ------------------------------------------------------------------------------

    def at(self, module: str) -> Policy:
        """The policy of a module: the first override whose pattern matches its place, merged."""
        for override in self.overrides:
            if not override.of_places and override.matches(module):
                return dataclasses.replace(self, **dict(override.changes))
        return self

    def site(self, place: str, operation: str = "", formats: tuple[Format, ...] = ()) -> Site:
        """How `operation` rounds at `place` under this policy, on inputs of these formats."""
        key = (place, operation, formats)
        found = self._sites.get(key)  # type: ignore[attr-defined]
        if found is None:
            found = self._sites[key] = self.at(place)._site(*key)  # type: ignore[attr-defined]
        return found

    def _site(self, place: str, operation: str, formats: tuple[Format, ...]) -> Site:
        rule = rule_of(self, operation)
        model = self.accumulate if not isinstance(self.accumulate, Format) else None
        inner = self.inner if isinstance(self.inner, Accumulator) else None
        roles = {name: getattr(self, name) for name in ("weights", "activations", "gradients")}
        roles |= {"loss": self.loss, "accumulate": ends_in(self.accumulate)}
        roles["inner"] = ends_in(self.inner) if self.inner else roles["accumulate"]
        outputs = self.outputs
        wide = rule.format(formats)
        if wide is not None:
            roles = {
                **dict.fromkeys(roles, wide),
                "loss": self.loss if rule.name != "fp32" else wide,
            }
            model = inner = outputs = None
            if wide.precision < FP32.precision:  # steps inside are as wide as ever
                roles["accumulate"] = ends_in(self.accumulate)
                roles["inner"] = ends_in(self.inner) if self.inner else roles["accumulate"]
        return Site(
            place,
            roles,
            outputs,
            self.saturation,
            RULES[self.scaling] if wide is None else None,
            self.rounding,
            self.subnormals,
            self.random_bits,
            model,
            inner,
            self.gradient_sum,
            rule.follows_inputs,
            tuple(
                (o.pattern, o.casts()) for o in self.overrides if o.of_places and o.may_match(place)
            ),
        )

    def __enter__(self) -> Policy:
        _active.set((*_active.get(), self))
        places.provide(self.site)
        return self

    def __exit__(self, *_: object) -> None:
        _active.set(_active.get()[:-1])
        outer = _active.get()
        places.provide(outer[-1].site if outer else Policy().site)


FIELDS = tuple(field.name for field in dataclasses.fields(Policy))
MAIN = ("weights", "activations", "gradients", "accumulate")
OPTIONAL = ("master", "outputs", "gradient_sum", "momentum", "variance", "update_in")
FORMATS = ("weights", "activations", "gradients", *OPTIONAL, "loss")
SUMS = ("accumulate", "inner")


def current() -> Policy:
    """The policy of the innermost ``with`` block; FP32 throughout if there is none."""
    stack = _active.get()
    return stack[-1] if stack else Policy()


def ends_in(sums: Sums) -> Format:
    """The format in which such sums end."""
    if isinstance(sums, Format):
        return sums
    if isinstance(sums, MatrixUnit):
        return sums.accumulator or FP32
    return sums.result_format


def as_sums(name: str, value: Any) -> Sums:
    """A format, an accumulation model or a matrix unit, or the text of one; the plainest of these."""
    if isinstance(value, MatrixUnit):
        return value
    if matrix_units.is_written(value):
        return MatrixUnit.parse(value)
    if isinstance(value, str) and (" " in value or "=" in value):
        value = Accumulator.parse(value)
    if not isinstance(value, Accumulator):
        return as_format(value)
    if value.out is not None:
        raise ArgumentError(
            f"{name}={str(value)!r}: a policy says by other roles in which format results leave; drop out="
        )
    return value.format if value == Accumulator(value.format) else value
