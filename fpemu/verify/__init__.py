"""Proof on demand: the kernels of this installation against judges that share no code with them.

The judge is `exact`, for all 2**32 float32 inputs also NumPy and ml_dtypes; `peers` shows where
other libraries differ.
"""

from fpemu.verify.outcome import Outcome, total
from fpemu.verify.plan import MODES, OPERATIONS, checks, run
from fpemu.verify.units import checks as unit_checks
