"""Accumulation models: how a sum of many terms is rounded, as data, and the machine that does it."""

from fpemu.accumulation.model import ORDERS, Accumulator
from fpemu.accumulation.run import accumulate
