"""Chains of convolutions: displacement by displacement, compiled."""

from whydeep.theory.infinite.conv._map import AvgPoolStep as AvgPoolStep
from whydeep.theory.infinite.conv._map import ConvStep as ConvStep
from whydeep.theory.infinite.conv._map import HomogeneousStep as HomogeneousStep
from whydeep.theory.infinite.conv._map import ReadoutStep as ReadoutStep
from whydeep.theory.infinite.conv._map import conv_kernels as conv_kernels
