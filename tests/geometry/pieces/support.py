"""Networks with drawn numbers, and an oracle: the sign patterns that a fine grid meets."""

import numpy as np

from whydeep.geometry import from_layers

AXES = np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0])


def drawn(widths, seed=0, inputs=2, outputs=1, bias=0.1, activation="relu"):
    """He-normal weights, normal biases of this standard deviation."""
    weights, biases = layers(widths, seed, inputs, outputs, bias)
    return from_layers(weights, biases, activation)


def layers(widths, seed=0, inputs=2, outputs=1, bias=0.1):
    generator = np.random.default_rng(seed)
    weights, biases, before = [], [], inputs
    for n in (*widths, outputs):
        weights.append(generator.normal(size=(n, before)) * np.sqrt(2 / before))
        biases.append(generator.normal(size=n) * bias)
        before = n
    return weights, biases


def check_against_grid(found, side=300):
    """Patterns met on a grid are those of the cells; no large cell is missed; maps are the values.

    A cell that holds a square of side sqrt(8) times the grid's step holds a point of the grid; a
    cell is as large if its inscribed circle is: area / perimeter >= its radius / 2.
    """
    plane, f = found.plane, found.plane.function
    left, right, bottom, top = plane.window
    s = left + (right - left) * (np.arange(side) + 0.5123) / side
    t = bottom + (top - bottom) * (np.arange(side) + 0.4877) / side
    points = np.stack(np.meshgrid(s, t), axis=-1).reshape(-1, 2)
    met = set(map(bytes, f.pattern(plane.inputs(points))))
    ours = list(map(bytes, found.patterns))
    assert met <= set(ours)
    step = max(right - left, top - bottom) / side
    perimeter = np.array(
        [np.linalg.norm(p - np.roll(p, 1, axis=0), axis=1).sum() for p in found.polygons]
    )
    large = found.areas / perimeter > 2 * step
    assert {p for p, is_large in zip(ours, large, strict=True) if is_large} <= met
    check_maps(found)


def check_maps(found):
    """Every cell's map gives the function's values at its corners, which lie on its boundary."""
    f, cells = found.plane.function, np.repeat(np.arange(found.count), np.diff(found.offsets))
    values = f(found.plane.inputs(found.vertices)).reshape(len(cells), -1)
    maps = found.maps
    ours = np.einsum("kop,kp->ko", maps.A[cells], found.vertices) + maps.b[cells]
    np.testing.assert_allclose(ours, values, rtol=0, atol=1e-12 * np.abs(values).max())
