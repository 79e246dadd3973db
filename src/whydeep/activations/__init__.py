"""Named functions of one variable: their pieces, kinks, derivatives and symmetries.

An activation is a `ScalarFunction`: smooth pieces joined at kinks. The pieces are written with
``jax.numpy``, so the same definition is applied to networks, differentiated by JAX, and evaluated
in float64 for quadrature. A smooth function has one piece and no kink.

Everything that theory needs beyond values follows from the pieces: one-sided derivatives at a
kink are the derivatives of the pieces there, and their jumps are the weights of the delta
functions that appear when the whole is differentiated (relu'' = delta).
"""

from whydeep.activations._custom import custom as custom
from whydeep.activations._custom import joined as joined
from whydeep.activations._function import MOST_ORDERS as MOST_ORDERS
from whydeep.activations._function import ScalarFunction as ScalarFunction
from whydeep.activations._held import Held as Held
from whydeep.activations._named import ACTIVATION as ACTIVATION
from whydeep.activations._named import NAMES as NAMES
from whydeep.activations._named import get as get
