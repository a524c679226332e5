"""Training: the loop, what it notes, what may look on, and files from which it goes on."""

from fpemu.training.callbacks import EarlyStopping as EarlyStopping
from fpemu.training.checkpoint import Checkpoint as Checkpoint
from fpemu.training.checkpoint import load_checkpoint as load_checkpoint
from fpemu.training.history import History as History
from fpemu.training.live import LiveCurves as LiveCurves
from fpemu.training.loop import train as train
from fpemu.training.run import Run as Run
