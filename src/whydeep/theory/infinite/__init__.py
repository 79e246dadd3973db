"""Infinite width: kernels and tangent kernels of any architecture that has them."""

from whydeep.theory.infinite._kernel import Kernel as Kernel
from whydeep.theory.infinite._kernel import kernel as kernel
