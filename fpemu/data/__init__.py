"""Data as training takes it, real and made up: images in [0, 1], points, sequences, and classes."""

from fpemu.data.dataset import Dataset as Dataset
from fpemu.data.digits import digits as digits
from fpemu.data.loader import Loader as Loader
from fpemu.data.mnist5k import mnist5k as mnist5k
from fpemu.data.named import NAMED as NAMED
from fpemu.data.named import load as load
from fpemu.data.openml import openml as openml
from fpemu.data.synthetic import bars as bars
from fpemu.data.synthetic import copy_task as copy_task
from fpemu.data.synthetic import moons as moons
from fpemu.data.synthetic import spirals as spirals
from fpemu.data.synthetic import xor as xor
