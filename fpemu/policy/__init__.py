"""Precision policies: which format each role of a value has, as immutable data."""

from fpemu.policy.policy import Policy as Policy
from fpemu.policy.policy import current as current
from fpemu.policy.presets import policies as policies
