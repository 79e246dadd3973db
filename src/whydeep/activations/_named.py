"""The activations that have a name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations._custom import custom
from whydeep.activations._function import ScalarFunction
from whydeep.activations._held import Held
from whydeep.arguments import refusal, shown
from whydeep.errors import InputError

__all__ = ["NAMES", "get"]


# Functions of this module, by which they are pickled: JAX's own may not be found by their names.


def _tanh(z: Any) -> Any:
    return jnp.tanh(z)


def _erf(z: Any) -> Any:
    return jax.scipy.special.erf(z)


def _sigmoid(z: Any) -> Any:
    return jax.lax.logistic(z)


def _sin(z: Any) -> Any:
    return jnp.sin(z)


def _cos(z: Any) -> Any:
    return jnp.cos(z)


def _exp(z: Any) -> Any:
    return jnp.exp(z)


def _zero(z: Any) -> Any:
    return 0.0 * z


def _identity(z: Any) -> Any:
    return 1.0 * z


def _scaled(z: Any, slope: float) -> Any:
    return slope * z


def _constant(z: Any, value: float) -> Any:
    return 0.0 * z + value


def _gelu(z: Any) -> Any:
    # The complementary error function keeps the relative accuracy of the left tail.
    return 0.5 * z * jax.scipy.special.erfc(-z * math.sqrt(0.5))


def _gelu_tanh(z: Any) -> Any:
    # (1 + tanh(w)) / 2 = logistic(2 w), which keeps the relative accuracy of the left tail
    return z * jax.lax.logistic(2.0 * math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3))


def _silu(z: Any) -> Any:
    return z * jax.lax.logistic(z)


def _softplus(z: Any) -> Any:
    return jnp.logaddexp(z, 0.0)


def _mish(z: Any) -> Any:
    return z * jnp.tanh(_softplus(z))


def _exponential_piece(z: Any, scale: float) -> Any:
    return scale * jnp.expm1(z)


def _gaussian(z: Any) -> Any:
    return jnp.exp(-z * z)


def _gabor(z: Any) -> Any:
    return jnp.exp(-z * z) * jnp.sin(z)


def _shifted_sine(z: Any, frequency: float) -> Any:
    return math.sqrt(2.0) * jnp.sin(frequency * z + math.pi / 4.0)


def _power(z: Any, exponent: int) -> Any:
    return jax.lax.integer_pow(z, exponent)


def _homogeneous(family: str, minus: float, plus: float, *parameters: float) -> ScalarFunction:
    return ScalarFunction(
        _spell(family, parameters),
        (Held(_scaled, (minus,)), Held(_scaled, (plus,))),
        kinks=(0.0,),
        slopes=(minus, plus),
        family=family,
        parameters=parameters,
    )


def _leaky_relu(slope: float = 0.01) -> ScalarFunction:
    return _homogeneous("leaky_relu", slope, 1.0, slope)


def _elu(alpha: float = 1.0) -> ScalarFunction:
    pieces = (Held(_exponential_piece, (alpha,)), _identity)
    parameters = () if alpha == 1.0 else (alpha,)
    return ScalarFunction(
        _spell("elu", parameters), pieces, (0.0,), family="elu", parameters=parameters
    )


# Klambauer, Unterthiner, Mayr and Hochreiter 2017, Eq. 14.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _selu() -> ScalarFunction:
    pieces = (
        Held(_exponential_piece, (_SELU_SCALE * _SELU_ALPHA,)),
        Held(_scaled, (_SELU_SCALE,)),
    )
    return ScalarFunction("selu", pieces, (0.0,), family="selu")


def _sign() -> ScalarFunction:
    pieces = (Held(_constant, (-1.0,)), Held(_constant, (1.0,)))
    return ScalarFunction("sign", pieces, (0.0,), odd=True, family="sign")


def _rectified_monomial(exponent: float = 2) -> ScalarFunction:
    if exponent != int(exponent) or not 0 <= exponent <= 12:
        raise InputError(
            "A rectified monomial needs a small whole exponent.",
            received=f"rectified_monomial({exponent})",
            needed="a whole number from 0 to 12",
        )
    k = int(exponent)
    if k == 0:
        return _step()
    if k == 1:
        return _homogeneous("relu", 0.0, 1.0)
    return ScalarFunction(
        f"rectified_monomial({k})",
        (_zero, Held(_power, (k,))),
        kinks=(0.0,),
        heavy_tailed=k >= 3,
        family="rectified_monomial",
        parameters=(float(k),),
    )


def _horner(z: Any, coefficients: tuple[float, ...]) -> Any:
    total = 0.0 * z + coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * z + coefficient
    return total


def _polynomial(*coefficients: float) -> ScalarFunction:
    if not 1 <= len(coefficients) <= 13:
        raise InputError(
            "A polynomial needs its coefficients, from the constant up.",
            received=f"{len(coefficients)} numbers",
            needed='1 to 13 of them: "polynomial(0, 1, 0, -0.2)" is z - 0.2 z^3',
        )
    return ScalarFunction(
        _spell("polynomial", coefficients),
        (Held(_horner, (coefficients,)),),
        odd=not any(coefficients[::2]),
        heavy_tailed=len(coefficients) > 3,
        family="polynomial",
        parameters=coefficients,
    )


def _hermite(degree: float = 2) -> ScalarFunction:
    if degree != int(degree) or not 0 <= degree <= 12:
        raise InputError(
            "A Hermite polynomial needs a small whole degree.",
            received=f"hermite({degree})",
            needed="a whole number from 0 to 12",
        )
    n = int(degree)
    plain = np.polynomial.hermite_e.herme2poly(np.eye(n + 1)[n]) / math.sqrt(math.factorial(n))
    found = _polynomial(*map(float, plain))
    return dataclasses.replace(found, name=f"hermite({n})")


def _rbf(gamma: float = 1.0) -> ScalarFunction:
    if gamma <= 0:
        raise InputError("The rbf needs gamma > 0.", received=f"rbf({gamma:g})")
    piece = Held(_shifted_sine, (math.sqrt(2.0 * gamma),))
    return ScalarFunction(f"rbf({gamma:g})", (piece,), family="rbf", parameters=(gamma,))


def _step() -> ScalarFunction:
    pieces = (_zero, Held(_constant, (1.0,)))
    return ScalarFunction("step", pieces, (0.0,), family="step")


def _hard_tanh() -> ScalarFunction:
    pieces = (
        Held(_constant, (-1.0,)),
        _identity,
        Held(_constant, (1.0,)),
    )
    return ScalarFunction("hard_tanh", pieces, (-1.0, 1.0), odd=True, family="hard_tanh")


def _monomial(exponent: float = 2) -> ScalarFunction:
    if exponent != int(exponent) or not 0 <= exponent <= 12:
        raise InputError(
            "A monomial needs a small whole exponent.",
            received=f"monomial({exponent})",
            needed="a whole number from 0 to 12",
            cause="z**k is not smooth at 0 for other powers, and its moments grow like (2k)!",
            suggestion='"monomial(3)"',
        )
    k = int(exponent)
    return ScalarFunction(
        f"monomial({k})",
        (Held(_power, (k,)),),
        slopes=(1.0, 1.0) if k == 1 else None,
        odd=k % 2 == 1,
        heavy_tailed=k >= 3,
        family="monomial",
        parameters=(float(k),),
    )


def _entire(family: str, piece: Callable[[Any], Any], **flags: Any) -> Callable[[], ScalarFunction]:
    return lambda: ScalarFunction(family, (piece,), family=family, **flags)


_BUILDERS: dict[str, Callable[..., ScalarFunction]] = {
    "linear": _entire("linear", _identity, odd=True, slopes=(1.0, 1.0)),
    "relu": lambda: _homogeneous("relu", 0.0, 1.0),
    "leaky_relu": _leaky_relu,
    "abs": lambda: _homogeneous("abs", -1.0, 1.0),
    "step": _step,
    "tanh": _entire("tanh", _tanh, odd=True),
    "hard_tanh": _hard_tanh,
    "erf": _entire("erf", _erf, odd=True),
    "gelu": _entire("gelu", _gelu),
    "gelu_tanh": _entire("gelu_tanh", _gelu_tanh),
    "silu": _entire("silu", _silu),
    "mish": _entire("mish", _mish),
    "sigmoid": _entire("sigmoid", _sigmoid),
    "softplus": _entire("softplus", _softplus),
    "elu": _elu,
    "selu": _selu,
    "sin": _entire("sin", _sin, odd=True),
    "cos": _entire("cos", _cos),
    "exp": _entire("exp", _exp, heavy_tailed=True),
    "gaussian": _entire("gaussian", _gaussian),
    "gabor": _entire("gabor", _gabor, odd=True),
    "rbf": _rbf,
    "sign": _sign,
    "monomial": _monomial,
    "rectified_monomial": _rectified_monomial,
    "polynomial": _polynomial,
    "hermite": _hermite,
}
_ALIASES = {"swish": "silu", "identity": "linear", "heaviside": "step", "logistic": "sigmoid"}

NAMES: tuple[str, ...] = tuple(_BUILDERS)
"""The names that `get` knows."""


def _spell(family: str, parameters: tuple[float, ...]) -> str:
    return f"{family}({', '.join(f'{p:g}' for p in parameters)})" if parameters else family


def get(activation: str | ScalarFunction | Callable[[Any], Any]) -> ScalarFunction:
    """The activation that a name, a `ScalarFunction` or a user's function stands for.

    Names take parameters in brackets: ``"leaky_relu(0.2)"``, ``"monomial(3)"``, ``"elu(0.5)"``.

    Raises:
        InputError: an unknown name, bad parameters, or a function that can't be used.

    Example:
        >>> get("leaky_relu(0.2)").slopes
        (0.2, 1.0)
    """
    if isinstance(activation, ScalarFunction):
        return activation
    if callable(activation):
        return custom(activation)
    if isinstance(activation, str):
        return _by_name(activation)
    raise refusal(
        "activation", activation, "An activation is a name or a function.",
        "one of " + ", ".join(NAMES) + ", or a jax.numpy function of one variable",
        cause="one activation serves all layers; whydeep.chain makes networks of several"
        if isinstance(activation, (list, tuple)) else "",
    )  # fmt: skip


def ACTIVATION(name: str, value: Any) -> ScalarFunction:
    """The kind of arguments that are activations, by name or as functions."""
    del name
    return get(value)


@functools.lru_cache(maxsize=256)
def _by_name(text: str) -> ScalarFunction:
    match = re.fullmatch(r"\s*([a-zA-Z_]+)\s*(?:\(([^()]*)\))?\s*", text)
    family = match.group(1).lower() if match else ""
    family = _ALIASES.get(family, family)
    if match is None or family not in _BUILDERS:
        raise InputError(
            "There is no activation of this name.",
            received=shown(text),
            needed="one of " + ", ".join(NAMES),
            suggestion="a name above, or any jax.numpy function of one variable",
        )
    try:
        parameters = [float(p) for p in (match.group(2) or "").split(",") if p.strip()]
        if not all(math.isfinite(p) for p in parameters):
            raise ValueError
        inspect.signature(_BUILDERS[family]).bind(*parameters)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The parameters of {family} can't be read.",
            received=shown(text),
            needed=f"finite numbers for {inspect.signature(_BUILDERS[family])}",
        ) from error
    return _BUILDERS[family](*parameters)
