"""Run a training step: parameters in, metrics out, files at an address.

A step runs as ``python -m recsys_assets.training.<name>``, either under Dagster Pipes or, to debug
it, alone with ``--extras FILE``. FILE holds the JSON that Pipes passes as extras::

    {"inputs": {role: address or list of addresses}, "output": address, "params": {...}}

Addresses are local folders or any address that fsspec supports (``s3://…``). ``seed`` and
``threads`` are parameters of every step. At the end the step sends one custom message:
``{"metrics": {...}, "versions": {...}}``. With that message the step is done: its files are on the
disk, and the process ends without running the exit handlers of its libraries
(``recsys_assets.exits``). A process that ends without the message has failed, whatever its exit
status.

This module does not import TensorFlow. A step imports what it needs inside its body, after the
environment is set.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from recsys_assets.columns import OLDER_LOOK_BACK_DAYS
from recsys_assets.exits import run_and_leave, sync_folder
from recsys_assets.hyper_parameters import ParameterInvalid
from recsys_assets.local_time import UTC
from recsys_assets.versions import installed

if TYPE_CHECKING:
    import tensorflow as tf

DEFAULT_SEED = 7
_DISTRIBUTIONS = (
    "nvtabular",
    "merlin-core",
    "merlin-dataloader",
    "merlin-models",
    "tensorflow",
    "tensorflow-cpu",
    "numpy",
    "pandas",
    "pyarrow",
    "tf2onnx",
    "onnx",
    "onnxruntime",
)

P = TypeVar("P")


class StepError(ValueError):
    """A step received something that it cannot use; the message names the remedy."""


@dataclass
class Step(Generic[P]):
    """Holds inputs, parameters and output of a step for its body.

    Attributes:
        params: the step's own parameters, validated.
        seed: seed of every random generator.
        output: an empty local folder to write into.
        log: writes one line to the caller's log.
        metrics: reported to the caller at the end.
        time_zone: of the shop, an IANA name.
        look_back_days: days of clicks that the features cover.
    """

    params: P
    seed: int
    output: Path
    log: Callable[[str], None]
    _inputs: dict[str, list[Path]]
    metrics: dict[str, Any] = field(default_factory=dict)
    time_zone: str = UTC
    look_back_days: int = OLDER_LOOK_BACK_DAYS

    def has(self, role: str) -> bool:
        """Return whether a role is given."""
        return bool(self._inputs.get(role))

    def inputs(self, role: str) -> list[Path]:
        """Return the local folders of a role, in the given order.

        Raises:
            StepError: the role is absent or empty.
        """
        if not self._inputs.get(role):
            raise StepError(f"input {role!r} is missing; given were {sorted(self._inputs)}")
        return self._inputs[role]

    def input(self, role: str) -> Path:
        """Return the one folder of a role.

        Raises:
            StepError: the role has no folder, or several.
        """
        paths = self.inputs(role)
        if len(paths) != 1:
            raise StepError(f"input {role!r} must be one address, got {len(paths)}")
        return paths[0]

    def file(self, role: str, name: str) -> Path:
        """Return the path of a file in the one folder of a role.

        Raises:
            StepError: the file is absent.
        """
        return require_file(self.input(role), name)

    def files(self, role: str, name: str) -> list[Path]:
        """Return the path of the same file in every folder of a role.

        Raises:
            StepError: a file is absent.
        """
        return [require_file(folder, name) for folder in self.inputs(role)]

    def report(self, **metrics: Any) -> None:
        """Add metrics to the message that the caller receives."""
        self.metrics.update(metrics)

    def start_tensorflow(self) -> Any:
        """Import TensorFlow, seed every generator and return the module."""
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.keras.utils.set_random_seed(self.seed)
        return tf

    def epoch_log(self, epochs: int) -> tf.keras.callbacks.Callback:
        """Return a Keras callback that logs one line per epoch."""
        import tensorflow as tf

        started = time.monotonic()

        def line(epoch: int, logs: dict[str, float]) -> None:
            self.log(
                f"epoch {epoch + 1}/{epochs}: loss {logs['loss']:.4f}, "
                f"{time.monotonic() - started:.1f} s"
            )

        return tf.keras.callbacks.LambdaCallback(on_epoch_end=line)


def run(body: Callable[[Step[P]], None], params_type: type[P]) -> NoReturn:
    """Run a step as a process: read inputs, run ``body``, write output, report.

    Ends the process. The exit status is 0 after the report and 1 after an exception, for example a
    StepError for an unknown parameter, a wrong parameter or a missing input.
    """
    run_and_leave(lambda: _run(body, params_type))


def _run(body: Callable[[Step[P]], None], params_type: type[P]) -> None:
    parser = argparse.ArgumentParser(description=sys.modules[body.__module__].__doc__)
    parser.add_argument(
        "--extras", type=Path, help="JSON file with inputs, output and params; else Dagster Pipes"
    )
    arguments = parser.parse_args()
    _fix_hash_order()
    if arguments.extras:
        _execute(
            body,
            params_type,
            json.loads(arguments.extras.read_text()),
            log=lambda line: print(line, file=sys.stderr, flush=True),
            send=lambda message: print(json.dumps(message), flush=True),
        )
        return

    from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes

    loader = PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]  # dagster_pipes has none
    if not loader.is_dagster_pipes_process():
        parser.error("not started by Dagster Pipes: give --extras FILE")
    with open_dagster_pipes() as context:
        _execute(
            body,
            params_type,
            dict(context.extras),
            log=context.log.info,
            send=context.report_custom_message,
        )


def _fix_hash_order() -> None:
    """Restart the process with PYTHONHASHSEED=0, if it is not set.

    Workflows and schemas hold sets, and equal input must give equal bytes.
    """
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _execute(
    body: Callable[[Step[P]], None],
    params_type: type[P],
    extras: dict[str, Any],
    *,
    log: Callable[[str], None],
    send: Callable[[dict[str, Any]], None],
) -> None:
    started = time.monotonic()
    params = dict(extras.get("params", {}))
    seed, threads = (
        int(params.pop("seed", DEFAULT_SEED)),
        int(params.pop("threads", len(os.sched_getaffinity(0)))),
    )
    zone = str(params.pop("time_zone", UTC))
    look_back_days = int(params.pop("look_back_days", OLDER_LOOK_BACK_DAYS))
    _set_environment(threads)
    with tempfile.TemporaryDirectory(prefix="recsys-step-") as scratch:
        inputs = {
            role: [
                _fetch(address, Path(scratch))
                for address in ([value] if isinstance(value, str) else value)
            ]
            for role, value in extras.get("inputs", {}).items()
        }
        with _output(extras["output"], Path(scratch)) as output:
            own = parse_params(params_type, params)
            step = Step(
                own, seed, output, log, inputs, time_zone=zone, look_back_days=look_back_days
            )
            body(step)
    step.report(seconds=round(time.monotonic() - started, 1), peak_memory_mb=peak_memory_mb())
    send({"metrics": step.metrics, "versions": versions()})


def _set_environment(threads: int) -> None:
    """Set threads and log levels before numpy and TensorFlow are imported."""
    # Merlin and dask warn on every import and call; errors still raise
    warnings.filterwarnings("ignore")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def parse_params(params_type: type[P], given: dict[str, Any]) -> P:
    """Make the dataclass ``params_type`` from a JSON object.

    Raises:
        StepError: a parameter is unknown or invalid; the message names it.
    """
    known = [f.name for f in dataclasses.fields(params_type)]  # type: ignore[arg-type]  # any dataclass
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise StepError(
            f"unknown parameter {', '.join(unknown)}; this step has {', '.join(known) or 'none'}"
        )
    try:
        return params_type(**given)
    except ParameterInvalid as error:
        raise StepError(str(error)) from error


def require_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        StepError: the file is absent; the message lists what the folder holds.
    """
    path = folder / name
    if not path.exists():
        raise StepError(
            f"{path} is missing; the folder holds "
            f"{sorted(p.name for p in folder.iterdir()) or 'nothing'}"
        )
    return path


