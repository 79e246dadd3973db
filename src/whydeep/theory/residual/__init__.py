"""Fully connected residual networks: kernels, and their fluctuations to first order in 1/width."""

from whydeep.theory.residual._predict import predict_residual as predict_residual
