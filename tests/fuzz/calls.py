"""A valid call of every public function, class and method: what the fuzz starts from.

Each is a function without arguments that returns ``(callable, args, kwargs)``, quick where valid.
"""

import dataclasses
import functools
import inspect
import pathlib
import tempfile
import types

import numpy as np

import whydeep as wd
from whydeep import geometry
from whydeep.geometry import counts

X = np.array([[1.0, 0.5, -0.3], [0.2, -1.0, 0.8]])
Y = np.array([1.0, -1.0])
PLANE = (np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0]))


@functools.cache
def net():
    return wd.mlp(1, 8, "relu", weight_var=2.0, bias_var=0.0)


@functools.cache
def smooth():
    return wd.mlp(1, 8, "tanh", weight_var=1.4, bias_var=0.1)


@functools.cache
def residual():
    return wd.residual_mlp(2, 8, "relu", skip=0.5)


@functools.cache
def pieces():
    return geometry.from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.ones(1)])


@functools.cache
def predicted():
    return wd.predict(net(), X)


@functools.cache
def measured():
    return wd.measure(net(), X, draws=256, rungs=2)


@functools.cache
def compared():
    return wd.compare(predicted(), measured())


@functools.cache
def residual_measured():
    return wd.measure_residual(residual(), X, draws=256, rungs=2)


@functools.cache
def trained():
    return wd.train(net(), X, Y, draws=4, steps=4, step=0.1, costly_draws=2)


@functools.cache
def hull():
    return geometry.in_hull([[0.5, 0.5], [2.0, 0.5]], SQUARE)


@functools.cache
def found_regions():
    return geometry.regions(pieces(), *PLANE)


@functools.cache
def torch_model():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


def tensor():
    import torch

    return torch.tensor(X, dtype=torch.float32)


@functools.cache
def folder():
    return tempfile.TemporaryDirectory()


def page():
    return pathlib.Path(folder().name) / "page.html"


def linear(params, x):
    return x @ params


def dense(params, x):
    return x @ params["a"] @ params["b"]


def bowl(w):
    return (w * w).sum() / 2


SQUARE = [[0, 0], [1, 0], [0, 1], [1, 1]]
WEIGHTS = np.ones((3, 2))
_RNG = np.random.default_rng(1)
NORMAL = {"a": _RNG.normal(size=(3, 64)).astype("f4"), "b": _RNG.normal(size=(64, 1)).astype("f4")}
CLOUD = np.random.default_rng(0).normal(size=(60, 3))
TINY = {"draws": 64, "ntk_draws": 64}
FAST_TRAINING = {"widths": (4,), "steps": 4, "learning_rate": 0.03}
TARGETS = [0, 1, 0, 1]


def call(function, /, *args, **kwargs):
    return lambda: (function, args, kwargs)


def bound(owner, name, /, *args, **kwargs):
    """A method of what `owner` makes."""
    return lambda: (getattr(owner(), name), args, kwargs)


def later(function, make):
    """A call whose arguments are made when it is made."""
    return lambda: (function, *make())


