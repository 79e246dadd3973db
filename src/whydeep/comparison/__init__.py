"""Prediction against measurement: verdicts with reasons, at a declared error rate."""

from whydeep.comparison._compare import compare as compare
from whydeep.comparison._comparison import Comparison as Comparison
from whydeep.comparison._comparison import number_with_error as number_with_error
from whydeep.comparison._comparison import ratio_text as ratio_text
from whydeep.comparison._front_doors import check_jax as check_jax
from whydeep.comparison._front_doors import check_torch as check_torch
from whydeep.comparison._front_doors import from_jax as from_jax
from whydeep.comparison._front_doors import from_torch as from_torch
from whydeep.comparison._import_check import ImportCheck as ImportCheck
from whydeep.comparison._imports import check_import as check_import
from whydeep.comparison._ladder import Ladder as Ladder
from whydeep.comparison._residual import ResidualComparison as ResidualComparison
from whydeep.comparison._residual import compare_residual as compare_residual
from whydeep.comparison._rows import Row as Row
from whydeep.comparison._rows import Series as Series
from whydeep.comparison._verdicts import SEVERITY as SEVERITY
from whydeep.comparison._verdicts import coloured as coloured
from whydeep.comparison._verdicts import worst_verdict as worst_verdict
from whydeep.comparison._verify import DIFFERENTIAL_DRAWS as DIFFERENTIAL_DRAWS
from whydeep.comparison._verify import DRAWS as DRAWS
from whydeep.comparison._verify import NTK_DRAWS as NTK_DRAWS
from whydeep.comparison._verify import TENSOR_DRAWS as TENSOR_DRAWS
from whydeep.comparison._verify import Outcome as Outcome
from whydeep.comparison._verify import Plan as Plan
from whydeep.comparison._verify import verify as verify
