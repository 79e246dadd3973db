"""What theory says about the number of affine pieces, to be held against exact counts."""

from whydeep.geometry.counts._bounds import line_arrangement as line_arrangement
from whydeep.geometry.counts._bounds import montufar_lower as montufar_lower
from whydeep.geometry.counts._bounds import serra_upper as serra_upper
from whydeep.geometry.counts._crossings import conditional_crossings as conditional_crossings
from whydeep.geometry.counts._crossings import expected_regions as expected_regions
from whydeep.geometry.counts._crossings import wide_crossings as wide_crossings
from whydeep.geometry.counts._depth import interpolant as interpolant
from whydeep.geometry.counts._depth import tent_map as tent_map