CALLS = {
    # networks
    "Activation": call(wd.Activation, "relu"),
    "Add": call(wd.Add, wd.Dense(2), wd.Identity()),
    "Affine": call(wd.Affine, 1.0, shift=0.5),
    "Aggregate": call(wd.Aggregate),
    "Attention": call(wd.Attention, 2, width=4, query_var=1.0, key_var=1.0, value_var=1.0,
                      output_var=1.0, bias_var=0.0, scaling="1/sqrt(d)", softmax=True, causal=False,
                      tied=False, parameterization="ntk"),
    "AvgPool": call(wd.AvgPool, (2, 2), strides=1, padding="SAME", count_padding=False),
    "BatchNorm": call(wd.BatchNorm, 1e-5, scale_lr=0.0, shift_lr=0.0, mean=0.0, var=1.0, scale=1.0,
                      shift=0.0),
    "ChannelsLast": call(wd.ChannelsLast),
    "Concatenate": call(wd.Concatenate, wd.Dense(2), wd.Dense(3), axis="channels"),
    "Constant": call(wd.Constant, np.ones((2, 3))),
    "Conv": call(wd.Conv, 4, (3, 3), strides=1, padding="SAME", weight_var=1.0, bias_var=0.0,
                 weight_lr=1.0, bias_lr=1.0, parameterization="ntk", dilation=1),
    "ConvLocal": call(wd.ConvLocal, 4, (3, 3), strides=1, padding=((1, 1), (0, 0)), weight_var=1.0),
    "ConvTranspose": call(wd.ConvTranspose, 4, 3, strides=2, padding="VALID", weight_var=1.0),
    "Dense": call(wd.Dense, 4, 1.0, bias_var=0.1, weight_lr=1.0, bias_lr=1.0,
                  parameterization="standard"),
    "DotProductAttention": call(wd.DotProductAttention, 2, scaling="1/d", softmax=False,
                                causal=True, function=None),
    "Dropout": call(wd.Dropout, 0.5),
    "Embedding": call(wd.Embedding, 10, 4, var=1.0, lr=1.0, parameterization="ntk"),
    "Flatten": call(wd.Flatten),
    "GlobalAvgPool": call(wd.GlobalAvgPool),
    "GlobalSumPool": call(wd.GlobalSumPool),
    "GroupNorm": call(wd.GroupNorm, 1e-5, scale_lr=0.0, shift_lr=0.0, groups=2),
    "Identity": call(wd.Identity),
    "LayerNorm": call(wd.LayerNorm, 1e-5, scale_lr=0.0, shift_lr=0.0, over="channels"),
    "MaxPool": call(wd.MaxPool, 2, strides=2, padding="VALID"),
    "Mix": call(wd.Mix, np.eye(4), positions=(2, 2)),
    "Multiply": call(wd.Multiply, wd.Dense(2), wd.Dense(2)),
    "Network": lambda: (wd.Network, (net().nodes,), {}),
    "Network.shapes": bound(net, "shapes", (3,)),
    "Network.learning_rates": bound(net, "learning_rates", 3),
    "Network.scaled": bound(net, "scaled", 2, 3),
    "PositionalEmbedding": call(wd.PositionalEmbedding, 3, 4, var=1.0, lr=1.0,
                                covariance=np.eye(3)),
    "RMSNorm": call(wd.RMSNorm, 1e-5, scale_lr=0.0, shift_lr=0.0),
    "Recurrent": call(wd.Recurrent, 4, "tanh", weight_var=1.0, input_var=1.0, bias_var=0.0,
                      weight_lr=1.0, input_lr=1.0, bias_lr=1.0, parameterization="ntk"),
    "Residual": call(wd.Residual, wd.Dense(2), shortcut=wd.Dense(2)),
    "SumPool": call(wd.SumPool, (2,), strides=(1,), padding="CIRCULAR"),
    "aggregate": call(wd.aggregate, np.eye(3)),
    "chain": call(wd.chain, wd.Dense(2), wd.Activation("relu"), wd.Dense(1)),
    "cnn": call(wd.cnn, 2, 4, activation="relu", size=3, pool=(1,), readout="flatten", outputs=1,
                weight_var=2.0, bias_var=0.0, padding="SAME", parameterization="ntk"),
    "index": call(wd.index, (4,), slice(1, 3)),
    "mlp": call(wd.mlp, 2, 8, "relu", outputs=1, weight_var=2.0, bias_var=0.0, weight_lr=1.0,
                bias_lr=1.0, parameterization="ntk"),
    "repeat": call(wd.repeat, wd.Dense(2), 3),
    "residual_mlp": call(wd.residual_mlp, 3, 8, activation="relu", skip=0.5, outputs=1,
                         weight_var=2.0, bias_var=0.0, parameterization="ntk"),
    "resize": call(wd.resize, (4,), (2,), method="linear"),
    "resnet": call(wd.resnet, (1, 1), width=4, activation="relu", norm=wd.LayerNorm, outputs=1,
                   weight_var=2.0, bias_var=0.0, parameterization="ntk"),
    "transformer": call(wd.transformer, 1, width=4, heads=2, activation="relu", tokens=5,
                        positions=3, hidden=4, norm="pre", causal=False, outputs=1, weight_var=1.0,
                        bias_var=0.0, parameterization="ntk"),
    # infinite width
    "kernel": lambda: (wd.kernel, (net(), X), {"x2": X, "ntk": True, "dtype": "float64",
        "layers": "output", "tile": 2}),
    "kernel.drawn": lambda: (wd.kernel, (wd.chain(wd.Dense(2), wd.MaxPool(2), wd.Flatten()),
        np.ones((2, 4, 2))), {"draws": 64, "seed": 0}),
    "kernel.masked": lambda: (wd.kernel, (wd.chain(wd.Dense(2), wd.GlobalAvgPool()),
        np.ones((2, 3, 2))), {"mask1": np.ones((2, 3), bool)}),
    "kernel.graph": lambda: (wd.kernel, (wd.chain(wd.Dense(2), wd.Aggregate()),
        np.ones((2, 3, 2))), {"graph1": np.ones((2, 3, 3))}),
    "critical": call(wd.critical, "relu"),
    "critical_exponents": call(wd.critical_exponents, "relu"),
    "equivalent_rates": call(wd.equivalent_rates, "relu", 2, weight_lr=1.0, bias_lr=1.0),
    "fixed_points": call(wd.fixed_points, "relu", weight_var=2.0, bias_var=0.0),
    "flow": call(wd.flow, "relu", 2, kernel=1.0, parallel=1.0, perpendicular=1.0, weight_var=2.0,
                 bias_var=0.0, weight_lr=1.0, bias_lr=1.0),
    "mutual_information": call(wd.mutual_information, 0.1, 1, 1),
    "optimal_aspect_ratio": call(wd.optimal_aspect_ratio, "relu", outputs=2),
    "stable_adam_curvature": call(wd.stable_adam_curvature, 0.01, b1=0.9),
    # finite width
    "predict": lambda: (wd.predict, (net(), X), {"order": 1, "observables": ("kernel", "ntk")}),
    "exact_moments": lambda: (wd.exact_moments, (net(), X[:1]), {"order": 2}),
    "predict_residual": lambda: (wd.predict_residual, (residual(), X), {"method": "closure"}),
    "Prediction.[]": bound(predicted, "__getitem__", "kernel"),
    "Prediction.cite": bound(predicted, "cite"),
    "posterior": lambda: (wd.posterior, (net(), X, Y, X), {"noise": 0.1, "order": 1, "seed": 0}),
    "compare_evidence": lambda: (wd.compare_evidence, ({"a": net(), "b": smooth()}, X, Y),
        {"noise": 0.1, "order": 0, "prior": (0.5, 0.5), "seed": 0}),
    # measurement
    "measure": lambda: (wd.measure, (net(), X), {"draws": 64, "seed": 0, "observables": ("kernel",),
        "rungs": 2, "sampler": "conditional", "average_last": True, "layers": "all",
        "dtype": "float32"}),
    "Measurement.[]": bound(measured, "__getitem__", "kernel"),
    "Measurement.ladder": bound(measured, "ladder", "kernel"),
    "Measurement.covariance": bound(measured, "covariance", "kernel", 1),
    "measure_kernels": lambda: (wd.measure_kernels, (net(), X), {"x2": X, "draws": 8,
        "ntk_draws": 8, "seed": 0, "width_factor": 1, "dtype": "float32", "law": "normal"}),
    "measure_posterior": lambda: (wd.measure_posterior, (net(), X, Y, X), {"noise": 0.5,
        "draws": 512, "seed": 0, "rungs": 1}),
    "measure_residual": lambda: (wd.measure_residual, (residual(), X), {"draws": 64, "seed": 0,
        "rungs": 2}),
    # comparison
    "compare": lambda: (wd.compare, (predicted(), measured()), {"alpha": 0.05, "resolution": 0.25}),
    "Comparison.of": bound(compared, "of", "kernel"),
    "Comparison.as_dict": bound(compared, "as_dict"),
    "compare_residual": lambda: (wd.compare_residual, (residual_measured(),), {"alpha": 0.05,
        "closure": wd.predict_residual(residual(), X, method="closure")}),
    "write_report": lambda: (wd.write_report, (page(), predicted(), measured(), compared()),
        {"inputs": "x", "command": "c", "seconds": 1.0}),
    "write_partition": lambda: (wd.write_partition, (page(), found_regions()), {"title": "t"}),
    # models of others
    "from_torch": lambda: (wd.from_torch, (torch_model(), tensor()), {"check": False, "seed": 0}),
    "check_torch": lambda: (wd.check_torch, (torch_model(), tensor()), TINY | {"seed": 0}),
    "from_jax": call(wd.from_jax, dense, NORMAL, X.astype("f4"), check=False, seed=0),
    "check_jax": call(wd.check_jax, dense, NORMAL, X.astype("f4"), **TINY, seed=0),
    # tangent kernels
    "tangent_kernel": call(wd.tangent_kernel, linear, WEIGHTS, X, x2=X, outputs="trace",
                           groups=None, rates=None, batch=2),
    "tangent_operator": call(wd.tangent_operator, linear, WEIGHTS, X, rates=None, batch=2),
    "TangentOperator.matvec": bound(lambda: wd.tangent_operator(linear, WEIGHTS, X), "matvec",
                                    np.ones((2, 2))),
    "TangentOperator.eigenvalues": bound(lambda: wd.tangent_operator(linear, WEIGHTS, X),
                                         "eigenvalues", 2),
    "linearize": call(wd.linearize, linear, WEIGHTS),
    "taylor_expand": call(wd.taylor_expand, linear, WEIGHTS, 2),
    # training
    "kernel_spectrum": call(wd.kernel_spectrum, np.diag([2.0, 4.0]), [1.0, 3.0]),
    "largest_stable_step": call(wd.largest_stable_step, np.diag([4.0, 1.0]), loss="squared",
                                reduction="mean", outputs=1, momentum=0.5, optimizer="sgd"),
    "learning_curve": call(wd.learning_curve, np.ones(8), np.ones(8) / 8, [0, 4], ridge=0.1,
                           noise_var=0.1),
    "predict_training": lambda: (wd.predict_training, (net(), X, Y, X), {"times": [0.0, 1.0],
        "loss": "squared", "reduction": "sum", "covariance": "full", "draws": 16, "seed": 0,
        "tolerance": 1e-9, "step": 0.1, "momentum": 0.5}),
    "predict_finite_training": lambda: (wd.predict_finite_training, (smooth(), X, Y, X),
        {"times": [1.0], "step": None}),
    "train": lambda: (wd.train, (net(), X, Y, X), {"y_test": Y, "draws": 4, "seed": 0, "steps": 3,
        "step": 0.1, "loss": "squared", "optimizer": "sgd", "batch": 1, "record": 2,
        "observables": ("loss",), "costly_draws": 2, "hessian_inputs": 1, "dtype": "float32",
        "threads": 1}),
    "train.checkpoint": lambda: (wd.train, (net(), X, Y), {"draws": 4, "steps": 3, "step": 0.1,
        "checkpoint": None}),
    "Training.[]": bound(trained, "__getitem__", "loss"),
    "Training.draws_of": bound(trained, "draws_of", "loss"),
    "Training.covariance": bound(trained, "covariance", "outputs", other="test_outputs"),
    "Training.finite": bound(trained, "finite"),
    # activations and data
    "activations.get": call(wd.activations.get, "leaky_relu(0.1)"),
    "activations.custom": call(wd.activations.custom, abs, kinks=(0.0,), name="x"),
    "ScalarFunction.derivatives": bound(lambda: wd.activations.get("tanh"), "derivatives",
                                        np.ones(2), 2),
    "ScalarFunction.jumps": bound(lambda: wd.activations.get("relu"), "jumps", 2),
    "ScalarFunction.one_sided": bound(lambda: wd.activations.get("relu"), "one_sided", 2),
    "data.load": call(wd.data.load, "iris", 4, scale=True, seed=0),
    "data.check_inputs": call(wd.data.check_inputs, X, name="x"),
    # geometry
    "plane": call(geometry.plane, np.eye(3)[0], np.eye(3)[1], np.eye(3)[2], 0.25),
    "regions": lambda: (geometry.regions, (pieces(), *PLANE), {"window": (-1, 1, -1, 1),
        "layers": 1}),
    "Regions.signs": bound(found_regions, "signs", 0),
    "Regions.input_map": bound(found_regions, "input_map", 0),
    "Regions.edges": bound(found_regions, "edges", 0),
    "decision_regions": lambda: (geometry.decision_regions, (pieces(), *PLANE),
        {"window": (-1, 1, -1, 1)}),
    "region_statistics": lambda: (geometry.region_statistics, (pieces(), *PLANE),
        {"window": (-1, 1, -1, 1), "layers": 1}),
    "breakpoints": lambda: (geometry.breakpoints, (pieces(), [-1.0, 0.5], [1.0, 0.5]), {}),
    "Breakpoints.inputs": bound(lambda: geometry.breakpoints(pieces(), [-1.0, 0.5], [1.0, 0.5]),
                                "inputs", np.array([0.5])),
    "from_layers": call(geometry.from_layers, [np.eye(2), np.ones((1, 2))],
                        [np.zeros(2), np.ones(1)], "leaky_relu", 0.1),
    "piecewise_linear": lambda: (geometry.piecewise_linear, (torch_model(), X[0]), {}),
    "PiecewiseLinear()": lambda: (pieces(), (np.ones((2, 2)),), {}),
    "PiecewiseLinear.rows": bound(pieces, "rows", np.ones((2, 2))),
    "PiecewiseLinear.pattern": bound(pieces, "pattern", np.ones((2, 2))),
    "spline": lambda: (geometry.spline, (pieces(), np.array([0.5, -2.0])), {}),
    "Spline.template": bound(lambda: geometry.spline(pieces(), np.array([0.5, -2.0])), "template",
                             0),
    "code_distance": call(geometry.code_distance, np.array([5], np.uint64),
                          np.array([6], np.uint64)),
    "zero_sets": call(geometry.zero_sets, lambda x: x[:, :1] ** 2 - 0.2, *PLANE,
                      window=(-1, 1, -1, 1), resolution=8),
    "orthogonality_penalty": call(geometry.orthogonality_penalty, np.eye(2)),
    "local_complexity": lambda: (geometry.local_complexity, (pieces(), np.ones((2, 2)), 0.5),
        {"method": "vertices", "directions": 4, "seed": 0}),
    "complexity_during_training": call(geometry.complexity_during_training, SQUARE, TARGETS, SQUARE,
        TARGETS, **FAST_TRAINING, record=[0, 4], radius=0.1, points=4, directions=4, init_scale=1.0,
        weight_decay=0.0, batch=2, method="vertices", seed=0),
    "ComplexityHistory.mean": bound(lambda: geometry.complexity_during_training(SQUARE, TARGETS,
        SQUARE, TARGETS, **FAST_TRAINING, directions=4), "mean", "training"),
    "intrinsic_dimension": call(geometry.intrinsic_dimension, CLOUD, "mle", k=5),
    "dimension_by_layer": call(geometry.dimension_by_layer, lambda x: {"a": x}, CLOUD, "mle", k=5),
    "dimension_over_scales": call(geometry.dimension_over_scales, CLOUD, most=8),
    "manifold_test": call(geometry.manifold_test, CLOUD, most=8, draws=2, seed=0),
    "reference_dimension": call(geometry.reference_dimension, 50, 3, "mle", k=5, law="gaussian",
                                draws=2, seed=0),
    "calibrated_dimension": lambda: (geometry.calibrated_dimension,
        (geometry.intrinsic_dimension(CLOUD),), {"law": "gaussian", "draws": 2, "seed": 0}),
    "in_hull": call(geometry.in_hull, [[0.5, 0.5]], SQUARE, tolerance=1e-9, threads=1),
    "check_hull": lambda: (geometry.check_hull, (hull(), [[0.5, 0.5], [2.0, 0.5]], SQUARE), {}),
    "extrapolation": call(geometry.extrapolation, CLOUD, CLOUD[:5], dims=[1, 2], embedding=None,
                          threads=1),
    "ball_threshold": call(geometry.ball_threshold, 3),
    "expected_gaussian_vertices": call(geometry.expected_gaussian_vertices, 10, 3),
    "gaussian_inside": call(geometry.gaussian_inside, 10, 3),
    "symmetric_inside": call(geometry.symmetric_inside, 10, 3),
    "hessian_top": call(geometry.hessian_top, bowl, np.ones(3), count=2, which="largest", seed=0),
    "loss_slice": call(geometry.loss_slice, bowl, np.eye(2), "random", dims=1, span=1.0, points=3,
                       normalise="filter", biases=True, filter_axis=0, seed=0, chunk=2),
    "torch_loss": lambda: (geometry.torch_loss, (torch_model(), lambda f: f(tensor()).sum()), {}),
    "trajectory_directions": call(geometry.trajectory_directions, bowl,
                                  [np.array([0.5**t, 0.3**t, 0.0]) for t in range(5)], count=2),
    # counts
    "conditional_crossings": lambda: (counts.conditional_crossings, (pieces(), 0, [1.0, 0.0],
        [0.0, 1.0], 2.0, 0.1), {}),
    "deep_square": call(counts.deep_square, 2),
    "expected_regions": call(counts.expected_regions, 8, inputs=2),
    "interpolant": call(counts.interpolant, np.square, 2, start=0.0, end=1.0),
    "line_arrangement": call(counts.line_arrangement, 5, dimension=2),
    "montufar_lower": call(counts.montufar_lower, 2, [4, 4]),
    "pieces_during_training": call(counts.pieces_during_training, SQUARE, TARGETS, **FAST_TRAINING,
        segments=None, corners=None, margin=1.0, record=[0, 4], weight_var=2.0, bias_var=0.01,
        weight_decay=0.0, batch=2, networks=4, seed=0),
    "plane_density": call(counts.plane_density, [4], *PLANE, window=(-1, 1, -1, 1), weight_var=2.0,
                          bias_var=0.1, networks=4, points=4, seed=0),
    "segment_density": call(counts.segment_density, [4], [0.0, 0.0], [1.0, 0.0], weight_var=2.0,
                            bias_var=0.1, networks=4, points=4, seed=0),
    "serra_upper": call(counts.serra_upper, 2, [4, 4]),
    "shallow_square": call(counts.shallow_square, 3),
    "square_error": lambda: (counts.square_error, (counts.deep_square(2),), {}),
    "square_table": call(counts.square_table, 2),
    "tent_map": call(counts.tent_map, 2),
    "wide_crossings": call(counts.wide_crossings, [0.0, 0.0], [1.0, 0.0], 2, bias_var=0.1,
                           weight_var=2.0),
    "wide_lengths": call(counts.wide_lengths, *PLANE, (-1, 1, -1, 1), 2, 0.1, weight_var=2.0),
}  # fmt: skip


