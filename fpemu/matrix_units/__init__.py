"""Matrix units (Tensor Cores, AMD's matrix cores) bit for bit, as a table of numbers over a few steps.

From published measurements and simulators; fpemu has not been run against the hardware itself.
"""

from fpemu.matrix_units.instruction import Instruction
from fpemu.matrix_units.run import multiply
from fpemu.matrix_units.unit import MatrixUnit, every_instruction, is_written, matrix_unit
from fpemu.matrix_units.watched import multiply_watched
