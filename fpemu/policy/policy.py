"""`Policy`: the format of every role, as data that prints as the text it is parsed from."""

from __future__ import annotations

import contextvars
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from fpemu.autograd.site import Site
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import FP32, Format, as_format
from fpemu.rounding import SATURATION
from fpemu.scaling import RULES

_active: contextvars.ContextVar[tuple[Policy, ...]] = contextvars.ContextVar("fpemu_policies")


@dataclass(frozen=True, repr=False)
class Policy:
    """Which format each role of a value has while a model runs and is trained.

    =============  ================================================================================
    weights        what products read as weights, and the biases: the working copy
    activations    what products read as input, and what layers hand forward
    gradients      what products read as incoming gradient, and what layers hand back, parameter
                   gradients included
    accumulate     every product and every partial sum inside a matrix product
    master         the stored weights that updates are applied to; None: no separate copy, updates
                   are applied in the weights' format
    outputs        if set, results of layers and biases have this format, and the three formats
                   above are those of products' operands only (how systems use FP8)
    loss           softmax, logarithm and mean of the loss, each operation rounded
    loss_scale     the loss gradient is multiplied by it and divided out again before the update
    scaling        "none", or "per_tensor": operands are scaled by a power of two before they are
                   rounded, and products scaled back
    saturation     "none", "finite" or "propagate", for all roundings
    =============  ================================================================================

    Use it as ``with policy: loss = ...`` or hand it to `fp.train`. The text form lists
    ``role=format`` pairs; roles left out are FP32 (`Policy.parse`).

    >>> p = Policy.parse("weights=e4m3 activations=e4m3 gradients=e5m2 accumulate=fp32 master=fp32")
    >>> p.gradients, p.loss_scale
    (fp.E5M2, 1.0)
    >>> Policy.parse(str(p)) == p
    True
    """

    weights: Format = FP32
    activations: Format = FP32
    gradients: Format = FP32
    accumulate: Format = FP32
    master: Format | None = None
    outputs: Format | None = None
    loss: Format = FP32
    loss_scale: float = 1.0
    scaling: str = "none"
    saturation: str = "none"

    def __post_init__(self) -> None:
        for name in _FORMATS:
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                object.__setattr__(self, name, as_format(value))
        try:
            scale = float(self.loss_scale)
        except (TypeError, ValueError):
            scale = math.nan
        if not (0 < scale < math.inf):
            raise ArgumentError(
                f"loss_scale must be a positive finite number, got {self.loss_scale!r}"
            )
        object.__setattr__(self, "loss_scale", scale)
        if not isinstance(self.scaling, str) or self.scaling not in RULES:
            raise unknown("scaling", self.scaling, RULES)
        if not isinstance(self.saturation, str) or self.saturation not in SATURATION:
            raise unknown("saturation", self.saturation, SATURATION)

    @property
    def storage(self) -> Format:
        """The format in which weights are stored and updated: `master`, or else `weights`."""
        return self.master or self.weights

    # -- text -----------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str) -> Policy:
        """The policy that `text` describes: a preset's name, ``role=format`` pairs, or both.

        Pairs after a preset's name override it. ``master=none`` means no master weights; a loss
        scale is a number or a power such as ``2^15``.
        Raises `ArgumentError` naming the word that is not understood and what is allowed.

        >>> Policy.parse("fp16_master loss_scale=2^10").loss_scale
        1024.0
        """
        from fpemu.policy.presets import policies

        policy, given = cls(), set()
        for position, word in enumerate(str(text).replace(",", " ").split()):
            role, equals, value = word.partition("=")
            if not equals:
                if position > 0:
                    raise ArgumentError(
                        f"policy word {word!r} is not understood; write role=format, with a role of: "
                        + ", ".join(_FIELDS)
                    )
                if word.lower() not in policies:
                    raise unknown("policy", word, [*policies, '"role=format ..."'])
                policy = policies[word.lower()]
                continue
            if role not in _FIELDS:
                raise unknown("policy role", role, _FIELDS)
            if role in given:
                raise ArgumentError(f"policy role {role!r} is given twice")
            given.add(role)
            policy = dataclasses.replace(policy, **{role: _value(role, value)})
        if not str(text).split():
            raise ArgumentError("the policy is empty; give a preset's name or role=format pairs")
        return policy

    def __str__(self) -> str:
        """The text that `parse` reads: the four main roles and whatever differs from default."""
        words = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _MAIN or value != field.default:
                words.append(f"{field.name}={_text(value)}")
        return " ".join(words)

    def __repr__(self) -> str:
        return f'fp.Policy.parse("{self}")'

    # -- use ------------------------------------------------------------------------------

    def site(self, place: str) -> Site:
        """How an operation at `place` rounds under this policy."""
        roles = {name: getattr(self, name) for name in (*_MAIN, "loss")}
        return Site(place, roles, self.outputs, self.saturation, RULES[self.scaling])

    def __enter__(self) -> Policy:
        _active.set((*_active.get(()), self))
        return self

    def __exit__(self, *_: object) -> None:
        _active.set(_active.get()[:-1])


_FIELDS = tuple(field.name for field in dataclasses.fields(Policy))
_MAIN = ("weights", "activations", "gradients", "accumulate")
_OPTIONAL = ("master", "outputs")
_FORMATS = (*_MAIN, *_OPTIONAL, "loss")


def current() -> Policy:
    """The policy of the innermost ``with`` block; FP32 throughout if there is none."""
    stack = _active.get(())
    return stack[-1] if stack else Policy()


def _value(role: str, text: str) -> Any:
    if role in _OPTIONAL and text.lower() == "none":
        return None
    if role in _FORMATS:
        return as_format(text)
    return number(text) if role == "loss_scale" else text


def number(text: str) -> float:
    """A number as people write scales: ``1024``, ``0.5``, ``1e-3``, ``2^-20`` or ``2**15``.

    >>> number("2^-20") == 2.0**-20
    True
    """
    base, power, exponent = text.replace("**", "^").partition("^")
    try:
        return float(base) ** int(exponent) if power else float(base)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ArgumentError(
            f"{text!r} is not a number; write for example 1024, 0.5 or 2^-20"
        ) from None


def _text(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
    return "none" if value is None else str(value)
