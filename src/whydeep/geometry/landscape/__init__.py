"""Loss landscapes: slices of parameter space, trajectories, curvature. See docs/landscape.md."""

from whydeep.geometry.landscape._directions import Trajectory as Trajectory
from whydeep.geometry.landscape._directions import trajectory_directions as trajectory_directions
from whydeep.geometry.landscape._hessian import HessianSpectrum as HessianSpectrum
from whydeep.geometry.landscape._hessian import hessian_top as hessian_top
from whydeep.geometry.landscape._losses import torch_loss as torch_loss
from whydeep.geometry.landscape._slice import LossSlice as LossSlice
from whydeep.geometry.landscape._slice import loss_slice as loss_slice
