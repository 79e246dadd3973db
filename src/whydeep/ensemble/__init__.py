"""What ensembles of real networks show. Never imports a prediction, nor Gaussian means."""

from whydeep.ensemble._measure import check_sampling as check_sampling
from whydeep.ensemble._measure import measure as measure
from whydeep.ensemble._measurement import Density as Density
from whydeep.ensemble._measurement import Measurement as Measurement
from whydeep.ensemble._samples import KernelSamples as KernelSamples
