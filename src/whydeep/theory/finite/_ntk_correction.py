"""The correction of the mean tangent kernel in 1/width.

With the maps of `_means`, F and D with the axes of `whydeep.observables`, r = n_l / n_(l-1), and
nothing at the first layer,

    H1'_ab = r {sum O_ab^{cd} G_cd + (1/8) sum <D_c D_d D_e D_f Omega_ab> V_(cd)(ef)
                + C_W <s'_a s'_b> H1_ab
                + (C_W/2) sum <D_c D_d (s'_a s'_b)> [D_cdab + F_cadb + F_cbda]}.

Source: Guillen, Misof and Gerken 2025 (Feynman rules of the tangent kernel); derived here from the
definition, with derivatives in place of inverse kernels.
"""

from __future__ import annotations

from collections.abc import Mapping

from whydeep.theory.finite._bounded import Bounded, contract
from whydeep.theory.finite._means import Step

__all__ = ["next_tangent_correction"]


def next_tangent_correction(step: Step, below: Mapping[str, Bounded]) -> Bounded:
    """H1 of the layer above."""
    if not step.ratio:
        return below["ntk_correction"]
    moved = contract("abcd,cd->ab", step.tangent_map, below["kernel_correction"])
    bent = step.fourth_tangent(below["four_point"]) / 8.0
    kept = contract("ab,ab->ab", step.slope, below["ntk_correction"])
    joint = contract("abcd,cdab->ab", step.slope_map, below["ntk_D"])
    crossed = contract("abcd,cadb->ab", step.slope_map, below["ntk_F"])
    joint = joint + crossed + crossed.transpose(1, 0)
    return step.ratio * (moved + bent + step.weight_var * (kept + joint))
