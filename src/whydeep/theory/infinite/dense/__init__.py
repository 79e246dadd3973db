"""Fully connected networks: maps of correlations, tabulated and compiled."""

from whydeep.theory.infinite.dense._fully_connected import dense_kernels as dense_kernels
from whydeep.theory.infinite.dense._stack import DenseStack as DenseStack
