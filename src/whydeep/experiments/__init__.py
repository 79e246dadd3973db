"""Published claims as things to run: one file each, with a function `find(seed)`."""

from whydeep.experiments._registry import EXPERIMENTS as EXPERIMENTS
from whydeep.experiments._registry import Experiment as Experiment
from whydeep.experiments._registry import find_experiment as find_experiment
from whydeep.experiments._registry import run as run
from whydeep.experiments._result import RESOLUTION as RESOLUTION
from whydeep.experiments._result import Check as Check
from whydeep.experiments._result import Curve as Curve
from whydeep.experiments._result import Findings as Findings
from whydeep.experiments._result import Panel as Panel
from whydeep.experiments._result import Result as Result
