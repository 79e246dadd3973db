"""Means over pairs from tables of smoothed functions, far above unit scale."""

import numpy as np
import pytest

from whydeep import activations
from whydeep.gaussian._pair_tables import any_pair_means


@pytest.mark.parametrize("c", [0.5, -0.25, 0.99])
def test_a_wide_error_function_obeys_the_arc_sine_law(c):
    # <erf erf> = 2/pi asin(2 q c / (1 + 2 q)) (Williams 1997, Eq. 11).
    q = np.array([1e6])
    found = any_pair_means(activations.get("erf"), q, q, np.array([1 - c]), np.array([1 + c]))
    law = 2.0 / np.pi * np.arcsin(2.0 * q * c / (1.0 + 2.0 * q))
    np.testing.assert_allclose(found.image, law, atol=1e-12)
