"""The outcome of `whydeep verify` as one JSON document."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from whydeep.comparison import Outcome
from whydeep.report import provenance

__all__ = ["document", "finite"]


def document(outcome: Outcome, inputs: str, command: str, written: Path | None, status: int) -> str:
    """Everything a program may want to know; numbers that are not finite become null."""
    network = outcome.predicted.network
    content = {
        "exit_status": status,
        "verdict": outcome.comparison.verdict,
        "reason": outcome.comparison.reason,
        "command": command,
        "network": {
            "activation": network.activation.name,
            "depth": network.depth,
            "widths": list(network.widths),
            "outputs": network.outputs,
            "weight_var": [d.weight_var for d in network.dense],
            "bias_var": [d.bias_var for d in network.dense],
            "parameterization": network.dense[0].parameterization,
            "learning_rates": [
                {"bias": bias, "weight": weight}
                for bias, weight in network.learning_rates(outcome.predicted.inputs.shape[1])
            ],
        },
        "inputs": {"description": inputs, "shape": list(outcome.predicted.inputs.shape)},
        "measurements": [
            {
                "observables": list(m),
                "draws": m.draws,
                "factors": list(m.factors),
                "seed": m.seed,
                "sampler": m.sampler,
                "dtype": m.dtype,
                "seconds": m.seconds,
            }
            for m in outcome.measured
        ],
        "comparison": outcome.comparison.as_dict(),
        "assumptions": list(outcome.predicted.assumptions),
        "sources": dict(outcome.predicted.sources),
        "provenance": provenance(),
        "seconds": outcome.seconds,
        "report": None if written is None else str(written),
    }
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """The same, with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
