"""Learning rates by layer that let every layer contribute alike to the tangent kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import DEPTH, RATE, takes
from whydeep.errors import UnsupportedError
from whydeep.theory.flow._exponents import critical_exponents

__all__ = ["equivalent_rates"]


@takes(activation=ACTIVATION, depth=DEPTH, weight_lr=RATE, bias_lr=RATE)
def equivalent_rates(
    activation: str | ScalarFunction | Callable[[Any], Any],
    depth: int,
    *,
    weight_lr: float = 1.0,
    bias_lr: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates (lambda_W, lambda_b) of layers 1 to L + 1 of a critical network.

    The tangent kernel is the sum over layers l of [lambda_b + lambda_W <s^2>] times the product of
    chi_perp above it, (l/M)^p_perp with M = L + 1. Every layer adds alike, and the sum does not
    depend on depth, if::

        K* = 0:     lambda_b = t_b l^(-p_perp) M^(p_perp - 1),   lambda_W = t_W (M/l)^(p_perp - 1)
        otherwise:  lambda_b = t_b / M,                          lambda_W = t_W / M

    For tanh these are t_b / l and t_W, and the kernel tends to t_b + t_W / 2.

    Args:
        activation: a name or a ``jax.numpy`` function of one variable.
        depth: L, the number of hidden layers.
        weight_lr: t_W.
        bias_lr: t_b.

    Returns:
        ``weight_lr`` and ``bias_lr`` of `whydeep.mlp`, arrays (L + 1,).

    Raises:
        InputError: a negative rate, a depth below 1.
        UnsupportedError: no critical point, or no known exponents.

    Accuracy: leading order at large depth. Cost: that of `whydeep.theory.flow.critical_exponents`.

    Source: Roberts, Yaida and Hanin 2022, Section 9.4 (the equivalence principle of learning
    rates).

    Example:
        >>> weight_lr, bias_lr = equivalent_rates("tanh", 3)
        >>> weight_lr, bias_lr.round(4)
        (array([1., 1., 1., 1.]), array([1.    , 0.5   , 0.3333, 0.25  ]))
    """
    s, weight, bias = activations.get(activation), weight_lr, bias_lr
    found = critical_exponents(s)
    layers = depth + 1
    if found.universality_class != "K*=0":
        one = np.full(layers, 1 / layers)
        return weight * one, bias * one
    if found.predicted is None:
        raise UnsupportedError(
            f"The exponents of {s.name} are not known.",
            cause=found.reason,
            suggestion="an activation that is smooth at 0, or rates of your own",
        )
    p = found.predicted[2]
    label = np.arange(1, layers + 1)
    return weight * (layers / label) ** (p - 1), bias * label**-p * layers ** (p - 1)
