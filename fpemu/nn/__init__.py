"""Layers and losses. A layer's place is its position in the model: ``layers.0``, ``layers.2``."""

from fpemu.nn.activation import ReLU as ReLU
from fpemu.nn.convolution import Conv1d as Conv1d
from fpemu.nn.convolution import Conv2d as Conv2d
from fpemu.nn.convolution import ConvTranspose2d as ConvTranspose2d
from fpemu.nn.linear import Linear as Linear
from fpemu.nn.loss import cross_entropy as cross_entropy
from fpemu.nn.mlp import mlp as mlp
from fpemu.nn.module import Module as Module
from fpemu.nn.module import Sequential as Sequential
from fpemu.nn.pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from fpemu.nn.pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from fpemu.nn.pooling import AvgPool1d as AvgPool1d
from fpemu.nn.pooling import AvgPool2d as AvgPool2d
from fpemu.nn.pooling import MaxPool1d as MaxPool1d
from fpemu.nn.pooling import MaxPool2d as MaxPool2d
