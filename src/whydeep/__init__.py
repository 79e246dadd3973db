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
    from whydeep import geometry as geometry
    from whydeep.comparison import Comparison as Comparison
    from whydeep.comparison import ImportCheck as ImportCheck
    from whydeep.comparison import ResidualComparison as ResidualComparison
    from whydeep.comparison import check_jax as check_jax
    from whydeep.comparison import check_torch as check_torch
    from whydeep.comparison import compare as compare
    from whydeep.comparison import compare_residual as compare_residual
    from whydeep.comparison import from_jax as from_jax
    from whydeep.comparison import from_torch as from_torch
    from whydeep.ensemble import MeasuredPosterior as MeasuredPosterior
    from whydeep.ensemble import Measurement as Measurement
    from whydeep.ensemble import measure as measure
    from whydeep.ensemble import measure_kernels as measure_kernels
    from whydeep.ensemble import measure_posterior as measure_posterior
    from whydeep.ensemble import measure_residual as measure_residual
    from whydeep.ensemble.tangent import linearize as linearize
    from whydeep.ensemble.tangent import tangent_kernel as tangent_kernel
    from whydeep.ensemble.tangent import tangent_operator as tangent_operator
    from whydeep.ensemble.tangent import taylor_expand as taylor_expand
    from whydeep.ensemble.training import Training as Training
    from whydeep.ensemble.training import train as train
    from whydeep.gaussian import critical as critical
    from whydeep.network import Activation as Activation
    from whydeep.network import Add as Add
    from whydeep.network import Affine as Affine
    from whydeep.network import Aggregate as Aggregate
    from whydeep.network import Attention as Attention
    from whydeep.network import AvgPool as AvgPool
    from whydeep.network import BatchNorm as BatchNorm
    from whydeep.network import ChannelsLast as ChannelsLast
    from whydeep.network import Concatenate as Concatenate
    from whydeep.network import Constant as Constant
    from whydeep.network import Conv as Conv
    from whydeep.network import ConvLocal as ConvLocal
    from whydeep.network import ConvTranspose as ConvTranspose
    from whydeep.network import Dense as Dense
    from whydeep.network import DotProductAttention as DotProductAttention
    from whydeep.network import Dropout as Dropout
    from whydeep.network import Embedding as Embedding
    from whydeep.network import Flatten as Flatten
    from whydeep.network import GlobalAvgPool as GlobalAvgPool
    from whydeep.network import GlobalSumPool as GlobalSumPool
    from whydeep.network import GroupNorm as GroupNorm
    from whydeep.network import Identity as Identity
    from whydeep.network import LayerNorm as LayerNorm
    from whydeep.network import MaxPool as MaxPool
    from whydeep.network import Mix as Mix
    from whydeep.network import Multiply as Multiply
    from whydeep.network import Network as Network
    from whydeep.network import PositionalEmbedding as PositionalEmbedding
    from whydeep.network import Recurrent as Recurrent
    from whydeep.network import Residual as Residual
    from whydeep.network import RMSNorm as RMSNorm
    from whydeep.network import SumPool as SumPool
    from whydeep.network import aggregate as aggregate
    from whydeep.network import chain as chain
    from whydeep.network import cnn as cnn
    from whydeep.network import index as index
    from whydeep.network import mlp as mlp
    from whydeep.network import repeat as repeat
    from whydeep.network import residual_mlp as residual_mlp
    from whydeep.network import resize as resize
    from whydeep.network import resnet as resnet
    from whydeep.network import transformer as transformer
    from whydeep.report import write_partition as write_partition
    from whydeep.report import write_report as write_report
    from whydeep.theory.bayes import Evidence as Evidence
    from whydeep.theory.bayes import Posterior as Posterior
    from whydeep.theory.bayes import compare_evidence as compare_evidence
    from whydeep.theory.bayes import posterior as posterior
    from whydeep.theory.estimators import NNGPClassifier as NNGPClassifier
    from whydeep.theory.estimators import NNGPRegressor as NNGPRegressor
    from whydeep.theory.estimators import NTKClassifier as NTKClassifier
    from whydeep.theory.estimators import NTKRegressor as NTKRegressor
    from whydeep.theory.exact import ExactMoments as ExactMoments
    from whydeep.theory.exact import exact_moments as exact_moments
    from whydeep.theory.finite import Prediction as Prediction
    from whydeep.theory.finite import predict as predict
    from whydeep.theory.flow import AspectRatio as AspectRatio
    from whydeep.theory.flow import CriticalExponents as CriticalExponents
    from whydeep.theory.flow import FixedPoint as FixedPoint
    from whydeep.theory.flow import Flow as Flow
    from whydeep.theory.flow import critical_exponents as critical_exponents
    from whydeep.theory.flow import equivalent_rates as equivalent_rates
    from whydeep.theory.flow import fixed_points as fixed_points
    from whydeep.theory.flow import flow as flow
    from whydeep.theory.flow import mutual_information as mutual_information
    from whydeep.theory.flow import optimal_aspect_ratio as optimal_aspect_ratio
    from whydeep.theory.infinite import Kernel as Kernel
    from whydeep.theory.infinite import kernel as kernel
    from whydeep.theory.residual import predict_residual as predict_residual
    from whydeep.theory.training import LearningCurve as LearningCurve
    from whydeep.theory.training import StableStep as StableStep
    from whydeep.theory.training import TrainingPrediction as TrainingPrediction
    from whydeep.theory.training import kernel_spectrum as kernel_spectrum
    from whydeep.theory.training import largest_stable_step as largest_stable_step
    from whydeep.theory.training import learning_curve as learning_curve
    from whydeep.theory.training import predict_training as predict_training
    from whydeep.theory.training import stable_adam_curvature as stable_adam_curvature
    from whydeep.theory.training.finite import FiniteTrainingPrediction as FiniteTrainingPrediction
    from whydeep.theory.training.finite import predict_finite_training as predict_finite_training

