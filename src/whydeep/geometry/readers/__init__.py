"""Piecewise-linear functions with their numbers, read from PyTorch modules and JAX functions."""

from whydeep.geometry.readers._read import function_at as function_at
from whydeep.geometry.readers._read import piecewise_linear as piecewise_linear
