"""Exact partitions of a plane by a piecewise-linear function: polygons, maps, statistics."""

from whydeep.geometry.partition._doors import plane as plane
from whydeep.geometry.partition._doors import regions as regions
from whydeep.geometry.partition._maps import AffineMaps as AffineMaps
from whydeep.geometry.partition._regions import Regions as Regions
from whydeep.geometry.partition._work import Slice as Slice
