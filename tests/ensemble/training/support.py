"""Training written out plainly: one network, one gradient, one step after the other, in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble import apply_network, draw_parameters, learning_rates
from whydeep.ensemble._kernels import _draw_key


def squared(f, y):
    return jnp.sum((f - y) ** 2) / 2


@functools.partial(jax.jit, static_argnums=(0, 1))
def drawn(net, shape, words, index):
    return draw_parameters(net, shape, _draw_key(words, 0, index), np.float64)


@functools.partial(jax.jit, static_argnums=0)
def orders(rows, words, index, epochs):
    key = jax.random.fold_in(_draw_key(words, 0, index), 5)
    return jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), rows))(
        epochs
    )


def words_of(seed):
    return np.array([seed >> 32, seed & 0xFFFFFFFF], dtype=np.uint32)


def parameters_at_start(net, x, seed, index):
    """As numpy arrays of float64; JAX must be set to 64 bits."""
    parameters = drawn(net, x.shape[1:], words_of(seed), np.uint32(index))
    return jax.tree.map(np.asarray, parameters)


@functools.partial(jax.jit, static_argnums=0)
def outputs_of(net, parameters, x):
    return apply_network(net, parameters, x)


class Plain:
    """Gradient descent and its like on the rates' own parameters u = w / sqrt(rate)."""

    def __init__(self, net, x, y, seed, index, loss=squared, rule="sgd", step=0.1, batch=None):
        self.net, self.x, self.y = net, x, y
        self.rule, self.step, self.batch = rule, step, batch
        self.w = parameters_at_start(net, x, seed, index)
        self.rates = learning_rates(net, x.shape[1:])
        self.memory = [jax.tree.map(np.zeros_like, self.w) for _ in range(2)]
        self.gradient = jax.jit(jax.grad(lambda w, x, y: loss(apply_network(net, w, x), y)))
        self.orders = np.asarray(orders(len(x), words_of(seed), np.uint32(index), np.arange(20)))
        self.number = 0

    def examples(self):
        if self.batch is None:
            return self.x, self.y, 1.0
        each = len(self.x) // self.batch
        epoch, place = divmod(self.number, each)
        rows = self.orders[epoch][place * self.batch : (place + 1) * self.batch]
        return self.x[rows], self.y[rows], len(self.x) / self.batch

    def one(self):
        x, y, weight = self.examples()
        gradient = jax.tree.map(lambda g: weight * np.asarray(g), self.gradient(self.w, x, y))
        self.number += 1
        if self.rule == "sgd":
            change = jax.tree.map(lambda g, r: r * g, gradient, self.rates)
        elif self.rule == "adam":
            u = jax.tree.map(lambda g, r: r**0.5 * g, gradient, self.rates)
            m, v = self.memory
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, u)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, u)
            self.memory = [m, v]
            left, right = 1 - 0.9**self.number, 1 - 0.999**self.number
            change = jax.tree.map(
                lambda m, v, r: r**0.5 * (m / left) / (np.sqrt(v / right) + 1e-8), m, v, self.rates
            )
        else:
            speed = jax.tree.map(lambda v, g: self.rule[1] * v + g, self.memory[0], gradient)
            self.memory[0] = speed
            change = jax.tree.map(lambda g, r: r * g, speed, self.rates)
        self.w = jax.tree.map(lambda w, c: w - self.step * c, self.w, change)

    def run(self, steps):
        for _ in range(steps):
            self.one()
        return self

    def outputs(self, x=None):
        return np.asarray(outputs_of(self.net, self.w, self.x if x is None else x))
