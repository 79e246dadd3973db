"""Tensors of no network but with all symmetries, and training by brute force."""

import itertools

import numpy as np

from whydeep.observables import OBSERVABLES
from whydeep.theory.training.finite import OutputTensors

LETTERS = "ABDFPQRSTU"


def name_of(letter):
    prefix = "ntk" if letter in "ABDF" else "dntk" if letter in "PQ" else "ddntk"
    return f"{prefix}_{letter}"


def symmetric(array, generators):
    """The mean over the group of permutations of the axes that the generators make."""
    group = {tuple(range(array.ndim))}
    while True:
        more = {tuple(p[k] for k in g) for p in group for g in generators} | group
        if more == group:
            return sum(array.transpose(p) for p in group) / len(group)
        group = more


def random_tensors(seed, size):
    rng = np.random.default_rng(seed)
    root, other = rng.normal(size=(2, size, 3 * size))
    fours = {
        letter: symmetric(rng.normal(size=(size,) * 4), OBSERVABLES[name_of(letter)].symmetry)
        for letter in LETTERS
    }
    shifts = rng.normal(size=(2, size, size))
    return OutputTensors(
        kernel=root @ root.T / root.shape[1],
        ntk=other @ other.T / other.shape[1] + 0.5 * np.eye(size),
        kernel_correction=shifts[0] + shifts[0].T,
        ntk_correction=shifts[1] + shifts[1].T,
        **fours,
    )


def paired(outputs, terms):
    """Sum of (delta, delta, tensor, order of its axes) as an array over (neuron, sample) 4 times.

    ``((0, 1), (2, 3), A, (0, 1, 2, 3))`` is d01 d23 A_0123.
    """
    size = terms[0][2].shape[0]
    out = np.zeros((outputs, size) * 4)
    for neurons in itertools.product(range(outputs), repeat=4):
        for (a, b), (c, d), tensor, order in terms:
            if neurons[a] == neurons[b] and neurons[c] == neurons[d]:
                # axes of the tensor stand for legs `order`: bring them to legs 0, 1, 2, 3
                place = tensor.transpose(np.argsort(order))
                i, j, k, m = neurons
                out[i, :, j, :, k, :, m, :] += place
    return out.reshape((outputs * size,) * 4)


def correlators(t, outputs):
    """E[hh], E[zzh], E[dH z], E[ddI] and E[ddII] over all neurons and samples."""
    two = ((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))
    orders = (0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)
    turned = (0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)

    def three(tensors, orders):
        return paired(
            outputs, [(*pair, x, o) for pair, x, o in zip(two, tensors, orders, strict=True)]
        )

    return {
        "hh": three((t.A, t.B, t.B), orders),
        "zzh": three((t.D, t.F, t.F), orders),
        "dHz": paired(
            outputs,
            [
                ((0, 3), (1, 2), t.P, (0, 1, 2, 3)),
                ((0, 1), (2, 3), t.Q, (0, 1, 2, 3)),
                ((0, 2), (1, 3), t.Q, (0, 2, 1, 3)),
            ],
        ),
        "ddI": three((t.R, t.R, t.R), turned),
        "ddII": three((t.S, t.T, t.U), turned),
    }


def descend(z, h, dh, dd, y, steps, step):
    """Steps of gradient descent on outputs (G, X), as the hierarchy has them to all orders in h.

    Args:
        z: (G, X) outputs; h: (G, X, X) kernels; dh: (G, X, X, X); dd: two arrays (X, X, X, X).
        y: (X,), NaN where a sample is not trained on.
    """
    one, two = dd
    trained = np.isfinite(y)
    for _ in range(steps):
        e = np.where(trained, z - y, 0.0)
        z = (
            z
            - step * np.einsum("gab,gb->ga", h, e)
            + step**2 / 2 * np.einsum("gabc,gb,gc->ga", dh, e, e, optimize=True)
            - step**3 / 6 * np.einsum("abcd,gb,gc,gd->ga", one, e, e, e, optimize=True)
        )
        moved = step * np.einsum("gabc,gc->gab", dh, e)
        bent = np.einsum("abcd,gc,gd->gab", one, e, e, optimize=True)
        twist = np.einsum("abcd,gc,gd->gab", two, e, e, optimize=True)
        h = (
            h - moved - moved.transpose(0, 2, 1)
            + step**2 / 2 * (bent + bent.transpose(0, 2, 1) + 2 * twist)
        )  # fmt: skip
        change = one + two + two.transpose(0, 2, 1, 3)
        dh = dh - step * np.einsum("abcd,gd->gabc", change, e)
    return z, h


