"""Optimizers: how gradients change stored weights, every operation rounded and named."""

from fpemu.optim.sgd import SGD as SGD
