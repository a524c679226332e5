"""Which values were lost where."""

from fpemu.diagnose.value_losses import ROLES as ROLES
from fpemu.diagnose.value_losses import ValueLosses as ValueLosses
from fpemu.diagnose.value_losses import value_losses as value_losses
