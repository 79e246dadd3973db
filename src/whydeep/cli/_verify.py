"""`whydeep verify`: predict, measure, compare, write the report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whydeep.cli._options import check_options, dashed, number_list
from whydeep.cli._refusals import refusals

if TYPE_CHECKING:
    import numpy as np

    from whydeep.comparison import Outcome
    from whydeep.network import Network

__all__ = ["EPILOG", "STATUS", "verify"]

EPILOG = (
    "Exit status: 0 theory and measurement agree, 1 they disagree, 2 bad input, 3 something is "
    "not resolved, 130 interrupted. With --json, standard output holds one JSON document and "
    'nothing else: the result, or {"error": {...}} with status 2.'
)
STATUS = {"agrees": 0, "disagrees": 1, "not resolved": 3}

_WIDTH_PER_DEPTH = 16
_TENSOR_DEPTH, _TENSOR_WIDTH, _TENSOR_INPUTS = 2, 16, 2
_TRAINED_WIDTH = 64
_INPUTS = 4
# Of whydeep.comparison, repeated here so that `--help` need not import it; a test holds them equal.
_DRAWS, _NTK_DRAWS, _TRAINED = 200_000, 2_000, 16_384
_TENSOR_DRAWS, _DIFFERENTIAL_DRAWS = 48_000, 2_000
_BASIC = ("kernel", "ntk", "four_point", "kernel_correction", "ntk_correction")

_NETWORK, _INPUT, _MEASURE, _OUTPUT = "Network", "Inputs", "Measurement", "Output"


def verify(
    activation: Annotated[
        str,
        typer.Option(
            help='A name, with parameters where it has some: "leaky_relu(0.1)".',
            rich_help_panel=_NETWORK,
        ),
    ] = "tanh",
    depth: Annotated[
        int | None,
        typer.Option(
            help="Hidden layers.",
            show_default="8; 2 with --training, and with tensors",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            help="Neurons of the narrowest rung: one number, or one a hidden layer, separated by "
            "commas.",
            show_default="16 x depth; 64 with --training, 16 with tensors",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    weight_var: Annotated[
        str,
        typer.Option(
            help='C_W, weights have variance C_W / fan-in: a number, one a layer, or "critical".',
            rich_help_panel=_NETWORK,
        ),
    ] = "critical",
    bias_var: Annotated[
        str, typer.Option(help="C_b, likewise.", rich_help_panel=_NETWORK)
    ] = "critical",
    weight_lr: Annotated[
        str | None,
        typer.Option(
            help="Learning rate of the weights in the tangent kernel: a number, or one a layer.",
            show_default="by parameterization",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    bias_lr: Annotated[
        str | None,
        typer.Option(
            help="Of the biases.",
            show_default="by parameterization",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    parameterization: Annotated[
        str, typer.Option(help="ntk or standard.", rich_help_panel=_NETWORK)
    ] = "ntk",
    data: Annotated[
        str,
        typer.Option(
            help="A name (digits, breast_cancer, wine, iris, diabetes, mnist, mnist1d), or a "
            ".npy, .npz or .csv file with one input a row.",
            rich_help_panel=_INPUT,
        ),
    ] = "digits",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="How many inputs; one of each class in turn where there are labels.",
            show_default="4, 2 with tensors, or all where there are fewer",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    no_scale: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--no-scale",
            help="Leave inputs alone; by default each is scaled to |x|^2 / n_0 = 1.",
            rich_help_panel=_INPUT,
        ),
    ] = False,
    training: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--training",
            help="Train the networks, and compare training with its prediction. Prints a table; "
            "of the options below it takes --draws, --seed and --alpha.",
            rich_help_panel=_MEASURE,
        ),
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Networks drawn.",
            show_default=f"{_DRAWS}; {_TRAINED} a width with --training",
            rich_help_panel=_MEASURE,
        ),
    ] = None,
    ntk_draws: Annotated[
        int, typer.Option(help="Networks drawn for tangent kernels.", rich_help_panel=_MEASURE)
    ] = _NTK_DRAWS,
    seed: Annotated[int, typer.Option(help="Of all random numbers.", rich_help_panel=_MEASURE)] = 0,
    rungs: Annotated[
        int,
        typer.Option(help="Widths measured: n, 2n, 4n for 3.", rich_help_panel=_MEASURE),
    ] = 3,
    order: Annotated[
        int,
        typer.Option(
            help="0: infinite width. 1: first corrections in 1/width too.",
            rich_help_panel=_MEASURE,
        ),
    ] = 1,
    observables: Annotated[
        str | None,
        typer.Option(
            help='Names separated by commas, or "all": ntk_correction and the tensors of the '
            "tangent kernel too, ntk_A ... ddntk_U (4 samples each: slower).",
            show_default="kernel,ntk,four_point,kernel_correction",
            rich_help_panel=_MEASURE,
        ),
    ] = None,
    tensor_draws: Annotated[
        int,
        typer.Option(
            help="Networks drawn for ntk_correction, ntk_A, ntk_B, ntk_D, ntk_F.",
            rich_help_panel=_MEASURE,
        ),
    ] = _TENSOR_DRAWS,
    differential_draws: Annotated[
        int,
        typer.Option(help="Networks drawn for dntk_P ... ddntk_U.", rich_help_panel=_MEASURE),
    ] = _DIFFERENTIAL_DRAWS,
    sampler: Annotated[
        str,
        typer.Option(
            help="conditional (exact in law, quick) or plain (every weight drawn).",
            rich_help_panel=_MEASURE,
        ),
    ] = "conditional",
    dtype: Annotated[
        str, typer.Option(help="float32 or float64.", rich_help_panel=_MEASURE)
    ] = "float32",
    alpha: Annotated[
        float,
        typer.Option(
            help="Probability that a correct theory disagrees anywhere in the table.",
            rich_help_panel=_MEASURE,
        ),
    ] = 0.05,
    resolution: Annotated[
        float,
        typer.Option(
            help="The share of a prediction that every row must be known to.",
            rich_help_panel=_MEASURE,
        ),
    ] = 0.1,
    out: Annotated[
        Path, typer.Option(help="Where the report is written.", rich_help_panel=_OUTPUT)
    ] = Path("report.html"),
    no_report: Annotated[  # noqa: FBT002
        bool, typer.Option("--no-report", help="Write no report.", rich_help_panel=_OUTPUT)
    ] = False,
    all_layers: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--all-layers", help="Print a row for every layer.", rich_help_panel=_OUTPUT),
    ] = False,
    as_json: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--json", help="Print one JSON document instead of a table.", rich_help_panel=_OUTPUT
        ),
    ] = False,
) -> None:
    """Predict what theory says of a network, measure it on real ones, and compare.

    Measures at a ladder of widths n, 2n, 4n, prints a table with a verdict for every observable,
    and writes a report with figures that opens offline.
    """
    names = _observables(observables)
    tensors = not training and (names == "all" or not set(names or ()) <= set(_BASIC))
    depth = (_TENSOR_DEPTH if training or tensors else 8) if depth is None else depth
    draws = (_TRAINED if training else _DRAWS) if draws is None else draws
    if width is None and (training or tensors):
        width = str(_TRAINED_WIDTH if training else _TENSOR_WIDTH)
    given = dict(locals())
    with refusals(as_json=as_json):
        check_options(given)
    if training:
        raise typer.Exit(_train(given))
    with refusals(as_json=as_json):
        if not no_report:
            from whydeep.arguments import file_path
            from whydeep.publish import check_writable

            check_writable(file_path("--out", out), "--out")
        # Heavy imports: from here on, work begins.
        from whydeep.comparison import Plan
        from whydeep.comparison import verify as run
        from whydeep.progress import phase

        plan = Plan(draws, ntk_draws, tensor_draws, differential_draws, seed, rungs, sampler, dtype)
        network = _network(given)
        few = _TENSOR_INPUTS if tensors else _INPUTS
        inputs = _inputs(data, n, few, scale=not no_scale)
        outcome = run(
            network, inputs, plan, order=order, observables=names, alpha=alpha,
            resolution=resolution,
        )  # fmt: skip
        command = _command(given, network, len(inputs))
        described = f"{len(inputs)} of {data}, " + (
            "as they are" if no_scale else "scaled to |x|² / n₀ = 1"
        )
        if not no_report:
            from whydeep.report import write_report

            with phase("writing the report"):
                write_report(
                    out, outcome.predicted, outcome.measured, outcome.comparison,
                    inputs=described, command=command, seconds=outcome.seconds,
                )  # fmt: skip
        written = None if no_report else out
        _show(outcome, described, command, written, as_json=as_json, all_layers=all_layers)
    raise typer.Exit(STATUS[outcome.comparison.verdict])


def _train(given: dict[str, Any]) -> int:
    """The exit status of `--training`."""
    with refusals(as_json=given["as_json"]):
        from whydeep.cli._training import show_training, training_outcome

        network = _network(given)
        n = _INPUTS if given["n"] is None else given["n"]
        outcome = training_outcome(
            network, given["data"], n, scale=not given["no_scale"], draws=given["draws"],
            seed=given["seed"], alpha=given["alpha"],
        )  # fmt: skip
        status = STATUS[outcome.verdict]
        about = f"{network}, trained on {n} of {given['data']}"
        show_training(outcome, about, status, as_json=given["as_json"])
    return status


def _network(given: dict[str, Any]) -> Network:
    from whydeep.arguments import COUNT, RATE, VARIANCE
    from whydeep.network import mlp

    depth, width = given["depth"], given["width"]
    rates: dict[str, Any] = {
        name: number_list(dashed(name), given[name], float, kind=RATE)
        for name in ("weight_lr", "bias_lr")
        if given[name] is not None
    }
    variances: dict[str, Any] = {
        name: number_list(dashed(name), given[name], float, ("critical",), VARIANCE)
        for name in ("weight_var", "bias_var")
    }
    widths: Any = _WIDTH_PER_DEPTH * depth
    if width is not None:
        widths = number_list("--width", width, int, kind=COUNT)
    return mlp(
        depth, widths, given["activation"], **variances, **rates,
        parameterization=given["parameterization"],
    )  # fmt: skip


def _observables(text: str | None) -> tuple[str, ...] | str | None:
    """The names of a list with commas; None and "all" as they are."""
    if text is None or text.strip() == "all":
        return text and text.strip()
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _inputs(data: str, n: int | None, few: int, *, scale: bool) -> np.ndarray:
    from whydeep.data import NAMES, load

    if n is None:
        n = few if data in NAMES else min(few, len(load(data, scale=False)[0]))
    return load(data, n=n, scale=scale)[0]


def _command(given: dict[str, Any], network: Network, inputs: int) -> str:
    """A command line that does the same again, whatever the defaults will be."""
    widths = sorted(set(network.widths))
    told = given | {
        "width": str(widths[0]) if len(widths) == 1 else ",".join(map(str, network.widths)),
        "n": inputs,
    }
    names = (
        "activation", "depth", "width", "weight_var", "bias_var", "weight_lr", "bias_lr",
        "parameterization", "data", "n", "no_scale", "draws", "ntk_draws", "observables",
        "tensor_draws", "differential_draws", "seed", "rungs", "order", "sampler", "dtype",
        "alpha", "resolution",
    )  # fmt: skip
    words = ["whydeep", "verify"]
    for name in names:
        value = told[name]
        if value is True:
            words.append(dashed(name))
        elif value is not None and value is not False:
            words += [dashed(name), str(value)]
    return shlex.join(words)


def _show(
    outcome: Outcome,
    inputs: str,
    command: str,
    written: Path | None,
    *,
    as_json: bool,
    all_layers: bool,
) -> None:
    if as_json:
        from whydeep.cli._document import document

        status = STATUS[outcome.comparison.verdict]
        typer.echo(document(outcome, inputs, command, written, status))
    else:
        from whydeep.cli._table import print_outcome

        print_outcome(outcome, inputs, written, all_layers=all_layers)
