"""What fuzzing found and is mended, a case a kind: answered, or refused in words, ever since."""

import json

import numpy as np
import pytest

import whydeep as wd
from tests.fuzz import calls, run, worker
from tests.fuzz.hostile import Unreadable


def no_arguments():
    return None


FOUND = [
    ("NNGPClassifier", 1, Unreadable()),
    ("NTKRegressor.predict", 0, Unreadable()),
    ("check_hull", 2, np.eye(2)),
    ("check_torch", "draws", 3),
    ("data.check_inputs", "name", bytearray(b"abc")),
    ("dimension_by_layer", 0, no_arguments),
    ("dimension_by_layer", 0, lambda _: {"layer": [[1.0, 2.0], [3.0]]}),
    ("extrapolation", "embedding", no_arguments),
    ("from_torch", 1, np.eye(2, dtype=np.longdouble)),
    ("hessian_top", 1, [[[1.0]]]),
    ("kernel.graph", 1, np.eye(2)),
    ("linearize", 1, np.array([[1e200, 1e-200], [1.0, -1e200]])),
    ("local_complexity", 0, no_arguments),
    ("loss_slice", 0, no_arguments),
    ("loss_slice", 1, np.array([[1e200, 1e-200], [1.0, -1e200]])),
    ("measure", "observables", dict),
    ("measure", 0, wd.chain(wd.Dense(2))),
    ("measure", 1, 1e30 * np.eye(2)),
    ("measure_posterior", "noise", 5e-324),
    ("measure_residual", "rungs", 2**31),
    ("orthogonality_penalty", 0, np.array([[1e200, 1e-200], [1.0, -1e200]])),
    ("pieces_during_training", 1, [[1.0, 2.0], [3.0]]),
    ("pieces_during_training", "bias_var", 5e-324),
    ("plane_density", "points", 2**31),
    ("predict_finite_training", "times", 1e300),
    ("predict_finite_training", "step", 1e300),
    ("predict_finite_training", "step", 1e-300),
    ("predict_training", "step", 5e-324),
    ("reference_dimension", 0, 2**31),
    ("tangent_kernel", "groups", no_arguments),
    ("taylor_expand", 1, 1e300),
    ("train.checkpoint", "step", np.array(2)),
    ("trajectory_directions", 0, lambda *_: "text"),
    ("segment_density", "networks", 2**31),
    ("tangent_operator", 1, np.eye(2, dtype=np.longdouble)),
    ("wide_lengths", "weight_var", 2**31),
]


@pytest.mark.parametrize(("name", "place", "value"), FOUND)
def test_what_was_raw_once_is_answered_or_refused_in_words(name, place, value):
    function, args, kwargs = calls.CALLS[name]()
    args = list(args)
    (kwargs if isinstance(place, str) else args)[place] = value
    outcome, words = worker.judge(name, function, args, kwargs)
    assert outcome in run.RIGHT, json.dumps(words)
