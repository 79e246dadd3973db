"""Exact partitions of a plane by a piecewise-linear function: polygons, maps, statistics."""

from whydeep.geometry.partition._decision import DecisionRegions as DecisionRegions
from whydeep.geometry.partition._decision import decision_regions as decision_regions
from whydeep.geometry.partition._doors import plane as plane
from whydeep.geometry.partition._doors import regions as regions
from whydeep.geometry.partition._front import check_window as check_window
from whydeep.geometry.partition._maps import AffineMaps as AffineMaps
from whydeep.geometry.partition._regions import Regions as Regions
from whydeep.geometry.partition._statistics import RegionStatistics as RegionStatistics
from whydeep.geometry.partition._statistics import region_statistics as region_statistics
from whydeep.geometry.partition._work import Slice as Slice