__version__ = "0.1.0"

_HOMES = {
    "Activation": "whydeep.network",
    "Add": "whydeep.network",
    "Affine": "whydeep.network",
    "Aggregate": "whydeep.network",
    "AspectRatio": "whydeep.theory.flow",
    "Attention": "whydeep.network",
    "AvgPool": "whydeep.network",
    "BatchNorm": "whydeep.network",
    "ChannelsLast": "whydeep.network",
    "Comparison": "whydeep.comparison",
    "Concatenate": "whydeep.network",
    "Constant": "whydeep.network",
    "Conv": "whydeep.network",
    "ConvLocal": "whydeep.network",
    "ConvTranspose": "whydeep.network",
    "CriticalExponents": "whydeep.theory.flow",
    "Dense": "whydeep.network",
    "DotProductAttention": "whydeep.network",
    "Dropout": "whydeep.network",
    "Embedding": "whydeep.network",
    "Evidence": "whydeep.theory.bayes",
    "ExactMoments": "whydeep.theory.exact",
    "FiniteTrainingPrediction": "whydeep.theory.training.finite",
    "FixedPoint": "whydeep.theory.flow",
    "Flatten": "whydeep.network",
    "Flow": "whydeep.theory.flow",
    "GlobalAvgPool": "whydeep.network",
    "GlobalSumPool": "whydeep.network",
    "GroupNorm": "whydeep.network",
    "Identity": "whydeep.network",
    "ImportCheck": "whydeep.comparison",
    "Kernel": "whydeep.theory.infinite",
    "LayerNorm": "whydeep.network",
    "LearningCurve": "whydeep.theory.training",
    "MaxPool": "whydeep.network",
    "MeasuredPosterior": "whydeep.ensemble",
    "Measurement": "whydeep.ensemble",
    "Mix": "whydeep.network",
    "Multiply": "whydeep.network",
    "NNGPClassifier": "whydeep.theory.estimators",
    "NNGPRegressor": "whydeep.theory.estimators",
    "NTKClassifier": "whydeep.theory.estimators",
    "NTKRegressor": "whydeep.theory.estimators",
    "Network": "whydeep.network",
    "PositionalEmbedding": "whydeep.network",
    "Posterior": "whydeep.theory.bayes",
    "Prediction": "whydeep.theory.finite",
    "RMSNorm": "whydeep.network",
    "Recurrent": "whydeep.network",
    "Residual": "whydeep.network",
    "ResidualComparison": "whydeep.comparison",
    "StableStep": "whydeep.theory.training",
    "SumPool": "whydeep.network",
    "Training": "whydeep.ensemble.training",
    "TrainingPrediction": "whydeep.theory.training",
    "aggregate": "whydeep.network",
    "chain": "whydeep.network",
    "check_jax": "whydeep.comparison",
    "check_torch": "whydeep.comparison",
    "cnn": "whydeep.network",
    "compare": "whydeep.comparison",
    "compare_evidence": "whydeep.theory.bayes",
    "compare_residual": "whydeep.comparison",
    "critical": "whydeep.gaussian",
    "critical_exponents": "whydeep.theory.flow",
    "equivalent_rates": "whydeep.theory.flow",
    "exact_moments": "whydeep.theory.exact",
    "fixed_points": "whydeep.theory.flow",
    "flow": "whydeep.theory.flow",
    "from_jax": "whydeep.comparison",
    "from_torch": "whydeep.comparison",
    "index": "whydeep.network",
    "kernel": "whydeep.theory.infinite",
    "kernel_spectrum": "whydeep.theory.training",
    "largest_stable_step": "whydeep.theory.training",
    "learning_curve": "whydeep.theory.training",
    "linearize": "whydeep.ensemble.tangent",
    "measure": "whydeep.ensemble",
    "measure_kernels": "whydeep.ensemble",
    "measure_posterior": "whydeep.ensemble",
    "measure_residual": "whydeep.ensemble",
    "mlp": "whydeep.network",
    "mutual_information": "whydeep.theory.flow",
    "optimal_aspect_ratio": "whydeep.theory.flow",
    "posterior": "whydeep.theory.bayes",
    "predict": "whydeep.theory.finite",
    "predict_finite_training": "whydeep.theory.training.finite",
    "predict_residual": "whydeep.theory.residual",
    "predict_training": "whydeep.theory.training",
    "repeat": "whydeep.network",
    "residual_mlp": "whydeep.network",
    "resize": "whydeep.network",
    "resnet": "whydeep.network",
    "stable_adam_curvature": "whydeep.theory.training",
    "tangent_kernel": "whydeep.ensemble.tangent",
    "tangent_operator": "whydeep.ensemble.tangent",
    "taylor_expand": "whydeep.ensemble.tangent",
    "train": "whydeep.ensemble.training",
    "transformer": "whydeep.network",
    "write_partition": "whydeep.report",
    "write_report": "whydeep.report",
}
_ROOMS = ("activations", "data", "errors", "geometry")

