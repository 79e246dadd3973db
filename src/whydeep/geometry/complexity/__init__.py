"""Local complexity: how finely a network cuts its inputs near given points, also in training."""

from whydeep.geometry.complexity._local import local_complexity as local_complexity
from whydeep.geometry.complexity._result import LocalComplexity as LocalComplexity
from whydeep.geometry.complexity._training import ComplexityHistory as ComplexityHistory
from whydeep.geometry.complexity._training import (
    complexity_during_training as complexity_during_training,
)
