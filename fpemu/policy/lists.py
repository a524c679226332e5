"""Lists of operations: what systems of automatic mixed precision do to the inputs of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpemu.formats import FP32, Format

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

RULES = ("low", "fp32", "promote", "leave")


@dataclass(frozen=True)
class Rule:
    """What happens to an operation; `name` is one of `RULES`, or "" where the policy has no lists."""

    name: str = ""

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


def rule_of(policy: Policy, operation: str) -> Rule:
    """The rule of the list in which the operation is, or else "*"."""
    for name in (operation, "*"):
        for rule in RULES:
            if name in getattr(policy, rule):
                return Rule(rule)
    return Rule()
