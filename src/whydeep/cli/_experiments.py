"""`whydeep list` and `whydeep run NAME`: published claims, and one of them reproduced."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whydeep.cli._options import check_options
from whydeep.cli._refusals import refusals

if TYPE_CHECKING:
    from whydeep.experiments import Result

__all__ = ["list_experiments", "run_experiment"]

_STATUS = {"agrees": 0, "disagrees": 1, "not resolved": 3}


def list_experiments(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
) -> None:
    """List every experiment: claim, source, time it takes."""
    from whydeep.experiments import EXPERIMENTS

    if as_json:
        listed = [
            {"name": e.name, "claim": e.claim, "source": e.source, "seconds": e.seconds}
            for e in EXPERIMENTS.values()
        ]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    from rich.markup import escape

    from whydeep.cli._console import output, plain_table

    table = plain_table()
    table.add_column("experiment", no_wrap=True)
    table.add_column("claim")
    table.add_column("source")
    table.add_column("takes", justify="right", no_wrap=True)
    for e in EXPERIMENTS.values():
        table.add_row(f"[bold]{e.name}[/]", escape(e.claim), escape(e.source), f"{e.seconds} s")
    console = output()
    console.print(table)
    console.print("\n[dim]whydeep run NAME reproduces one, and writes a page with pictures.[/]")


def run_experiment(
    name: Annotated[str, typer.Argument(help="One of `whydeep list`.")],
    *,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    effort: Annotated[
        float, typer.Option(help="Share of the draws; errors grow like its inverse root.")
    ] = 1.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the page is written.", show_default="NAME.html"),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
) -> None:
    """Reproduce one published claim: numbers beside their predictions, and a page with pictures."""
    with refusals(as_json=as_json):
        path = Path(f"{name}.html") if out is None else out
        from whydeep.experiments import find_experiment

        find_experiment(name)
        check_options({"seed": seed, "effort": effort})
        if not no_report:
            from whydeep.arguments import file_path
            from whydeep.publish import check_writable

            check_writable(file_path("--out", path), "--out")
        from whydeep.experiments import run

        result = run(name, seed=seed, effort=effort)
        written = None
        if not no_report:
            from whydeep.report import write_experiment

            words = ["whydeep", "run", name, "--seed", str(seed), "--effort", f"{effort:g}"]
            written = write_experiment(path, result, command=shlex.join(words))
        status = _STATUS[result.verdict]
        if as_json:
            from whydeep.cli._document import finite

            content = {"exit_status": status, **result.as_dict()}
            content["report"] = None if written is None else str(written)
            typer.echo(json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            _print(result, written)
    raise typer.Exit(status)


def _print(result: Result, written: Path | None) -> None:
    from rich.markup import escape

    from whydeep.cli._console import output, plain_table
    from whydeep.comparison import coloured, number_with_error
    from whydeep.report import HEADLINES, MARKS

    console = output()
    console.print(f"[bold]{escape(result.title)}[/]: {escape(result.claim)}", highlight=False)
    console.print(f"[dim]{escape(result.source)}; seed {result.seed}[/]\n", highlight=False)
    table = plain_table()
    for column in ("claim", "predicted", "measured", "z", "allowed", "verdict"):
        right = column in ("predicted", "z", "allowed")
        table.add_column(column, no_wrap=column != "claim", justify="right" if right else "left")
    for row in result.rows:
        check = row.check
        table.add_row(
            escape(check.claim),
            f"{check.predicted:.5g}",
            number_with_error(check.measured, check.stderr),
            "" if check.stderr == 0 else f"{row.z:+.1f}",
            f"± {row.reach:.2g}",
            coloured(row.verdict, f"{MARKS[row.verdict]} {row.verdict}"),
        )
    console.print(table)
    for row in result.rows:
        beyond_noise = row.check.stderr > 0 and not row.within_noise
        if row.verdict != "agrees" or beyond_noise:
            words = f"{escape(row.check.claim)}: {escape(row.reason)}."
            console.print(coloured(row.verdict, words), highlight=False)
    headline = coloured(result.verdict, f"{MARKS[result.verdict]} {HEADLINES[result.verdict]}")
    console.print(f"\n{headline}.", highlight=False)
    console.print(
        f"[dim]± is one standard error, z counts them; {len(result.rows)} numbers share a "
        f"false-alarm rate of {result.alpha:.2g}; {result.seconds:.0f} s[/]",
        highlight=False,
    )
    if written is not None:
        console.print(f"Page: {escape(str(written))}", highlight=False, soft_wrap=True)