__all__ = [
    "Activation",
    "Add",
    "Affine",
    "Aggregate",
    "AspectRatio",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "ChannelsLast",
    "Comparison",
    "Concatenate",
    "Constant",
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "CriticalExponents",
    "Dense",
    "DotProductAttention",
    "Dropout",
    "Embedding",
    "Evidence",
    "ExactMoments",
    "FiniteTrainingPrediction",
    "FixedPoint",
    "Flatten",
    "Flow",
    "GlobalAvgPool",
    "GlobalSumPool",
    "GroupNorm",
    "Identity",
    "ImportCheck",
    "Kernel",
    "LayerNorm",
    "LearningCurve",
    "MaxPool",
    "MeasuredPosterior",
    "Measurement",
    "Mix",
    "Multiply",
    "NNGPClassifier",
    "NNGPRegressor",
    "NTKClassifier",
    "NTKRegressor",
    "Network",
    "PositionalEmbedding",
    "Posterior",
    "Prediction",
    "RMSNorm",
    "Recurrent",
    "Residual",
    "ResidualComparison",
    "StableStep",
    "SumPool",
    "Training",
    "TrainingPrediction",
    "__version__",
    "activations",
    "aggregate",
    "chain",
    "check_jax",
    "check_torch",
    "cnn",
    "compare",
    "compare_evidence",
    "compare_residual",
    "critical",
    "critical_exponents",
    "data",
    "equivalent_rates",
    "errors",
    "exact_moments",
    "fixed_points",
    "flow",
    "from_jax",
    "from_torch",
    "geometry",
    "index",
    "kernel",
    "kernel_spectrum",
    "largest_stable_step",
    "learning_curve",
    "linearize",
    "measure",
    "measure_kernels",
    "measure_posterior",
    "measure_residual",
    "mlp",
    "mutual_information",
    "optimal_aspect_ratio",
    "posterior",
    "predict",
    "predict_finite_training",
    "predict_residual",
    "predict_training",
    "repeat",
    "residual_mlp",
    "resize",
    "resnet",
    "stable_adam_curvature",
    "tangent_kernel",
    "tangent_operator",
    "taylor_expand",
    "train",
    "transformer",
    "write_partition",
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
