"""``lkbench import-model``: brings a user's own ONNX model into the form that a run takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from signals.errors import ConfigurationError
from signals.model_import import import_model as import_onnx

Channels = tuple[float, float, float]


@click.command("import-model")
@click.argument("onnx", type=click.Path(path_type=Path))
@click.option(
    "--output-of",
    "outputs",
    multiple=True,
    required=True,
    metavar="NAME=OUTPUT",
    help="Which output of the graph is meant by the name that signals use: embedding, logits. Repeat it.",
)
@click.option("--input-size", type=click.IntRange(1), default=224, show_default=True, help="Pixels.")
@click.option(
    "--resize-size", type=click.IntRange(1), help="Short side before the centre crop. [default: size * 8/7]"
)
@click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), default="NCHW", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "uint8"]), default="float32", show_default=True)
@click.option("--mean", type=float, nargs=3, default=(123.675, 116.28, 103.53), show_default=True)
@click.option("--std", type=float, nargs=3, default=(58.395, 57.12, 57.375), show_default=True)
def import_model(
    onnx: Path,
    outputs: tuple[str, ...],
    input_size: int,
    resize_size: int | None,
    layout: Literal["NCHW", "NHWC"],
    dtype: Literal["uint8", "float32"],
    mean: Channels,
    std: Channels,
) -> None:
    """Check an ONNX image model of your own and make it usable. Prints its folder.

    \b
    Put that folder in the configuration file of a run:
      [model]
      path = "<what this command printed>"

    A float32 model gets (pixel - mean) / std per RGB channel, pixels from 0 to 255; the defaults are the
    usual ImageNet ones. The model is tried out on a batch before it is kept.

    \b
    Example:
      lkbench import-model resnet50.onnx --output-of embedding=pool --output-of logits=fc
    """
    named = dict(item.split("=", 1) for item in outputs if "=" in item)
    if len(named) != len(outputs):
        raise ConfigurationError("--output-of takes NAME=OUTPUT, each NAME once, such as embedding=pool")
    folder = import_onnx(
        onnx,
        outputs=named,
        input_size=input_size,
        resize_size=resize_size or round(input_size * 8 / 7),
        layout=layout,
        dtype=dtype,
        mean=mean,
        std=std,
    )
    click.echo(folder)
