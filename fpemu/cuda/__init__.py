"""Products by real matrix units through CuPy, and recordings of their bits; the extra ``cuda``.

Imported only when asked, and without CuPy or a GPU everything here still imports: what needs them says
so. Written without a GPU at hand: the kernels are compiled, and their machine code and layouts checked,
but fpemu has not yet run them on hardware.
"""

from fpemu.cuda.comparing import Mismatches
from fpemu.cuda.devices import chip_of, device, is_available
from fpemu.cuda.matmul import matmul
from fpemu.cuda.recording import Recording, read, record, replay
