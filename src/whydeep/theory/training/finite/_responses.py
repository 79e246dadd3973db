"""How outputs answer, at a time, to what the tangent kernel and its differentials do to training.

In the axes of the infinite-width tangent kernel a residual decays at its own rate, and every
perturbation is a chain: a mode decays, is scattered into another by a perturbation of the kernel,
decays there, ... and arrives in mode p. Written for gradient flow (mu(s) = e^(-rate s)):

    first    int g_p(t-s) g_b(s)                                       b -> p
    second   int int g_p(t-s) g_b(s-s') g_c(s')                        c -> b -> p
    pair     int g_p(t-s) g_b(s) int_0^s g_c(s')                       the kernel has moved along c
    triple   int g_p(t-s) g_b(s) int_0^s g_c(s') int_0^s' g_d(s'')     ... whose motion moved along d

Gradient descent has the same chains with sums for integrals, and terms of its own: within one step
eta an output follows a polynomial, so the differential enters z at eta^2 / 2, and so on:

    z <- z - eta H e + (eta^2 / 2) dH e e - (eta^3 / 6) ddI e e e
    H_01 <- H_01 - eta (dH_01b + dH_10b) e_b + (eta^2 / 2) (ddI_01bc + ddI_10bc + 2 ddII_01bc) e_b e_c
    dH_012 <- dH_012 - eta (ddI_012b + ddII_012b + ddII_021b) e_b

Source: Roberts, Yaida and Hanin 2022, Sections 11.4 and infinity.2 (the hierarchy); the chains in
closed form are derived here, and tested against steps taken one by one.
"""  # noqa: E501 -- an equation is one line

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.theory.training._dynamics import Descent, Flow
from whydeep.theory.training.finite._divided import exponential_difference, power_difference

__all__ = ["Responses", "responses"]


@dataclass(frozen=True)
class Responses:
    """Chains at one time, over S outputs p and N modes b, c, d.

    Args:
        left: (S,), the share of an output's initial residual that is left.
        moved: (N,), the integral of a mode's residual over time.
        first: (S, N). second: (S, N, N), for [p, b, c].
        direct: (S, N, N), of dH_pbc; and turned: of dH_bpc.
        triple: (S, N, N, N), for a step of its own size zero all that there is.
        late: of the second derivative of H in a step; sudden: of dH's own change met within a step;
            cubic: of the third derivative of z. All (S, N, N, N), None for gradient flow.
        drift: (N, N), of the kernel itself along c, then d; drift_late: the same within a step.
    """

    left: np.ndarray
    moved: np.ndarray
    first: np.ndarray
    second: np.ndarray
    direct: np.ndarray
    turned: np.ndarray
    triple: np.ndarray
    late: np.ndarray | None
    sudden: np.ndarray | None
    cubic: np.ndarray | None
    drift: np.ndarray
    drift_late: np.ndarray | None


def responses(rates: np.ndarray, modes: int, dynamics: Flow | Descent, t: float) -> Responses:
    """The chains of S outputs with these rates, of which the first `modes` are trained modes.

    Args:
        rates: (S,), of modes their eigenvalue, of other outputs 0.
        modes: N.
        dynamics: gradient flow or gradient descent.
        t: time, whole steps times eta for gradient descent; inf where no mode has rate 0.

    Cost: S N^3 products of matrices 4 x 4, as many as the binary digits of t times the rates.
    """
    if isinstance(dynamics, Flow):
        return _of_flow(rates, modes, t)
    return _of_descent(rates, modes, dynamics.step, t / dynamics.step)


def _axes(values: np.ndarray, modes: int) -> tuple[np.ndarray, ...]:
    """Values of p, b, c, d along the four axes of an array (S, N, N, N)."""
    trained = values[:modes]
    return (
        values[:, None, None, None],
        trained[None, :, None, None],
        trained[None, None, :, None],
        trained[None, None, None, :],
    )


def _of_flow(rates: np.ndarray, modes: int, t: float) -> Responses:
    p, b, c, d = _axes(rates, modes)

    def chain(*nodes: np.ndarray) -> np.ndarray:
        return exponential_difference(nodes, t)

    zero = np.zeros((1, 1, 1, 1))
    pair = chain(b + c, b, p)[..., 0]
    return Responses(
        left=chain(p).ravel(),
        moved=chain(b, zero).ravel(),
        first=chain(b, p)[..., 0, 0],
        second=chain(c, b, p)[..., 0],
        direct=pair,
        turned=pair,
        triple=chain(b + c + d, b + c, b, p),
        late=None,
        sudden=None,
        cubic=None,
        drift=chain(c + d, c, zero)[0, 0],
        drift_late=None,
    )


def _of_descent(rates: np.ndarray, modes: int, step: float, steps: float) -> Responses:
    p, b, c, d = _axes(1.0 - step * rates, modes)
    one = np.ones((1, 1, 1, 1))

    def chain(*nodes: np.ndarray) -> np.ndarray:
        return step ** (len(nodes) - 1) * power_difference(nodes, steps)

    pair = (b * chain(b * c, b, p))[..., 0]
    return Responses(
        left=chain(p).ravel(),
        moved=chain(b, one).ravel(),
        first=chain(b, p)[..., 0, 0],
        second=chain(c, b, p)[..., 0],
        direct=pair + (0.5 * step * chain(b * c, p))[..., 0],
        turned=pair,
        triple=b * b * c * chain(b * c * d, b * c, b, p),
        late=0.5 * step * b * chain(b * c * d, b, p),
        sudden=0.5 * step * b * c * chain(b * c * d, b * c, p),
        cubic=step**2 / 6.0 * chain(b * c * d, p),
        drift=(c * chain(c * d, c, one))[0, 0],
        drift_late=(0.5 * step * chain(c * d, one))[0, 0],
    )
