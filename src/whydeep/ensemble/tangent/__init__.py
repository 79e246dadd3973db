"""Tangent kernels of one finite network, products with them, and its expansions in parameters."""

from whydeep.ensemble.tangent._expansions import linearize as linearize
from whydeep.ensemble.tangent._expansions import taylor_expand as taylor_expand
from whydeep.ensemble.tangent._kernel import tangent_kernel as tangent_kernel
from whydeep.ensemble.tangent._operator import Solution as Solution
from whydeep.ensemble.tangent._operator import TangentOperator as TangentOperator
from whydeep.ensemble.tangent._operator import TraceEstimate as TraceEstimate
from whydeep.ensemble.tangent._operator import tangent_operator as tangent_operator
