"""Optimizers: how gradients change stored weights, every operation rounded and named."""

from fpemu.optim.adagrad import Adagrad as Adagrad
from fpemu.optim.adam import Adam as Adam
from fpemu.optim.adam import AdamW as AdamW
from fpemu.optim.clipping import clip_grad_norm_ as clip_grad_norm_
from fpemu.optim.clipping import clip_grad_value_ as clip_grad_value_
from fpemu.optim.optimizer import Optimizer as Optimizer
from fpemu.optim.rmsprop import RMSprop as RMSprop
from fpemu.optim.schedules import CosineAnnealingLR as CosineAnnealingLR
from fpemu.optim.schedules import ExponentialLR as ExponentialLR
from fpemu.optim.schedules import LambdaLR as LambdaLR
from fpemu.optim.schedules import LinearLR as LinearLR
from fpemu.optim.schedules import LRScheduler as LRScheduler
from fpemu.optim.schedules import MultiStepLR as MultiStepLR
from fpemu.optim.schedules import SequentialLR as SequentialLR
from fpemu.optim.schedules import StepLR as StepLR
from fpemu.optim.sgd import SGD as SGD
