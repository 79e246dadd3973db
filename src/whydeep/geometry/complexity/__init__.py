"""Local complexity: how finely a network cuts its inputs near given points, also in training."""

from whydeep.geometry.complexity._local import local_complexity as local_complexity
from whydeep.geometry.complexity._loop import Trainer as Trainer
from whydeep.geometry.complexity._loop import check_classes as check_classes
from whydeep.geometry.complexity._loop import drawn_start as drawn_start
from whydeep.geometry.complexity._loop import mean_loss as mean_loss
from whydeep.geometry.complexity._loop import record_steps as record_steps
from whydeep.geometry.complexity._loop import share_right as share_right
from whydeep.geometry.complexity._result import LocalComplexity as LocalComplexity
from whydeep.geometry.complexity._training import ComplexityHistory as ComplexityHistory
from whydeep.geometry.complexity._training import (
    complexity_during_training as complexity_during_training,
)
