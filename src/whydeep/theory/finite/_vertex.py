"""First corrections in 1/width: the four-point vertex and the correction of the kernel.

With M_ab^{cd} = (1/2) <D_c D_d (s_a s_b)> (derivatives with respect to preactivations), r = n_l /
n_(l-1), and V = G = 0 at the first layer,

    V'_(ab)(cd) = C_W^2 [<s_a s_b s_c s_d> - <s_a s_b><s_c s_d>]
                  + r C_W^2 sum M_ab^{ef} M_cd^{gh} V_(ef)(gh)
    G'_ab = r C_W [sum M_ab^{cd} G_cd + (1/8) sum <D_c D_d D_e D_f (s_a s_b)> V_(cd)(ef)].

V / n is the connected four-point function of two neurons of the next layer, G / n the shift of its
mean kernel, with n the width of the layer below. Derivatives of a kinked activation are those of
distributions; they exist as long as the inputs are apart.

Source: Roberts, Yaida and Hanin 2022, Eqs. 4.90 (V) and 4.136 (G), there through inverse kernels;
the derivative form is theirs after integration by parts, and works for dependent inputs too.
"""

from __future__ import annotations

from collections.abc import Mapping

from whydeep.theory.finite._bounded import Bounded, contract
from whydeep.theory.finite._means import Step, through

__all__ = ["next_correction", "next_vertex"]


def next_vertex(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """V of the layer above."""
    images = step.images
    covariance = step.four_images - contract("ab,cd->abcd", images, images)
    if step.ratio:
        carried = through(step.image_map, below["four_point"], step.image_map)
        covariance = covariance + step.ratio * carried
    return step.weight_var**2 * covariance


def next_correction(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """G of the layer above."""
    if not step.ratio:
        return below["kernel_correction"]
    moved = contract("abcd,cd->ab", step.image_map, below["kernel_correction"])
    bent = step.fourth_image(below["four_point"]) / 8.0
    return step.ratio * step.weight_var * (moved + bent)
