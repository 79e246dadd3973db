"""Figures and the self-contained HTML report."""

from whydeep.report._experiment import write_experiment as write_experiment
from whydeep.report._partition import write_partition as write_partition
from whydeep.report._provenance import provenance as provenance
from whydeep.report._words import HEADLINES as HEADLINES
from whydeep.report._words import MARKS as MARKS
from whydeep.report._write import write_report as write_report
