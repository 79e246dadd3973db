"""Flow with depth: kernels and fluctuations of one input and of two nearby ones, to any depth.

Fixed points and their stability, critical exponents, equivalent learning rates, and the depth
beyond which finite width wins.
"""

from whydeep.theory.flow._aspect_ratio import AspectRatio as AspectRatio
from whydeep.theory.flow._aspect_ratio import mutual_information as mutual_information
from whydeep.theory.flow._aspect_ratio import optimal_aspect_ratio as optimal_aspect_ratio
from whydeep.theory.flow._exponents import CriticalExponents as CriticalExponents
from whydeep.theory.flow._exponents import critical_exponents as critical_exponents
from whydeep.theory.flow._fixed_points import FixedPoint as FixedPoint
from whydeep.theory.flow._fixed_points import fixed_points as fixed_points
from whydeep.theory.flow._flow import Flow as Flow
from whydeep.theory.flow._flow import flow as flow
from whydeep.theory.flow._rates import equivalent_rates as equivalent_rates
