"""Layers and losses. A layer's place is its position in the model: ``layers.0``, ``layers.2``."""

from fpemu.nn.activation import ReLU as ReLU
from fpemu.nn.linear import Linear as Linear
from fpemu.nn.loss import cross_entropy as cross_entropy
from fpemu.nn.mlp import mlp as mlp
from fpemu.nn.module import Module as Module
from fpemu.nn.module import Sequential as Sequential