def _fetch(address: str, scratch: Path) -> Path:
    """Return a local folder with the content of an address."""
    if "://" not in address or address.startswith("file://"):
        path = Path(address.removeprefix("file://"))
        if not path.is_dir():
            raise StepError(f"input folder {address} does not exist")
        return path
    import fsspec

    filesystem, prefix = fsspec.core.url_to_fs(address)
    target = Path(tempfile.mkdtemp(dir=scratch))
    names = filesystem.find(prefix)
    if not names:
        raise StepError(f"input {address} is empty or does not exist")
    for name in names:
        local = target / name[len(prefix) :].lstrip("/")
        local.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(name, str(local))
    return target


@contextlib.contextmanager
def _output(address: str, scratch: Path) -> Iterator[Path]:
    """Return a local folder to write into.

    Its files are copied to the address, unless the body fails.
    """
    if "://" not in address or address.startswith("file://"):
        path = Path(address.removeprefix("file://"))
        path.mkdir(parents=True, exist_ok=True)
        yield path
        sync_folder(path)
        return
    import fsspec

    filesystem, prefix = fsspec.core.url_to_fs(address)
    path = Path(tempfile.mkdtemp(dir=scratch))
    yield path
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        filesystem.put_file(str(file), f"{prefix}/{file.relative_to(path).as_posix()}")


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process in MB (Linux counts in kB).

    Reads VmHWM where it exists. A child inherits getrusage's ru_maxrss from its parent, so small
    steps under Dagster would report Dagster's own peak.
    """
    status = Path("/proc/self/status")
    found = (
        re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if status.exists()
        else None
    )
    peak = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1024, 1)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide what a step writes."""
    return installed(*_DISTRIBUTIONS)
