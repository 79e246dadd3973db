"""The entry point: `whydeep COMMAND`, its version, and what every command has in common."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from whydeep import __version__
from whydeep.cli import _experiments, _refusals, _verify
from whydeep.cli._pipe import QuietPipe

__all__ = ["app", "main"]

app = typer.Typer(
    name="whydeep",
    help="What deep-learning theory predicts about a network, measured on real networks, and "
    "whether they agree.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("verify", epilog=_verify.EPILOG)(_verify.verify)
app.command("list")(_experiments.list_experiments)
app.command("run", epilog=_verify.EPILOG)(_experiments.run_experiment)


def _show_version(wanted: bool) -> bool:  # noqa: FBT001 -- typer calls it
    if wanted:
        typer.echo(f"whydeep {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _common(
    version: Annotated[  # noqa: FBT002 -- an option of typer
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; leaves with an exit status."""
    sys.stdout = QuietPipe(sys.stdout)
    try:
        app()
    except SystemExit as leaving:
        if "--json" in sys.argv[1:]:
            _refusals.answer_early_end(leaving.code)
        raise
