"""Named functions of one variable: their pieces, kinks, derivatives and symmetries.

An activation is a `ScalarFunction`: smooth pieces joined at kinks. The pieces are written with
``jax.numpy``, so the same definition is applied to networks, differentiated by JAX, and evaluated
in float64 for quadrature. A smooth function has one piece and no kink.

Everything that theory needs beyond values follows from the pieces: one-sided derivatives at a
kink are the derivatives of the pieces there, and their jumps are the weights of the delta
functions that appear when the whole is differentiated (relu'' = delta).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import InputError

__all__ = ["NAMES", "ScalarFunction", "custom", "get"]

# Arrays are padded to one of these lengths before they meet a compiled function, so that a
# function is compiled at most once a length however many grids it is evaluated on.
_COMPILED_LENGTHS = (1 << 10, 1 << 14, 1 << 18)


@dataclass(frozen=True)
class ScalarFunction:
    """A function of one variable made of smooth pieces.

    Args:
        name: how it is written in tables and passed by name, such as ``"leaky_relu(0.1)"``.
        pieces: smooth functions of one ``jax`` array, left to right.
        kinks: where one piece ends and the next begins, increasing; one fewer than the pieces.
        slopes: ``(a_minus, a_plus)`` if the function is ``a_minus z`` for ``z < 0`` and
            ``a_plus z`` for ``z > 0`` (positively homogeneous), else None.
        odd: whether ``f(-z) = -f(z)``.
        heavy_tailed: whether it grows so fast that the fourth moments of a Gaussian's image are
            dominated by events which no feasible number of draws contains.
        family: the name without parameters, and ``parameters``: their values.
    """

    name: str
    pieces: tuple[Callable[[Any], Any], ...]
    kinks: tuple[float, ...] = ()
    slopes: tuple[float, float] | None = None
    odd: bool = False
    heavy_tailed: bool = False
    family: str = "custom"
    parameters: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    @property
    def smooth(self) -> bool:
        """Whether there is no kink."""
        return not self.kinks

    @property
    def continuous(self) -> bool:
        """Whether the pieces meet (``step`` jumps)."""
        return self.smooth or bool(np.all(np.abs(self.jumps(0)[:, 0]) < 1e-12))

    def __call__(self, z: Any) -> Any:
        """Apply to a JAX array, differentiable on both sides of every kink.

        At a kink the right-hand piece is in force. Each piece sees only arguments of its own
        interval (the others are moved to the kink), so no unused branch can overflow.
        """
        value = self._applied(0, z)
        for index in range(1, len(self.pieces)):
            value = jnp.where(z >= self.kinks[index - 1], self._applied(index, z), value)
        return value

    def _applied(self, index: int, z: Any) -> Any:
        if index > 0:
            z = jnp.where(z >= self.kinks[index - 1], z, self.kinks[index - 1])
        if index < len(self.kinks):
            z = jnp.where(z < self.kinks[index], z, self.kinks[index])
        return self.pieces[index](z)

    def derivatives(self, z: np.ndarray, order: int) -> list[np.ndarray]:
        """Values and derivatives up to `order` in float64, delta functions at kinks left out.

        Returns a list ``[f, f', ..., f^(order)]`` of arrays shaped like `z`. Cost: one compiled
        elementwise pass; JAX's global precision setting is neither read nor changed.
        """
        z = np.asarray(z, dtype=np.float64)
        if self.smooth:
            return _evaluate(self.pieces[0], order, z)
        out = [np.empty_like(z) for _ in range(order + 1)]
        which = np.searchsorted(np.asarray(self.kinks), z, side="right")
        for index, piece in enumerate(self.pieces):
            mask = which == index
            if mask.any():
                for target, values in zip(out, _evaluate(piece, order, z[mask]), strict=True):
                    target[mask] = values
        return out

    def jumps(self, order: int) -> np.ndarray:
        """Jumps (right minus left) of the derivatives 0 to `order`: array (kinks, order + 1)."""
        return self.one_sided(order)[:, 1] - self.one_sided(order)[:, 0]

    def one_sided(self, order: int) -> np.ndarray:
        """Left and right derivatives at the kinks: array (kinks, 2, order + 1)."""
        out = np.empty((len(self.kinks), 2, order + 1))
        for index, kink in enumerate(self.kinks):
            for side in (0, 1):
                values = _evaluate(self.pieces[index + side], order, np.asarray([kink]))
                out[index, side] = [v[0] for v in values]
        return out


@functools.lru_cache(maxsize=512)
def _compiled(piece: Callable[[Any], Any], order: int) -> Callable[[Any], Any]:
    functions = [piece]
    for _ in range(order):
        functions.append(jax.grad(functions[-1]))
    return jax.jit(jax.vmap(lambda z: jnp.stack([f(z) for f in functions])))


def _evaluate(piece: Callable[[Any], Any], order: int, z: np.ndarray) -> list[np.ndarray]:
    flat = z.ravel()
    out = np.empty((order + 1, flat.size))
    start = 0
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        while start < flat.size:
            left = flat.size - start
            length = next((n for n in _COMPILED_LENGTHS if n >= left), _COMPILED_LENGTHS[-1])
            part = flat[start : start + length]
            padded = np.zeros(length)
            padded[: part.size] = part
            values = np.asarray(_compiled(piece, order)(padded))
            out[:, start : start + part.size] = values[: part.size].T
            start += part.size
    return [row.reshape(z.shape) for row in out]


# -- the named activations ---------------------------------------------------------------------
# Each piece is a module-level function or a partial of one: compiled code is cached by identity.


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
    return 0.5 * z * (1.0 + jnp.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3)))


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
        (functools.partial(_scaled, slope=minus), functools.partial(_scaled, slope=plus)),
        kinks=(0.0,),
        slopes=(minus, plus),
        family=family,
        parameters=parameters,
    )


def _leaky_relu(slope: float = 0.01) -> ScalarFunction:
    return _homogeneous("leaky_relu", slope, 1.0, slope)


def _elu(alpha: float = 1.0) -> ScalarFunction:
    pieces = (functools.partial(_exponential_piece, scale=alpha), _identity)
    parameters = () if alpha == 1.0 else (alpha,)
    return ScalarFunction(
        _spell("elu", parameters), pieces, (0.0,), family="elu", parameters=parameters
    )


# Klambauer, Unterthiner, Mayr and Hochreiter 2017, Eq. 14.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _selu() -> ScalarFunction:
    pieces = (
        functools.partial(_exponential_piece, scale=_SELU_SCALE * _SELU_ALPHA),
        functools.partial(_scaled, slope=_SELU_SCALE),
    )
    return ScalarFunction("selu", pieces, (0.0,), family="selu")


def _sign() -> ScalarFunction:
    pieces = (functools.partial(_constant, value=-1.0), functools.partial(_constant, value=1.0))
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
        (_zero, functools.partial(_power, exponent=k)),
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
        (functools.partial(_horner, coefficients=coefficients),),
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
    piece = functools.partial(_shifted_sine, frequency=math.sqrt(2.0 * gamma))
    return ScalarFunction(f"rbf({gamma:g})", (piece,), family="rbf", parameters=(gamma,))


def _step() -> ScalarFunction:
    pieces = (_zero, functools.partial(_constant, value=1.0))
    return ScalarFunction("step", pieces, (0.0,), family="step")


def _hard_tanh() -> ScalarFunction:
    pieces = (
        functools.partial(_constant, value=-1.0),
        _identity,
        functools.partial(_constant, value=1.0),
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
        (functools.partial(_power, exponent=k),),
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
    "tanh": _entire("tanh", jnp.tanh, odd=True),
    "hard_tanh": _hard_tanh,
    "erf": _entire("erf", jax.scipy.special.erf, odd=True),
    "gelu": _entire("gelu", _gelu),
    "gelu_tanh": _entire("gelu_tanh", _gelu_tanh),
    "silu": _entire("silu", _silu),
    "mish": _entire("mish", _mish),
    "sigmoid": _entire("sigmoid", jax.lax.logistic),
    "softplus": _entire("softplus", _softplus),
    "elu": _elu,
    "selu": _selu,
    "sin": _entire("sin", jnp.sin, odd=True),
    "cos": _entire("cos", jnp.cos),
    "exp": _entire("exp", jnp.exp, heavy_tailed=True),
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
    return _by_name(activation)


@functools.lru_cache(maxsize=256)
def _by_name(text: str) -> ScalarFunction:
    match = re.fullmatch(r"\s*([a-zA-Z_]+)\s*(?:\(([^()]*)\))?\s*", str(text))
    family = match.group(1).lower() if match else ""
    family = _ALIASES.get(family, family)
    if match is None or family not in _BUILDERS:
        raise InputError(
            "There is no activation of this name.",
            received=repr(text),
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
            received=repr(text),
            needed=f"finite numbers for {inspect.signature(_BUILDERS[family])}",
        ) from error
    return _BUILDERS[family](*parameters)


def custom(
    function: Callable[[Any], Any], *, kinks: tuple[float, ...] = (), name: str = ""
) -> ScalarFunction:
    """A user's own activation: any ``jax.numpy`` function that maps an array elementwise.

    Args:
        function: maps an array to an array of the same shape; must be traceable by JAX.
        kinks: where its value or a derivative of low order jumps. A kink that is not named makes
            quadrature converge slowly, which the error estimate reports.
        name: shown in tables; the function's own name by default.

    Raises:
        InputError: it can't be traced, changes the shape, or returns NaN, infinite or complex
            numbers for arguments between -8 and 8.

    Example:
        >>> import jax.numpy as jnp
        >>> custom(lambda z: jnp.tanh(z) + 0.1 * z, name="leaky tanh").smooth
        True
    """
    label = name or getattr(function, "__name__", type(function).__name__)
    label = "user function" if label == "<lambda>" else label
    ordered = tuple(sorted(float(k) for k in kinks))
    probe = np.linspace(-8.0, 8.0, 65)
    needed = "a function of one variable, written with jax.numpy, applied elementwise"
    try:
        with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            values = np.asarray(jax.jit(function)(jnp.asarray(probe)))
    except Exception as error:
        raise InputError(
            f"The activation {label!r} can't be traced by JAX.",
            received=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            needed=needed,
            cause="numpy functions, Python branches on values and math.* do not trace",
            suggestion="use jax.numpy and jnp.where inside it",
        ) from error
    if values.shape != probe.shape or not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"The activation {label!r} does not act elementwise on real numbers.",
            received=f"shape {probe.shape} became {values.shape} of {values.dtype}",
            needed=needed,
        )
    if not np.all(np.isfinite(values)):
        where = probe[~np.isfinite(values)][0]
        raise InputError(
            f"The activation {label!r} returns {values[~np.isfinite(values)][0]} at z = {where:g}.",
            needed="finite values for every real argument: preactivations take them all",
            suggestion="guard the domain with jnp.where on both sides (value and argument)",
        )
    pieces = (function,) * (len(ordered) + 1)
    if ordered:  # a piece is evaluated on its own side of a kink only, up to the kink itself
        edges = (-math.inf, *ordered, math.inf)
        pieces = tuple(
            functools.partial(
                _inside, function=function, low=a + _smallest_step(a), high=b - _smallest_step(b)
            )
            for a, b in itertools.pairwise(edges)
        )
    return ScalarFunction(label, pieces, ordered)


def _smallest_step(kink: float) -> float:
    # Not nextafter: around 0 that is subnormal, which compiled code flushes to 0.
    return 0.0 if math.isinf(kink) else max(abs(kink) * 2.0**-52, 1e-300)


def _inside(z: Any, *, function: Callable[[Any], Any], low: float, high: float) -> Any:
    # A straight-through clip: the value moves by one rounding unit off the kink, and the
    # derivative is that of the piece inside.
    return function(z + jax.lax.stop_gradient(jnp.clip(z, low, high) - z))
