"""Networks read from PyTorch modules: the graph of `torch.export`, operation by operation."""

from whydeep.network._laws import CUT_VARIANCE as CUT_VARIANCE
from whydeep.network._laws import Law as Law
from whydeep.network.torch_reader._draws import copied as copied
from whydeep.network.torch_reader._given import Given as Given
from whydeep.network.torch_reader._given import given as given
from whydeep.network.torch_reader._graph import read_module as read_module
from whydeep.network.torch_reader._graph import read_torch as read_torch
from whydeep.network.torch_reader._init import Init as Init
from whydeep.network.torch_reader._init import read_laws as read_laws
from whydeep.network.torch_reader._init import reinitialise as reinitialise
from whydeep.network.torch_reader._init import require_torch as require_torch
from whydeep.network.torch_reader._reading import TorchReading as TorchReading
from whydeep.network.torch_reader._seed import seeded as seeded
