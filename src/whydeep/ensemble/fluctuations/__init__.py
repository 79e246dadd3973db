"""Fluctuations of tangent kernels and of their differentials, measured on drawn networks.

What `whydeep.measure` uses for ntk_A ... ddntk_U: coupled draws with weight matrices, recursions of
the tangent kernel over neurons, contractions of its differentials, and an oracle by automatic
differentiation. The last layer is averaged exactly over its own weights.
"""

from whydeep.ensemble.fluctuations._batches import Fluctuations as Fluctuations
from whydeep.ensemble.fluctuations._batches import tensor_batches as tensor_batches
from whydeep.ensemble.fluctuations._names import DIFFERENTIALS as DIFFERENTIALS
from whydeep.ensemble.fluctuations._names import MOST_INPUTS as MOST_INPUTS
from whydeep.ensemble.fluctuations._names import TENSORS as TENSORS
from whydeep.ensemble.fluctuations._names import check_tensors as check_tensors
from whydeep.ensemble.fluctuations._names import missing_tensors as missing_tensors
from whydeep.ensemble.fluctuations._raw import prepare_raw as prepare_raw