def brute_force(t, y, samples, outputs, steps, step, small=0.01):
    """Coefficients of 1/n of mean, covariance and kernel after some steps, by averaging descent.

    Outputs are integrated exactly over the Gaussian law of infinite width (three nodes a
    dimension are exact to degree five, and no more than four occurs), the kernel's fluctuations
    by pairs of opposite directions; 1/n is `small`^2, extrapolated to zero.

    Args:
        y: (N, outputs), the first N of all samples.
    """
    size = outputs * samples
    kernel = np.kron(np.eye(outputs), t.kernel)
    inverse = np.linalg.inv(kernel)
    found = correlators(t, outputs)
    targets = np.full((outputs, samples), np.nan)
    targets[:, : len(y)] = y.T
    targets = targets.ravel()
    nodes = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)])
    grid = np.array(list(itertools.product(nodes, repeat=size)))
    weights = np.array(list(itertools.product([1 / 6, 2 / 3, 1 / 6], repeat=size))).prod(axis=1)
    z = grid @ np.linalg.cholesky(kernel).T
    shift = np.kron(np.eye(outputs), t.kernel_correction) @ inverse / 2
    # what of the kernel's fluctuations goes with two outputs
    squares = np.einsum("ga,gb->gab", z @ inverse, z @ inverse) - inverse
    along = 0.5 * np.einsum("gab,abcd->gcd", squares, found["zzh"], optimize=True)
    base = np.kron(np.eye(outputs), t.ntk)
    mean_shift = np.kron(np.eye(outputs), t.ntk_correction)
    dh = np.einsum("abcd,dg->gabc", found["dHz"], inverse @ z.T)
    values, vectors = np.linalg.eigh(found["hh"].reshape(size**2, size**2))
    keep = np.abs(values) > 1e-12 * np.abs(values).max()
    ways = np.sqrt(np.abs(values[keep])), np.sign(values[keep]), vectors[:, keep].T

    def moments(h, dh, dd, start):
        end, kernels = descend(start, h, dh, dd, targets, steps, step)
        mean = weights @ end
        second = np.einsum("g,ga,gb->ab", weights, end, end)
        return mean, second, np.einsum("g,gab->ab", weights, kernels - h)

    zeros = np.zeros_like(found["ddI"])
    still = np.broadcast_to(base, (len(z), size, size))
    none = np.zeros((len(z),) + (size,) * 3)
    zero = moments(still, none, (zeros, zeros), z)

    def coefficient(e):
        total = [
            a - b
            for a, b in zip(
                moments(
                    still + e**2 * (mean_shift + along),
                    e**2 * dh,
                    (e**2 * found["ddI"], e**2 * found["ddII"]),
                    z + e**2 * z @ shift.T,
                ),
                zero,
                strict=True,
            )
        ]
        for length, sign, vector in zip(*ways, strict=True):
            direction = e * length * vector.reshape(size, size)
            both = [moments(still + s * direction, none, (zeros, zeros), z) for s in (1, -1)]
            for k in range(3):
                total[k] = total[k] + sign * ((both[0][k] + both[1][k]) / 2 - zero[k])
        return [x / e**2 for x in total]

    large, fine = coefficient(small), coefficient(small / 2)
    mean, second, drift = ((4 * f - g) / 3 for f, g in zip(fine, large, strict=True))
    covariance = second - np.outer(zero[0], mean) - np.outer(mean, zero[0])
    shape = (outputs, samples)
    return (
        mean.reshape(shape).T,
        covariance.reshape(shape * 2).transpose(0, 2, 1, 3),
        drift.reshape(shape * 2).transpose(0, 2, 1, 3),
    )
