"""The two second differentials of the tangent kernel: R, and S, T, U.

ddI contracts a third derivative of the network with three gradients, ddII two second derivatives
with each other and with two gradients (`whydeep.observables` has the axes). With the maps of
`_means`, r = n_l / n_(l-1), and nothing at the first layer,

    R'_0123 = lambda_W C_W <s''_0 s_1 s'_2 s'_3> Theta_02 Theta_03
              + C_W^2 <s'''_0 s'_1 s'_2 s'_3> Theta_01 Theta_02 Theta_03
              + r C_W <s'_2 s'_3> {[lambda_W <s''_0 s_1> + C_W Theta_01 <s'''_0 s'_1>] B_0023
                                   + sum X_01^b P_023b + C_W <s'_0 s'_1> R_0123}
    W_1234 = C_W^2 <s''_1 s''_2 s'_3 s'_4> Theta_12 Theta_13 Theta_24
    S'_1234 = lambda_W C_W <s'_1 s'_2 s'_3 s'_4> Theta_13 Theta_24 + W_1234
              + r C_W <s'_3 s'_4> {[lambda_W <s'_1 s'_2> + C_W Theta_12 <s''_1 s''_2>] B_1234
                                   + C_W <s'_1 s'_2> S_1234}
    T'_1342 = lambda_W^2 <s'_1 s'_2 s_3 s_4> Theta_12 + W_1234
              + lambda_W C_W [<s'_1 s''_2 s_3 s'_4> Theta_12 Theta_24
                              + <s''_1 s'_2 s'_3 s_4> Theta_12 Theta_13]
              + r {sum X_13^b X_24^c F_b1c2 + C_W <s'_2 s'_4> sum X_13^b Q_241b
                   + C_W <s'_1 s'_3> sum X_24^b Q_132b + C_W^2 <s'_1 s'_3><s'_2 s'_4> T_1342}
    U'_1423 = W_1234 + r C_W^2 <s'_1 s'_4><s'_2 s'_3> U_1423.

Smooth activations only, as in `_dntk`.

Source: Roberts, Yaida and Hanin 2022, Section 11.2 and its appendix, in derivative form.
"""

from __future__ import annotations

from collections.abc import Mapping

from whydeep.theory.finite._bounded import Bounded, contract
from whydeep.theory.finite._means import Step

__all__ = ["next_r", "next_s", "next_t", "next_u"]


def next_r(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """R of the layer above."""
    c_w, l_w, theta = step.weight_var, step.weight_lr, step.theta
    out = l_w * c_w * contract("abcd,ac,ad->abcd", step.four(2, 0, 1, 1), theta, theta)
    third = contract("abcd,ab,ac,ad->abcd", step.four(3, 1, 1, 1), theta, theta, theta)
    out = out + c_w**2 * third
    if step.ratio:
        curved = l_w * step.mean(2, 0) + c_w * contract("ab,ab->ab", theta, step.mean(3, 1))
        inner = contract("ab,aacd->abcd", curved, below["ntk_B"])
        inner = inner + contract("abe,acde->abcd", step.kick_map, below["dntk_P"])
        inner = inner + c_w * contract("ab,abcd->abcd", step.slope, below["ddntk_R"])
        out = out + step.ratio * c_w * contract("cd,abcd->abcd", step.slope, inner)
    return out


def next_s(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """S of the layer above."""
    c_w, l_w, theta = step.weight_var, step.weight_lr, step.theta
    out = l_w * c_w * contract("abcd,ac,bd->abcd", step.four(1, 1, 1, 1), theta, theta)
    out = out + _twice_bent(step)
    if step.ratio:
        curved = l_w * step.slope + c_w * contract("ab,ab->ab", theta, step.mean(2, 2))
        inner = contract("ab,abcd->abcd", curved, below["ntk_B"])
        inner = inner + c_w * contract("ab,abcd->abcd", step.slope, below["ddntk_S"])
        out = out + step.ratio * c_w * contract("cd,abcd->abcd", step.slope, inner)
    return out


def next_t(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """T of the layer above; its axes a b c d are the samples 1 3 4 2 of ddII."""
    c_w, l_w, theta = step.weight_var, step.weight_lr, step.theta
    out = l_w**2 * contract("abcd,ad->abcd", step.four(1, 0, 0, 1), theta)
    once = contract("abcd,ad,cd->abcd", step.four(1, 0, 1, 2), theta, theta)
    once = once + contract("abcd,ad,ab->abcd", step.four(2, 1, 0, 1), theta, theta)
    out = out + l_w * c_w * once + _twice_bent(step).transpose(0, 2, 3, 1)
    if step.ratio:
        kick = step.kick_map
        half = contract("abe,eafd->abfd", kick, below["ntk_F"])
        carried = contract("dcf,abfd->abcd", kick, half)
        mixed = contract("abe,dcae->abcd", kick, below["dntk_Q"])
        carried = carried + c_w * contract("dc,abcd->abcd", step.slope, mixed)
        mixed = contract("dce,abde->abcd", kick, below["dntk_Q"])
        carried = carried + c_w * contract("ab,abcd->abcd", step.slope, mixed)
        kept = contract("ab,dc,abcd->abcd", step.slope, step.slope, below["ddntk_T"])
        out = out + step.ratio * (carried + c_w**2 * kept)
    return out


def next_u(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """U of the layer above; its axes a b c d are the samples 1 4 2 3 of ddII."""
    out = _twice_bent(step).transpose(0, 3, 1, 2)
    if step.ratio:
        kept = contract("ab,cd,abcd->abcd", step.slope, step.slope, below["ddntk_U"])
        out = out + step.ratio * step.weight_var**2 * kept
    return out


def _twice_bent(step: Step) -> Bounded:
    """W_1234 with axes 1 2 3 4."""
    theta = step.theta
    mean = step.four(2, 2, 1, 1)
    out = contract("abcd,ab,ac,bd->abcd", mean, theta, theta, theta)
    return step.weight_var**2 * out
