"""Second moments of kernel and tangent kernel at any width: a linear recursion that closes.

Given the layer below, z'_ia = b_i + w_i . s_a and H'_ij;ab = delta_ij B_ab + w_i^T M_ab w_j with
M_kl;ab = sigma_k H_kl;ab sigma_l, sigma_k the slope of s at neuron k, B_ab = lambda_b + lambda_W
S_ab and S_ab = (1/n) sum_k s_ka s_kb. The means over w and b are Wick's. What is left are means
over two neurons of the layer below, in which slopes are independent of the rest: flipping the sign
of (w_k, b_k) flips z_k and leaves z_k^2, H_kk, H_kl^2 and z_k z_l H_kl as they are. So sigma^2 and
sigma^4 are replaced by their means, and five tensors over samples a b c d determine each other:

    zz_abcd = E[z_1a z_1b z_2c z_2d]    zh_abcd = E[z_1a z_1b H_22;cd]    zx_abcd = E[z_1a z_2c H_12;bd]
    hh_abcd = E[H_11;ab H_22;cd]        hx_abcd = E[H_12;ac H_12;bd]

For a linear network sigma is one number, and that holds for any number of samples; for others for
one sample. In 1/width these are V, D, F, A and B of Roberts, Yaida and Hanin (2022), Chapter 8.
"""  # noqa: E501 -- five definitions in a table

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whydeep.network import Network

__all__ = ["Pairs", "pair_moments"]


@dataclass(frozen=True)
class Pairs:
    """Moments at one layer: means (N, N), pairs of neurons (N, N, N, N) as in the module's text."""

    kernel: np.ndarray
    ntk: np.ndarray
    zz: np.ndarray
    zh: np.ndarray
    zx: np.ndarray
    hh: np.ndarray
    hx: np.ndarray

    def connected(self) -> dict[str, np.ndarray]:
        """What is left of the pairs without the products of means: zero at infinite width."""
        return {
            "four_point": self.zz - _outer(self.kernel, self.kernel),
            "ntk_A": self.hh - _outer(self.ntk, self.ntk),
            "ntk_B": self.hx,
            "ntk_D": self.zh - _outer(self.kernel, self.ntk),
            "ntk_F": self.zx,
        }


def pair_moments(network: Network, x: np.ndarray) -> Iterator[Pairs]:
    """The layers 1 to L + 1. Cost: a few sums over N^4 a layer."""
    minus, plus = network.activation.slopes or (0.0, 0.0)
    two, four = (minus**2 + plus**2) / 2, (minus**4 + plus**4) / 2
    rates = network.learning_rates(x.shape[1])
    gram = x @ x.T / x.shape[1]
    first = network.dense[0]
    kernel = first.bias_var + first.weight_var * gram
    ntk = rates[0][0] + rates[0][1] * gram
    none = np.zeros((len(x),) * 4)
    pairs = Pairs(
        kernel, ntk, _outer(kernel, kernel), _outer(kernel, ntk), none, _outer(ntk, ntk), none
    )
    yield pairs
    for dense, width, rate in zip(network.dense[1:], network.widths, rates[1:], strict=True):
        pairs = _next(pairs, two, four, width, (dense.bias_var, dense.weight_var), rate)
        yield pairs


def _next(
    below: Pairs,
    two: float,
    four: float,
    width: int,
    variances: tuple[float, float],
    rates: tuple[float, float],
) -> Pairs:
    (c_b, c_w), (l_b, l_w) = variances, rates
    same, other = four / width, two**2 * (1 - 1 / width)

    # One neuron twice: given the layer below its z are jointly normal, its H quadratic in w.
    zz_same = below.zz + below.zz.transpose(0, 2, 1, 3) + below.zz.transpose(0, 2, 3, 1)
    zh_same = below.zh + below.zx.transpose(0, 2, 1, 3) + below.zx.transpose(2, 0, 1, 3)
    hh_same = below.hh + below.hx.transpose(0, 2, 1, 3) + below.hx.transpose(0, 2, 3, 1)

    images, slopes = two * below.kernel, two * below.ntk  # E S, and E T, T = (1/n) tr M
    ss = same * zz_same + other * below.zz
    st = same * zh_same + other * below.zh
    tt = same * hh_same + other * below.hh
    q = same * zh_same.transpose(0, 2, 1, 3) + other * below.zx
    r = same * hh_same.transpose(0, 2, 1, 3) + other * below.hx

    kernel = c_b + c_w * images
    mean = l_w * images + c_w * slopes  # of U = lambda_W S + C_W T, the part of H'_ii that varies
    su = l_w * ss + c_w * st
    uu = l_w**2 * ss + l_w * c_w * (st + _swapped(st)) + c_w**2 * tt
    return Pairs(
        kernel=kernel,
        ntk=l_b + mean,
        zz=c_b**2 + c_b * c_w * _sum(images, images) + c_w**2 * ss,
        zh=c_b * (l_b + mean)[None, None] + c_w * (l_b * images[:, :, None, None] + su),
        zx=c_w**2 * q,
        hh=l_b**2 + l_b * _sum(mean, mean) + uu,
        hx=c_w**2 * r,
    )


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, :, None, None] * b[None, None]


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, :, None, None] + b[None, None]


def _swapped(a: np.ndarray) -> np.ndarray:
    return a.transpose(2, 3, 0, 1)
