"""Breakpoints of a piecewise-linear function along a segment of its inputs."""

from whydeep.geometry.segment._breakpoints import Breakpoints as Breakpoints
from whydeep.geometry.segment._breakpoints import breakpoints as breakpoints
