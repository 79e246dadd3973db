"""What theory says about the number of affine pieces, to be held against exact counts."""

from whydeep.geometry.counts._bounds import line_arrangement as line_arrangement
from whydeep.geometry.counts._bounds import montufar_lower as montufar_lower
from whydeep.geometry.counts._bounds import serra_upper as serra_upper
from whydeep.geometry.counts._crossings import conditional_crossings as conditional_crossings
from whydeep.geometry.counts._crossings import expected_regions as expected_regions
from whydeep.geometry.counts._density import BoundaryDensity as BoundaryDensity
from whydeep.geometry.counts._density import plane_density as plane_density
from whydeep.geometry.counts._density import segment_density as segment_density
from whydeep.geometry.counts._depth import interpolant as interpolant
from whydeep.geometry.counts._depth import tent_map as tent_map
from whydeep.geometry.counts._square import SquareTable as SquareTable
from whydeep.geometry.counts._square import deep_square as deep_square
from whydeep.geometry.counts._square import shallow_square as shallow_square
from whydeep.geometry.counts._square import square_error as square_error
from whydeep.geometry.counts._square import square_table as square_table
from whydeep.geometry.counts._training import PieceHistory as PieceHistory
from whydeep.geometry.counts._training import pieces_during_training as pieces_during_training
from whydeep.geometry.counts._wide import wide_crossings as wide_crossings
from whydeep.geometry.counts._wide import wide_lengths as wide_lengths
