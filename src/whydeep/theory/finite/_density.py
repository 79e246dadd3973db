"""The law of one preactivation: Gaussian at infinite width, and its first correction in 1/width."""

from __future__ import annotations

import numpy as np

from whydeep.errors import InputError
from whydeep.theory.finite._prediction import Prediction

__all__ = ["preactivation_density"]


def preactivation_density(
    predicted: Prediction,
    z: np.ndarray,
    *,
    layer: int | None = None,
    index: int = 0,
    order: int = 1,
) -> np.ndarray:
    """The density of a preactivation z_i of one input, over draws of the network.

    With K the kernel, K1 = K + K{1}/n and V the four-point vertex, all at the input twice (or four
    times) over, n the width of the layer below, and x = z / sqrt(K1)::

        order 0:  N(z; 0, K)
        order 1:  N(z; 0, K1) [1 + V / (8 n K1^2) (x^4 - 6 x^2 + 3)]

    The bracket adds nothing to the norm or the variance, and 3 V / n to the fourth moment, which
    is the connected fourth moment of one neuron. Like every expansion of its kind it may turn
    negative far out in the tails, where V x^4 is no longer small against 8 n K1^2.

    Args:
        predicted: from `whydeep.predict`.
        z: points.
        layer: its label, 1 to L + 1; the output by default.
        index: which input.
        order: 0 or 1, in 1/width.

    Returns:
        The density, shaped like `z`.

    Raises:
        InputError: no such layer or input, another order, or a prediction without the observables
            (``kernel``; at order 1 ``four_point`` and ``kernel_correction`` too).

    Accuracy: exact in the coefficients; what is neglected is of order (depth/n)^2. Cost: nothing.

    Source: Roberts, Yaida and Hanin 2022, Sections 4.2 and 4.3; Cramér 1946, Section 17.6 (the
    Gram-Charlier series).

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> from whydeep.theory.finite import predict
        >>> predicted = predict(mlp(2, 50, "relu"), np.array([[1.0, 1.0]]))
        >>> preactivation_density(predicted, np.array([0.0, 4.0]), order=0).round(4)
        array([0.2821, 0.0052])
        >>> preactivation_density(predicted, np.array([0.0, 4.0])).round(4)
        array([0.3033, 0.0076])
    """
    if order not in (0, 1):
        raise InputError(
            "The density is known to first order in 1/width.",
            received=f"order={order!r}",
            needed="0 or 1",
        )
    network = predicted.network
    label = network.depth + 1 if layer is None else layer
    if not 1 <= label <= network.depth + 1:
        raise InputError(
            "There is no such layer.",
            received=f"layer={layer!r}",
            needed=f"1 to {network.depth + 1}",
        )
    if not 0 <= index < len(predicted.inputs):
        raise InputError(
            "There is no such input.",
            received=f"index={index!r}",
            needed=f"0 to {len(predicted.inputs) - 1}",
        )
    z = np.asarray(z, dtype=np.float64)
    kernel = float(predicted["kernel"].values[label - 1, index, index])
    if order == 0:
        return _gaussian(z, kernel)
    width = 1 if label == 1 else network.widths[label - 2]
    correction = float(predicted["kernel_correction"].values[label - 1, index, index])
    vertex = float(predicted["four_point"].values[label - 1, index, index, index, index])
    corrected = kernel + correction / width
    if not corrected > 0:
        raise InputError(
            "The expansion in 1/width has broken down: the corrected variance is not positive.",
            received=f"kernel {kernel:.4g}, correction {correction:.4g} / {width}",
            needed="a width that is large against the depth",
        )
    x = z / np.sqrt(corrected)
    shape = x**4 - 6 * x**2 + 3  # the fourth Hermite polynomial
    return _gaussian(z, corrected) * (1 + vertex / (8 * width * corrected**2) * shape)


def _gaussian(z: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(z**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
