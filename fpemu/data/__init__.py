"""Real data, as training takes it: images as rows of numbers in [0, 1], and classes."""

from fpemu.data.dataset import Dataset as Dataset
from fpemu.data.dataset import load as load
from fpemu.data.digits import digits as digits
