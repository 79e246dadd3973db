"""What ensembles of real networks show. Never imports a prediction, nor Gaussian means."""

from whydeep.ensemble._apply import apply_network as apply_network
from whydeep.ensemble._apply import node_values as node_values
from whydeep.ensemble._draw import draw_parameters as draw_parameters
from whydeep.ensemble._draw import learning_rates as learning_rates
from whydeep.ensemble._draw import parameters_of as parameters_of
from whydeep.ensemble._kernels import measure_function_kernels as measure_function_kernels
from whydeep.ensemble._kernels import measure_kernels as measure_kernels
from whydeep.ensemble._measure import FEWEST_DRAWS as FEWEST_DRAWS
from whydeep.ensemble._measure import measure as measure
from whydeep.ensemble._measurement import MEASUREMENT as MEASUREMENT
from whydeep.ensemble._measurement import Density as Density
from whydeep.ensemble._measurement import Measurement as Measurement
from whydeep.ensemble._posterior import MeasuredPosterior as MeasuredPosterior
from whydeep.ensemble._posterior import measure_posterior as measure_posterior
from whydeep.ensemble._residual import measure_residual as measure_residual
from whydeep.ensemble._samples import KernelSamples as KernelSamples
from whydeep.ensemble._torch import measure_torch_kernels as measure_torch_kernels
