"""Exact statements about one given network or cloud of points: affine pieces, hulls, dimension."""
