"""Fluctuations of the tangent kernel, with the preactivations (D, F) and with itself (A, B).

Axes as in `whydeep.observables`, maps M, O and E as in `_means`, r = n_l / n_(l-1), and all four
tensors 0 at the first layer:

    D'_abcd = C_W [<s_a s_b Omega_cd> - <s_a s_b><Omega_cd>]
              + r {C_W sum M_ab^{ef} O_cd^{gh} V_(ef)(gh) + C_W^2 <s'_c s'_d> sum M_ab^{ef} D_efcd}
    F'_abcd = C_W^2 {<s_a s'_b s_c s'_d> Theta_bd + r sum E_ab^e E_cd^f F_ebfd}
    A'_abcd = <Omega_ab Omega_cd> - <Omega_ab><Omega_cd>
              + r {sum O_ab^{ef} O_cd^{gh} V_(ef)(gh) + C_W <s'_c s'_d> sum O_ab^{ef} D_efcd
                   + C_W <s'_a s'_b> sum O_cd^{ef} D_efab
                   + C_W^2 <s'_a s'_b><s'_c s'_d> A_abcd}
    B'_abcd = C_W^2 {<s'_a s'_b s'_c s'_d> Theta_ac Theta_bd
                     + r <s'_a s'_b><s'_c s'_d> B_abcd}

Only s and s' appear in the means that are not derivatives of a mean: kinked activations have all
four.

Source: Roberts, Yaida and Hanin 2022, Sections 8.2 and 8.3 (D, F, A, B), in derivative form.
"""

from __future__ import annotations

from collections.abc import Mapping

from whydeep.theory.finite._bounded import Bounded, contract
from whydeep.theory.finite._means import Step, through

__all__ = ["next_a", "next_b", "next_d", "next_f"]


def next_d(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """D of the layer above."""
    c_w = step.weight_var
    out = c_w * _image_tangent_covariance(step)
    if step.ratio:
        vertex = through(step.image_map, below["four_point"], step.tangent_map)
        kept = contract("cd,abcd->abcd", step.slope, through(step.image_map, below["ntk_D"]))
        out = out + step.ratio * (c_w * vertex + c_w**2 * kept)
    return out


def next_f(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """F of the layer above."""
    out = contract("abcd,bd->abcd", step.four(0, 1, 0, 1), step.theta)
    if step.ratio:
        half = contract("abe,ebfd->abfd", step.mixed_map, below["ntk_F"])
        out = out + step.ratio * contract("cdf,abfd->abcd", step.mixed_map, half)
    return step.weight_var**2 * out


def next_a(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """A of the layer above."""
    c_w, theta = step.weight_var, step.theta
    # Omega_ab with Omega_cd: its image part with all of Omega_cd, its slope part with either.
    images = step.weight_lr * _image_tangent_covariance(step)
    crossed = contract("abcd,ab->abcd", _image_slope_covariance(step).transpose(2, 3, 0, 1), theta)
    slopes = contract("abcd,ab,cd->abcd", _slope_covariance(step), theta, theta)
    out = images + step.weight_lr * c_w * crossed + c_w**2 * slopes
    if step.ratio:
        o = step.tangent_map
        vertex = through(o, below["four_point"], o)
        mixed = c_w * contract("cd,abcd->abcd", step.slope, through(o, below["ntk_D"]))
        kept = contract("ab,cd,abcd->abcd", step.slope, step.slope, below["ntk_A"])
        carried = vertex + mixed + mixed.transpose(2, 3, 0, 1) + c_w**2 * kept
        out = out + step.ratio * carried
    return out


def next_b(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """B of the layer above."""
    out = contract("abcd,ac,bd->abcd", step.four(1, 1, 1, 1), step.theta, step.theta)
    if step.ratio:
        kept = contract("ab,cd,abcd->abcd", step.slope, step.slope, below["ntk_B"])
        out = out + step.ratio * kept
    return step.weight_var**2 * out


def _image_tangent_covariance(step: Step) -> Bounded:
    """<s_a s_b Omega_cd> - <s_a s_b><Omega_cd>."""
    images = step.four_images - contract("ab,cd->abcd", step.images, step.images)
    slopes = contract("abcd,cd->abcd", _image_slope_covariance(step), step.theta)
    return step.weight_lr * images + step.weight_var * slopes


def _image_slope_covariance(step: Step) -> Bounded:
    """<s_a s_b s'_c s'_d> - <s_a s_b><s'_c s'_d>."""
    return step.four(0, 0, 1, 1) - contract("ab,cd->abcd", step.images, step.slope)


def _slope_covariance(step: Step) -> Bounded:
    """<s'_a s'_b s'_c s'_d> - <s'_a s'_b><s'_c s'_d>."""
    return step.four(1, 1, 1, 1) - contract("ab,cd->abcd", step.slope, step.slope)
