"""What deep-learning theory predicts of a network, measured on real ones: do they agree?

    import whydeep as wd

    net = wd.mlp(depth=8, width=128, activation="tanh")
    x, y = wd.data.load("digits", n=4)
    predicted = wd.predict(net, x)
    measured = wd.measure(net, x)
    print(wd.compare(predicted, measured))

Importing whydeep is quick: JAX and the rest are imported when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whydeep import activations as activations
    from whydeep import data as data
    from whydeep import errors as errors
    from whydeep.comparison import Comparison as Comparison
    from whydeep.comparison import compare as compare
    from whydeep.ensemble import Measurement as Measurement
    from whydeep.ensemble import measure as measure
    from whydeep.gaussian import critical as critical
    from whydeep.network import Activation as Activation
    from whydeep.network import Dense as Dense
    from whydeep.network import Network as Network
    from whydeep.network import mlp as mlp
    from whydeep.report import write_report as write_report
    from whydeep.theory import Prediction as Prediction
    from whydeep.theory import predict as predict

__version__ = "0.1.0"

_HOMES = {
    "Activation": "whydeep.network",
    "Comparison": "whydeep.comparison",
    "Dense": "whydeep.network",
    "Measurement": "whydeep.ensemble",
    "Network": "whydeep.network",
    "Prediction": "whydeep.theory",
    "compare": "whydeep.comparison",
    "critical": "whydeep.gaussian",
    "measure": "whydeep.ensemble",
    "mlp": "whydeep.network",
    "predict": "whydeep.theory",
    "write_report": "whydeep.report",
}
_ROOMS = ("activations", "data", "errors")

__all__ = [
    "Activation",
    "Comparison",
    "Dense",
    "Measurement",
    "Network",
    "Prediction",
    "__version__",
    "activations",
    "compare",
    "critical",
    "data",
    "errors",
    "measure",
    "mlp",
    "predict",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"whydeep.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'whydeep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
