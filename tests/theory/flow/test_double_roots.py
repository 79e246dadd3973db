"""Fixed points that kernels near from one side only, at kernels of any size."""

import numpy as np
import pytest

from whydeep.theory.flow import critical_exponents, fixed_points


@pytest.mark.parametrize("a", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_double_roots_of_any_size(a):
    """s = (z^2 - a)/sqrt 2 at its critical point: K' - K = 3 (K - a)^2 / (4 a)."""
    (point,) = fixed_points(lambda z: (z * z - a) / np.sqrt(2.0))
    assert point.kernel == pytest.approx(a, rel=2e-6)
    assert (point.stability, point.attracts) == ("half-stable", "below")
    found = critical_exponents(lambda z: (z * z - a) / np.sqrt(2.0))
    np.testing.assert_allclose(found.measured[:2], found.predicted[:2], rtol=1e-3)
