"""``nnhealth demo``: trains small models, healthy and ill, and opens TensorBoard on them."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tb_nnhealth.cli.errors import failed

DEFAULT_LOGDIR = os.path.join("runs", "nnhealth-demo")
NEEDED = {"torch": "torch", "sklearn": "scikit-learn"}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="train small models, healthy and ill, and open TensorBoard on them",
        description="Trains six small models on real data (a few minutes on a CPU), then opens TensorBoard on them. A "
        "log directory that already holds the demo is opened as it is.",
    )
    parser.add_argument("--logdir", default=DEFAULT_LOGDIR, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="TensorBoard's port; default: 6006, or the next free one"
    )
    parser.add_argument("--no-tensorboard", action="store_true", help="train only")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    logdir = Path(args.logdir)
    try:
        new = not logdir.exists() or not any(logdir.iterdir())
    except OSError as error:
        return failed(f"cannot look into {logdir}: {error.strerror or error}")
    if not new and not _holds_the_demo(logdir):
        return failed(f"{logdir} holds something else than a finished demo; choose another --logdir, or remove it")
    if new:
        missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
        if missing:
            return failed(f"the demo needs {' and '.join(missing)}; install with: pip install {' '.join(missing)}")
        try:
            _train(logdir)
        except OSError as error:
            return failed(f"cannot write the demo's runs to {logdir}: {error.strerror or error}")
    if args.no_tensorboard:
        print(f"Look at them with: tensorboard --logdir {logdir}")
        return 0
    return _serve(logdir, args.port)


def _holds_the_demo(logdir: Path) -> bool:
    return all((logdir / training).is_dir() for training in import_module("tb_nnhealth.demo").TRAININGS)


def _train(logdir: Path) -> None:
    """Trains beside ``logdir`` and moves the runs there when all are done, so that it never holds half a demo."""
    logdir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = tempfile.mkdtemp(prefix=f".{logdir.name}-", dir=logdir.parent)
    try:
        import_module("tb_nnhealth.demo").main(unfinished)
        os.chmod(unfinished, 0o777 & ~_umask())
        os.replace(unfinished, logdir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _serve(logdir: Path, port: int | None) -> int:
    """Runs TensorBoard until it is interrupted."""
    from tensorboard import program

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = program.TensorBoard()
    chosen = [] if port is None else ["--port", str(port)]
    server.configure(argv=["tensorboard", "--logdir", str(logdir), *chosen])
    try:
        url = server.launch()
    except program.TensorBoardServerException as error:
        return failed(f"TensorBoard could not start: {error}")
    print(f"\nTensorBoard is at {url}#nnhealth (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("", file=sys.stderr)
    return 0
