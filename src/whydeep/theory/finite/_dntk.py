"""The differential of the tangent kernel with the preactivations: P and Q.

dH_012 is how the tangent kernel of samples 1 and 2 moves with the parameters along the gradient at
sample 0; of order 1/width, it is what makes kernels move in training. With the maps of `_means`,
Y_ab^c = <D_c (s'_a s_b)>, r = n_l / n_(l-1), and nothing at the first layer,

    P'_0123 = C_W^2 {<s''_0 s'_1 s'_2 s_3> Theta_01 Theta_02
                     + r <s'_1 s'_2> [<s''_0 s_3> B_0012 + sum Y_03^b P_012b]}
    Q'_0123 = lambda_W C_W <s'_0 s_1 s'_2 s_3> Theta_02
              + C_W^2 <s''_0 s'_1 s'_2 s_3> Theta_01 Theta_02
              + r C_W {sum X_01^b Y_23^c F_b0c2 + C_W <s'_0 s'_1> sum Y_23^b Q_012b}.

Second derivatives of a kinked activation are delta functions, which measurements by automatic
differentiation miss: P and Q are for smooth ones.

Source: Roberts, Yaida and Hanin 2022, Section 11.2, in derivative form.
"""

from __future__ import annotations

from collections.abc import Mapping

from whydeep.theory.finite._bounded import Bounded, contract
from whydeep.theory.finite._means import Step

__all__ = ["next_p", "next_q"]


def next_p(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """P of the layer above."""
    theta = step.theta
    out = contract("abcd,ab,ac->abcd", step.four(2, 1, 1, 0), theta, theta)
    if step.ratio:
        kicked = contract("aabc,ad->abcd", below["ntk_B"], step.mean(2, 0))
        kicked = kicked + contract("ade,abce->abcd", step.gradient(1, 0), below["dntk_P"])
        out = out + step.ratio * contract("bc,abcd->abcd", step.slope, kicked)
    return step.weight_var**2 * out


def next_q(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """Q of the layer above."""
    c_w, theta = step.weight_var, step.theta
    last = contract("abcd,ac->abcd", step.four(1, 0, 1, 0), theta)
    both = contract("abcd,ab,ac->abcd", step.four(2, 1, 1, 0), theta, theta)
    out = step.weight_lr * c_w * last + c_w**2 * both
    if step.ratio:
        half = contract("abe,eafc->abfc", step.kick_map, below["ntk_F"])
        fluctuation = contract("cdf,abfc->abcd", step.gradient(1, 0), half)
        kept = contract("cde,abce->abcd", step.gradient(1, 0), below["dntk_Q"])
        kept = contract("ab,abcd->abcd", step.slope, kept)
        out = out + step.ratio * c_w * (fluctuation + c_w * kept)
    return out
