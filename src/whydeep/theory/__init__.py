"""PREDICT: what theory says of a network.

`infinite` has the kernels of any architecture, `finite` the first corrections in 1/width, `exact`
what holds at any width, `flow` what becomes of it with depth, `residual` networks with skips,
`bayes` posteriors at finite width, `training` what gradient descent makes of kernels, `estimators`
the predictors that follow. Each is imported from where it stands: a kernel waits for nothing that
only training needs.
"""
