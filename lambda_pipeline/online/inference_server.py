"""The inference service as a server that belongs to no run: runs name it in their configuration.

``python -m lambda_pipeline.online.inference_server --model DIR --ready-file FILE --token-file FILE`` serves
until SIGTERM. Started again with the same ready file, it takes the same port.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

import click

from lambda_pipeline.online import inference_idl as idl
from lambda_pipeline.online.inference_service import InferenceHandler, load_engines
from signals.errors import LkbenchError
from signals.process import StopSignal, previous_port, write_ready_file
from signals.rpc import RpcServer


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), required=True, help="Model folder.")
@click.option("--ready-file", type=click.Path(path_type=Path), required=True)
@click.option("--token-file", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--workers", default=2, show_default=True, help="Devices, if there are as many.")
@click.option("--first-device", default=0, show_default=True, help="Its number; others count on from it.")
@click.option("--max-batch", default=8, show_default=True)
@click.option("--max-batch-wait-seconds", default=0.0, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0: a free one, the same after a restart.")
def main(
    model: Path,
    ready_file: Path,
    token_file: Path,
    device: Literal["cpu", "cuda"],
    workers: int,
    first_device: int,
    max_batch: int,
    max_batch_wait_seconds: float,
    host: str,
    port: int,
) -> None:
    """Serve the model's signals until SIGTERM."""
    stop = StopSignal()
    token = token_file.read_text("utf-8").strip()
    try:
        engines = load_engines(model, device=device, workers=workers, max_batch=max_batch, first=first_device)
        handler = InferenceHandler(
            engines, max_batch=max_batch, max_batch_wait_seconds=max_batch_wait_seconds
        )
        port = port or previous_port(ready_file)
        with (
            contextlib.closing(handler),
            RpcServer(idl.Inference, handler, token, host=host, port=port) as server,
        ):
            write_ready_file(ready_file, {"host": server.host, "port": server.port, "pid": os.getpid()})
            stop.wait()
    except LkbenchError as error:
        click.echo(f"inference: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
