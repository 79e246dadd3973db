"""Training: what theory predicts of it, beside ensembles trained at a ladder of widths."""

from whydeep.comparison.training._catapult import Catapult as Catapult
from whydeep.comparison.training._rows import TrainingRow as TrainingRow
from whydeep.comparison.training._verify import DRAWS as DRAWS
from whydeep.comparison.training._verify import TrainingOutcome as TrainingOutcome
from whydeep.comparison.training._verify import TrainingPlan as TrainingPlan
from whydeep.comparison.training._verify import verify_training as verify_training
