"""Real inputs, by name or from a file, and the check of inputs at the public boundary."""

from whydeep.data._check import BATCH as BATCH
from whydeep.data._check import INPUTS as INPUTS
from whydeep.data._check import LABELS as LABELS
from whydeep.data._check import check_inputs as check_inputs
from whydeep.data._contradictions import contradicting_labels as contradicting_labels
from whydeep.data._load import load as load
from whydeep.data._named import NAMES as NAMES
