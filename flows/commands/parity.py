"""`nightbench parity`."""

import sys

from dashboards.report.format import scientific
from flows.commands.export import prepared
from flows.console import open_console, table
from nightbench.model import Format, Precision
from nightbench.settings import Settings

__all__ = ["parity"]


def parity(
    model: str,
    /,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    precision: Precision = Precision.FP32,
    weights: str | None = None,
) -> None:
    """Compare an exported model with PyTorch fp32, output by output; exit code 1 if they differ.

    Parameters
    ----------
    model
        A model of the zoo.
    format
        The file format; by default the model's first.
    precision
        What weights and arithmetic are held in.
    weights
        `random`, a hub id or a folder; by default what the model says.
    """
    settings, console = Settings.from_environment(), open_console()
    with console.status(f"exporting and comparing {model}") as status:
        result = prepared(model, format, precision, weights, settings, status.update)
    rows = [
        {
            "output": output.output,
            "batch": str(output.batch),
            "max abs": scientific(output.max_abs),
            "max rel": scientific(output.max_rel),
            "RMS share": scientific(output.nrmse),
            "cosine": f"{output.cosine:.9f}",
            "top-1": "" if output.top1_agreement is None else f"{output.top1_agreement:.0%}",
            "top-5": "" if output.top5_agreement is None else f"{output.top5_agreement:.0%}",
            "verdict": "passed" if output.passed else f"broken: {output.detail}{_where(output.diverges_at)}",
        }
        for output in result.parity
    ]
    console.print(table(f"{model} {result.artifact.format} {precision} against PyTorch fp32", rows))
    sys.exit(0 if all(output.passed for output in result.parity) else 1)


def _where(layer: str | None) -> str:
    return f"; it strays first at {layer}" if layer else ""
