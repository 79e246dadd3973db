"""Prediction against measurement: verdicts with reasons, at a declared error rate."""

from whydeep.compare._compare import compare as compare
from whydeep.compare._comparison import Comparison as Comparison
from whydeep.compare._comparison import number_with_error as number_with_error
from whydeep.compare._comparison import ratio_text as ratio_text
from whydeep.compare._ladder import Ladder as Ladder
from whydeep.compare._rows import Row as Row
from whydeep.compare._rows import Series as Series
from whydeep.compare._verify import DRAWS as DRAWS
from whydeep.compare._verify import NTK_DRAWS as NTK_DRAWS
from whydeep.compare._verify import Outcome as Outcome
from whydeep.compare._verify import Plan as Plan
from whydeep.compare._verify import verify as verify
