"""Builders of convolutional and residual networks and of transformers."""

import numpy as np
import pytest

import whydeep as wd
from whydeep.ensemble import measure_kernels
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import widened

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(2, 4, 4, 3))


def test_a_chain_of_convolutions():
    built = wd.cnn(2, 8, "relu", pool=(1,), readout="flatten", outputs=3)
    conv, act = wd.Conv(8, (3, 3), 1, "SAME", 2.0), wd.Activation("relu")
    assert built == wd.chain(conv, act, wd.AvgPool((2, 2)), conv, act, wd.Flatten(),
                             wd.Dense(3, 2.0))  # fmt: skip


def test_a_filter_of_one_on_one_position_is_a_fully_connected_network():
    x = RNG.normal(size=(3, 5))
    flat = wd.kernel(wd.mlp(2, activation="gelu"), x)
    for readout in ("average", "flatten"):
        one = wd.kernel(wd.cnn(2, activation="gelu", size=1, readout=readout), x[:, None, None])
        np.testing.assert_allclose(one.nngp, flat.nngp, rtol=1e-12)
        np.testing.assert_allclose(one.ntk, flat.ntk, rtol=1e-12)


# One comparison in 10^4 passes 3.9 standard errors; the next order in 1/width is bounded by that
# of the two widths' own difference.
@pytest.mark.parametrize(
    ("net", "x", "how"),
    [
        (wd.resnet((1, 1), 16, "tanh", outputs=16, weight_var=1.5, bias_var=0.1), IMAGES, {}),
        (wd.resnet((1,), 16, "relu", outputs=16, norm=None), IMAGES, {}),
        (wd.transformer(1, 32, 8, tokens=5, positions=4, outputs=16), RNG.integers(0, 5, (2, 4)),
         {"draws": 2048}),
        (wd.transformer(1, 32, 8, "relu", norm="post", causal=True, outputs=16),
         RNG.normal(size=(2, 4, 6)), {"draws": 2048}),
    ],
    ids=["resnet", "resnet without norms", "transformer", "transformer after norms"],
)  # fmt: skip
def test_wide_networks_have_the_kernel(net, x, how):
    predicted = wd.kernel(net, x, **how)
    narrow, wide = (
        measure_kernels(widened(net, k, x.shape[1:]), x, draws=600, ntk_draws=0, seed=k)
        for k in (1, 2)
    )
    found = 2 * wide.nngp - narrow.nngp
    error = np.sqrt(4 * wide.nngp_stderr**2 + narrow.nngp_stderr**2)
    if predicted.nngp_stderr is not None:
        error = np.hypot(error, predicted.nngp_stderr)
    allowed = 3.9 * error + 0.5 * np.abs(wide.nngp - narrow.nngp)
    assert np.all(np.abs(found - predicted.nngp) < allowed)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="does not exist"):
        wd.cnn(2, pool=(3,))
    with pytest.raises(InputError, match="norm"):
        wd.transformer(norm="between")
    with pytest.raises(UnsupportedError, match="critical"):
        wd.resnet(activation="sigmoid")
    with pytest.raises(InputError, match="readout"):
        wd.cnn(2, readout="sum")
    with pytest.raises(InputError, match="strides"):
        wd.Conv(8, (3, 3), 2.0)
    with pytest.raises(InputError, match="size"):
        wd.AvgPool(2.0)
    with pytest.raises(InputError, match="groups"):
        wd.chain(wd.Dense(6), wd.GroupNorm(groups=4)).shapes((3,))
