"""Continuous piecewise-linear functions: read with their numbers, applied in float64."""

from whydeep.geometry.pieces._kinks import Kink as Kink
from whydeep.geometry.pieces._kinks import Maximum as Maximum
from whydeep.geometry.pieces._kinks import Select as Select
from whydeep.geometry.pieces._kinks import Threshold as Threshold
from whydeep.geometry.pieces._kinks import named_kink as named_kink
from whydeep.geometry.pieces._maps import AffineMap as AffineMap
from whydeep.geometry.pieces._maps import Function as Function
from whydeep.geometry.pieces._maps import Matrix as Matrix
from whydeep.geometry.pieces._piecewise import PiecewiseLinear as PiecewiseLinear
from whydeep.geometry.pieces._piecewise import from_layers as from_layers
from whydeep.geometry.pieces._piecewise import pack as pack