def _fit(estimator, y):
    def run(x, targets, **options):
        return estimator(**options).fit(x, targets).predict(X)

    options = {"net": None, "depth": None, "weight_var": None, "bias_var": None, "noise": 0.1,
               "input_shape": None, "search": None, "grid": None, "refine": 0, "search_rows": 10,
               "random_state": 0}  # fmt: skip
    return lambda: (run, (np.concatenate([X, -X]), y), dict(options))


for _name in ("NNGPRegressor", "NTKRegressor", "NNGPClassifier", "NTKClassifier"):
    CALLS[_name] = _fit(getattr(wd, _name), TARGETS)
    CALLS[f"{_name}.predict"] = later(
        getattr(wd, _name)(noise=0.1).fit(np.concatenate([X, -X]), TARGETS).predict,
        lambda: ((X,), {}),
    )

# What only whydeep itself makes: its attributes are read, and nothing is asked of it.
RESULTS = {
    "AspectRatio", "Comparison", "CriticalExponents", "Evidence", "ExactMoments",
    "FiniteTrainingPrediction", "FixedPoint", "Flow", "ImportCheck", "Kernel", "LearningCurve",
    "MeasuredPosterior", "Measurement", "Posterior", "Prediction", "ResidualComparison",
    "StableStep", "Training", "TrainingPrediction", "Breakpoints", "CalibratedDimension",
    "ComplexityHistory", "DecisionRegions", "Dimension", "Extrapolation", "HessianSpectrum",
    "HullMembership", "LocalComplexity", "LossSlice", "ManifoldTest", "PiecewiseLinear",
    "RegionStatistics", "Regions", "Spline", "Trajectory", "BoundaryDensity", "PieceHistory",
    "SquareTable", "ScalarFunction",
}  # fmt: skip


def public_names():
    """Every public callable, by the name that it has in its room."""
    rooms = {"": (wd, wd.__all__), "geometry.": (geometry, dir(geometry)),
             "counts.": (counts, dir(counts)), "activations.": (wd.activations, ("get", "custom")),
             "data.": (wd.data, ("load", "check_inputs"))}  # fmt: skip
    for prefix, (room, names) in rooms.items():
        for name in names:
            value = getattr(room, name)
            if name.startswith("_") or isinstance(value, types.ModuleType) or not callable(value):
                continue
            yield prefix, name, value


def uncovered():
    """Public callables that no call starts from."""
    missing = []
    for prefix, name, value in public_names():
        known = {name, prefix + name} & (CALLS.keys() | RESULTS)
        if not known or (inspect.isfunction(value) and name in RESULTS):
            missing.append(prefix + name)
        if name in RESULTS and not dataclasses.is_dataclass(value):
            missing.append(prefix + name)
    return missing
