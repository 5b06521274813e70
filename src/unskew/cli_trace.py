"""The command `unskew trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unskew.console import (
    Columns,
    Data,
    Dtype,
    Format,
    Model,
    OutputDir,
    Revision,
    Traceback,
    columns,
    explained,
    say,
)
from unskew.errors import ConfigError


@explained
def trace(  # noqa: PLR0913 - one parameter for each option
    model: Model = None,
    data: Data = None,
    output_dir: OutputDir = Path("runs/trace"),
    max_pairs: Annotated[int, typer.Option(help="Pairs drawn at the most.")] = 200,
    num_draws: Annotated[int, typer.Option(help="Draws of the noise for each pair.")] = 10,
    noise_scale: Annotated[
        float, typer.Option(help="Noise in standard deviations of the group words' embeddings.")
    ] = 3.0,
    window: Annotated[
        int | None,
        typer.Option(
            help="Layers whose attention or MLP output is restored together; a fifth if unset."
        ),
    ] = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    seed: Annotated[int, typer.Option(help="Seed of draw, noise and bootstrap.")] = 0,
    data_format: Format = None,
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Trace through which layers group words act on the preference for the stereotype.

    Corrupts the group word's embeddings, restores single states, and measures what returns.

    Example: `unskew trace --model gpt2 --data stereoset/dev.json --output-dir runs/gpt2-trace`
    """
    from unskew.datasource import DataSource
    from unskew.tracing import trace as run_trace

    if model is None:
        raise ConfigError("--model is missing; name the model to trace")
    if data is None:
        raise ConfigError("--data is missing; name pairs whose contexts hold their target")
    record = run_trace(
        model,
        DataSource(data, data_format or "auto", columns(column)),
        output_dir=output_dir,
        max_pairs=max_pairs,
        num_draws=num_draws,
        noise_scale=noise_scale,
        window=window,
        model_options={"dtype": dtype, "revision": revision},
        seed=seed,
    )
    change = record.effects.absolute_change
    say(f"{record.num_pairs} pairs; noise changes a gap by {change.value:.3f} nats per token")
    say(f"page: {output_dir / 'trace.html'}")
    say(f"record: {output_dir / 'trace.json'}")
