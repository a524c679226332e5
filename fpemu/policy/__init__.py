"""Precision policies: which format each role of a value has, as immutable data."""

from fpemu.policy.files import as_policy as as_policy
from fpemu.policy.override import Override as Override
from fpemu.policy.policy import Policy as Policy
from fpemu.policy.policy import current as current
from fpemu.policy.presets import policies as policies
