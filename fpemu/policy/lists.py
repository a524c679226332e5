"""Lists of operations: what systems of automatic mixed precision do to the inputs of each.

=======  ============================================  =============================================
list     forward                                       backward
=======  ============================================  =============================================
low      inputs are cast to the policy's formats by    gradients are read in `gradients`, and each
         role; results leave in `outputs` or           leaves in the format that its input had
         `activations`
fp32     inputs are cast to FP32, and everything is    everything is in FP32; each gradient leaves in
         in FP32, sums in order                        the format that its input had
promote  inputs are cast to the widest format among    the same
         them, in which results leave; sums and steps
         inside are those of `accumulate` and `inner`
         if it is narrower than FP32, else in it
leave    as promote: formats that differ meet in the   the same
         widest, as type promotion does
=======  ============================================  =============================================

An operation in no list is treated as "*" says; without a "*" it follows the roles, and its gradients do,
too. In `low`, `promote` and `leave` the loss keeps its own format. Lists hold names, not patterns, so
that two lists cannot overlap unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpemu.errors import ArgumentError
from fpemu.formats import FP32, Format

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

RULES = ("low", "fp32", "promote", "leave")


@dataclass(frozen=True)
class Rule:
    """What happens to an operation: the list, one of `RULES` or "" where the policy has none for it,
    and the name in it, the operation's own or "*"."""

    name: str = ""
    entry: str = ""

    @property
    def follows_inputs(self) -> bool:
        """Whether gradients have the formats of the inputs."""
        return bool(self.name)

    def format(self, formats: tuple[Format, ...]) -> Format | None:
        """The one format in which the operation takes its inputs; None where roles decide."""
        if self.name == "fp32":
            return FP32
        if self.name in ("promote", "leave") and formats:
            return max(formats, key=lambda f: (f.precision, f.emax))
        return None

    def __str__(self) -> str:
        return f"{self.name}={self.entry}" if self.name else ""


def rule_of(policy: Policy, operation: str) -> Rule:
    """The rule of the list in which the operation is, or else "*"."""
    for name in (operation, "*"):
        for rule in RULES:
            if name in getattr(policy, rule):
                return Rule(rule, name)
    return Rule()


def check(lists: dict[str, tuple[str, ...]]) -> None:
    """Raise `ArgumentError` for names of no operation, and for one that is in two lists."""
    seen: dict[str, str] = {}
    for rule, names in lists.items():
        for name in names:
            if name in seen:
                what = "all other operations" if name == "*" else f"the operation {name!r}"
                raise ArgumentError(
                    f"{seen[name]}={name} and {rule}={name} clash: {what} cannot be in two lists; "
                    "take it out of one"
                )
            seen[name] = rule
    for name, rule in seen.items():
        if name != "*":
            check_operation(name, f"operation in {rule}=")


def check_operation(name: str, kind: str) -> None:
    """Raise `ArgumentError` unless `name` is in the table of operations."""
    from fpemu.autograd.operations import TABLE  # grows when operations are added to it
    from fpemu.errors import unknown

    if name not in TABLE:
        raise ArgumentError(
            f"{unknown(kind, name, sorted(TABLE))}; an operation of one's own is known once it is in "
            "fpemu.autograd.operations.TABLE"
        )
