"""What a network is: a description that theory and measurement both read."""

from whydeep.network._layers import Activation as Activation
from whydeep.network._layers import Dense as Dense
from whydeep.network._layers import check_number as check_number
from whydeep.network._layers import check_whole as check_whole
from whydeep.network._mlp import mlp as mlp
from whydeep.network._network import Network as Network
