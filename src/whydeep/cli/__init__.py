"""The command line. Imports nothing heavy until a command runs."""

from whydeep.cli._main import app as app
from whydeep.cli._main import main as main
