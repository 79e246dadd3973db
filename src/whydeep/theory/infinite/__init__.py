"""Infinite width: kernels and tangent kernels of any architecture that has them."""
