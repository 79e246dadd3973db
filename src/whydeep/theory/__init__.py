"""PREDICT: what theory says of a network.

`infinite` has the kernels of any architecture, `finite` the first corrections in 1/width,
`training` what gradient descent makes of both, `estimators` the predictors that follow. Each is
imported from where it stands: a kernel waits for nothing that only training needs.
"""
