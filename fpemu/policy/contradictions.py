"""What a policy may not say: two words or lines that cannot both hold, named in the error.

Only what can never be meant is refused; where a line of places might still make it work, the run decides.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fpemu import exact
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import BF16, FP32
from fpemu.matrix_units import MatrixUnit
from fpemu.policy import lists, passes
from fpemu.policy.override import Override
from fpemu.policy.values import written
from fpemu.reals import is_finite

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

# What the products of a layer read: two roles for each pass.
PRODUCTS = {
    "forward": ("activations", "weights"),
    "input_grad": ("gradients", "weights"),
    "weight_grad": ("gradients", "activations"),
}


def check(policy: Policy) -> None:
    """Raise `ArgumentError` for the first contradiction in `policy`."""
    lists.check({rule: getattr(policy, rule) for rule in lists.RULES})
    _check_order(policy.overrides)
    _check_update(policy)
    _check_loss_scale(policy)
    _check_units(policy)
    for override in policy.overrides:
        if not override.of_places:
            try:
                policy.merged(override)
            except ArgumentError as error:
                raise ArgumentError(f"in the override '{override}': {error}") from None


def _check_order(overrides: tuple[Override, ...]) -> None:
    for i, later in enumerate(overrides):
        for earlier in overrides[:i]:
            if earlier.pattern == later.pattern:
                raise ArgumentError(
                    f"'{earlier}' and '{later}' clash: the pattern {later.pattern!r} is there twice, and the "
                    "first that matches counts; make one line of them"
                )
            if covers(earlier, later):
                raise ArgumentError(
                    f"'{earlier}' and '{later}' clash: all that {later.pattern!r} matches, "
                    f"{earlier.pattern!r} before it matches, too, and the first counts; put the narrower "
                    "first"
                )


def covers(earlier: Override, later: Override) -> bool:
    """Whether surely all that `later` matches is matched by `earlier`.

    An earlier pattern with no wildcard but ``*`` that matches a later one as if it were a name matches
    all that that matches: its stars took the later one's wildcards, whatever these stand for.

    >>> covers(Override("layers.*", {"weights": "fp16"}), Override("layers.*.norm", {"weights": "fp32"}))
    True
    >>> covers(Override("*.norm", {"weights": "fp16"}), Override("layers.*", {"weights": "fp32"}))
    False
    """
    if earlier.of_places != later.of_places:
        return False
    if earlier.pattern == later.pattern or earlier.pattern == "*":
        return True
    if "[" in earlier.pattern + later.pattern:
        return False
    if "?" in earlier.pattern and ("*" in later.pattern or "?" in later.pattern):
        return False
    if earlier.of_places:
        return fnmatchcase(later.pattern, earlier.pattern)
    if earlier.kind is not None or later.kind is not None:
        return (earlier.kind is None) == (later.kind is None) and fnmatchcase(
            later.pattern, earlier.pattern
        )
    return earlier.matches(later.pattern)


def _check_update(policy: Policy) -> None:
    update, master, weights = policy.update, policy.master, policy.weights
    if update == "remainder" and master is not None:
        raise ArgumentError(
            f"update=remainder and master={master} clash: the remainder is what BF16 weights lack of FP32, "
            "and master weights are kept whole; drop one of them"
        )
    if update == "remainder" and weights != BF16:
        raise ArgumentError(
            f"update=remainder and weights={weights} clash: the remainder is the 16 bits that BF16 lacks of "
            "FP32; write weights=bf16, or another update"
        )
    if update == "remainder" and policy.update_in not in (None, FP32):
        raise ArgumentError(
            f"update=remainder and update_in={policy.update_in} clash: a weight and its remainder are a number "
            "of FP32; write update_in=fp32, or another update"
        )
    wide = master is not None and master.precision >= FP32.precision
    if update in ("kahan", "stochastic") and wide:
        raise ArgumentError(
            f"update={update} and master={master} clash: either keeps small updates from getting lost, the "
            f"one in narrow weights, the other by weights of {master.precision if master else 0} bits; drop "
            "one of them (master=none or update=plain)"
        )


def _check_loss_scale(policy: Policy) -> None:
    """The gradient of the loss starts as the loss scale, in the loss's format. That it overflows to infinity
    or NaN shows in a run; that it becomes another number would not."""
    f, scale = policy.loss, policy.loss_scale
    start = exact.round_to(scale, f, saturation=policy.saturation)
    if (start > 0 and scale <= f.max) or not is_finite(start):
        return
    raise ArgumentError(
        f"loss_scale={written(scale)} and loss={f} clash: the gradient of the loss starts as the loss scale in "
        f"{f}, where it becomes {float(start):g}; its numbers go from {float(f.smallest_subnormal):g} to "
        f"{float(f.max):g}"
    )


def _check_units(policy: Policy) -> None:
    """A matrix unit must multiply what the policy hands to it."""
    if any(o.of_places and _may_help(o) for o in policy.overrides):
        return
    if lists.rule_of(policy, "linear").name not in ("", "low"):
        return
    for which, roles in PRODUCTS.items():
        unit, by = said_in(policy, "accumulate", which)
        if not isinstance(unit, MatrixUnit):
            continue
        (a, first), (b, second) = (said_in(policy, role, which) for role in roles)
        try:
            unit.on(a, b)
        except UnsupportedError as error:
            raise ArgumentError(
                f"{by}={written(unit)} and {first}={a} {second}={b} clash in the {which} product: {error}"
            ) from None


def _may_help(override: Override) -> bool:
    return any(name in ("format", "accumulate") for name, _ in override.changes)


def said_in(policy: Policy, role: str, which: str) -> tuple[Any, str]:
    """What a product of a pass reads or does, and the key that says so. Operands that are not named for
    a gradient's pass are those of the forward pass."""
    found = passes.find(policy.passes, role, which)
    if found is None and which != "forward" and role in ("weights", "activations"):
        found = passes.find(policy.passes, role, "forward")
    return (found[1], found[0]) if found else (getattr(policy, role), role)
