"""Convex hulls of data: membership with certificates, and what theory expects of it."""

from whydeep.geometry.hull._certificates import HullMembership as HullMembership
from whydeep.geometry.hull._certificates import check_hull as check_hull
from whydeep.geometry.hull._extrapolation import Extrapolation as Extrapolation
from whydeep.geometry.hull._extrapolation import extrapolation as extrapolation
from whydeep.geometry.hull._in_hull import in_hull as in_hull
from whydeep.geometry.hull._random_hulls import ball_threshold as ball_threshold
from whydeep.geometry.hull._random_hulls import (
    expected_gaussian_vertices as expected_gaussian_vertices,
)
from whydeep.geometry.hull._random_hulls import gaussian_inside as gaussian_inside
from whydeep.geometry.hull._random_hulls import symmetric_inside as symmetric_inside
