"""Networks read from JAX functions: the jaxpr, equation by equation."""

from whydeep.network.jax_reader._import import read as read
from whydeep.network.jax_reader._import import read_jax as read_jax
