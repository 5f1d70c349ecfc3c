"""Test set-up on other machines: builds of torch, interruptions and locks.

The script is the real one. Its commands (uv, df, uname, getconf) are replaced on PATH where the
machine must be another one. The commands that it runs are read from a log. ``make setup`` itself
installs for real before these tests run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys_assets.settings import PROJECT_ROOT

pytestmark = pytest.mark.slow

UV = PROJECT_ROOT / ".venvs" / "tools" / "bin" / "uv"
REQUIREMENTS = PROJECT_ROOT / "requirements"
LOCKS = {
    "platform": ["platform.lock", "torch.lock"],
    "training": ["training.lock"],
    "serving": ["serving.lock"],
    "peers": ["peers.lock", "torch.lock"],
}
#: What the set-up script may call besides Python and uv.
TOOLS = (
    "bash",
    "dirname",
    "basename",
    "awk",
    "sed",
    "grep",
    "cut",
    "sort",
    "head",
    "cat",
    "rm",
    "mkdir",
    "df",
    "uname",
    "getconf",
    "sha256sum",
    "pwd",
    "flock",
    "make",
    "sleep",
    "env",
    "chmod",
    "touch",
)

FAKE_UV = """#!/usr/bin/env bash
if [ "$1" = --version ]; then echo "uv 0.13.9"; exit; fi
if [[ "$*" == *--dry-run* ]]; then exec {uv} "$@"; fi
echo "$*" >> uv.log
# An installer reads its standard input to the end; without that the writer may die of a broken pipe.
if [ "${{@: -1}}" = - ]; then cat > read.lock; fi
if [ "$1" = venv ]; then
  folder="${{@: -1}}"
  mkdir -p "$folder/bin"
  printf '#!/usr/bin/env bash\\necho "$0 $*" >> python.log\\n! [ -f broken ] || ! grep -q "$0" broken\\n' > "$folder/bin/python"
  chmod +x "$folder/bin/python"
fi
if [ -f slow ] && [[ "$*" == *training.lock* ]]; then touch slow.reached; sleep 60; fi
"""


class Machine:
    """Holds a copy of set-up's files, in a folder with a space, and a replaceable PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        self.path = folder / "path"
        for part in (self.root, self.path, self.root / ".venvs" / "tools" / "bin"):
            part.mkdir(parents=True)
        for name in ("scripts", "requirements"):
            shutil.copytree(
                PROJECT_ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(PROJECT_ROOT / "pyproject.toml", self.root)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)
        self.command("python3.11", f'exec "{sys.executable}" "$@"')
        fake = self.root / ".venvs" / "tools" / "bin" / "uv"
        fake.write_text(FAKE_UV.format(uv=UV))
        fake.chmod(0o755)

    def command(self, name: str, body: str) -> None:
        """Replace a command of PATH by a line of shell."""
        file = self.path / name
        file.unlink(missing_ok=True)
        file.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        file.chmod(0o755)

    def start(self, *environments: str, **variables: str) -> subprocess.Popen[str]:
        """Start set-up of these environments; none: the usual three."""
        environment = {"PATH": str(self.path), "HOME": str(self.root), **variables}
        return subprocess.Popen(
            [shutil.which("bash") or "bash", "scripts/setup.sh", *environments],
            cwd=self.root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def setup(self, *environments: str, **variables: str) -> tuple[int, str]:
        """Run set-up to its end; return exit status and output."""
        process = self.start(*environments, **variables)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def log(self, name: str) -> list[str]:
        """Return the lines of a log file."""
        file = self.root / name
        return file.read_text().splitlines() if file.exists() else []

    def torch_command(self) -> str:
        """Return the one command that installed torch."""
        (found,) = [line for line in self.log("uv.log") if re.search(r"torch(==|\.lock)", line)]
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a new machine."""
    return Machine(tmp_path)


# --- which build of torch -------------------------------------------------------------------------
def test_torch_comes_from_its_hashed_lock(machine: Machine) -> None:
    status, output = machine.setup()
    assert status == 0, output
    assert machine.torch_command() == (
        "pip install --quiet --python .venvs/platform/bin/python --no-deps --require-hashes "
        "-r requirements/torch.lock"
    )


def test_the_small_build_is_taken_by_the_torch_backend_and_remembered(machine: Machine) -> None:
    status, output = machine.setup(TORCH="cpu")
    assert status == 0, output
    assert re.fullmatch(
        r"pip install --quiet --python \.venvs/platform/bin/python --no-deps --torch-backend cpu "
        r"torch==[\d.]+ torchvision==[\d.]+",
        machine.torch_command(),
    )
    (machine.root / "uv.log").unlink()
    status, output = machine.setup()
    assert (status, machine.log("uv.log")) == (0, []), (
        "set-up without TORCH keeps the build that is there"
    )
    status, output = machine.setup(TORCH="index")
    assert status == 0
    assert "--require-hashes -r requirements/torch.lock" in machine.torch_command()
    assert not [line for line in machine.log("uv.log") if "training" in line], (
        "the other environments stay"
    )


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write an empty wheel that an installer accepts as the named version."""
    import zipfile

    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")


def locked(name: str) -> str:
    """Return the version of a package in torch.lock."""
    found = re.search(rf"^{name}==(\S+)", (REQUIREMENTS / "torch.lock").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_a_local_wheel_is_taken_where_find_links_has_one(machine: Machine, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "torch", f"{locked('torch')}+cpu")
    status, output = machine.setup(PIP_FIND_LINKS=str(wheels))
    assert status == 0, output
    assert (
        f"--find-links {wheels} torch=={locked('torch')} torchvision==" in machine.torch_command()
    )
    assert "--require-hashes" not in machine.torch_command()


@pytest.mark.parametrize("held", ["nothing", "another version", "no folder"])
def test_find_links_without_the_wheel_changes_nothing(
    machine: Machine, tmp_path: Path, held: str
) -> None:
    wheels = tmp_path / "wheels"
    if held != "no folder":
        wheels.mkdir()
    if held == "another version":
        write_wheel(wheels, "torch", "1.0.0")
    status, output = machine.setup(PIP_FIND_LINKS=str(wheels))
    assert status == 0, output
    assert machine.torch_command().endswith("--require-hashes -r requirements/torch.lock")


def test_the_peers_are_made_only_when_they_are_asked_for(machine: Machine) -> None:
    assert machine.setup()[0] == 0
    assert not [line for line in machine.log("uv.log") if ".venvs/peers" in line]
    (machine.root / "uv.log").unlink()
    status, output = machine.setup("peers")
    assert status == 0, output
    made = machine.log("uv.log")
    assert [line.rsplit(" ", 1)[-1] for line in made] == [
        *(".venvs/peers", "-", "requirements/peers.lock", ".")
    ]
    assert "--require-hashes -r -" in made[1]
    read = (machine.root / "read.lock").read_text()
    assert f"torch=={locked('torch')} " in read
    assert "torchvision" not in read
    (machine.root / "uv.log").unlink()
    assert machine.setup("peers")[0] == 0
    assert machine.log("uv.log") == []


def test_an_unknown_environment_is_named(machine: Machine) -> None:
    status, output = machine.setup("pears")
    assert status == 1
    assert "no environment pears; there are platform, training, serving and peers" in output


# --- what is needed -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        (
            "getconf",
            "echo glibc 2.31",
            "glibc 2.31 is too old, the Triton wheel needs 2.35; use Debian 12, Ubuntu 22.04 or "
            "newer",
        ),
        ("getconf", "exit 1", "C library is not glibc"),
        (
            "uname",
            '[ "$1" = -s ] && echo FreeBSD || echo amd64',
            "FreeBSD on amd64 is not supported; use Linux on x86-64",
        ),
        ("df", 'printf "a\\nb 1 1 3145728 1 /\\n"', "only 3 GiB free in"),
        (
            "python3.11",
            "exit 1",
            "Python 3.11 is needed (Merlin and Triton's stub are built for it); install it: "
            "apt-get install "
            "python3.11 python3.11-venv, or uv python install 3.11",
        ),
        ("make", None, "make is missing; install it: apt-get install make"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    machine: Machine, name: str, body: str | None, expected: str
) -> None:
    if body is None:
        (machine.path / name).unlink()
    else:
        machine.command(name, body)
    status, output = machine.setup()
    assert status == 1
    assert output.splitlines()[-1].startswith("setup: ")
    assert expected in output
    assert machine.log("uv.log") == [], "nothing is installed before the machine is known to do"


def test_disk_is_what_the_build_of_torch_needs(machine: Machine) -> None:
    machine.command("df", 'printf "a\\nb 1 1 %d 1 /\\n" $((8 * 1024 * 1024))')
    status, output = machine.setup()
    assert status == 1
    assert "make setup TORCH=cpu" in output
    assert machine.setup(TORCH="cpu")[0] == 0


def test_python_comes_from_uv_where_the_machine_has_uv_alone(
    machine: Machine, tmp_path: Path
) -> None:
    (machine.path / "python3.11").unlink()
    machine.command("uv", f'[ "$2" = find ] && echo "{sys.executable}"')
    status, output = machine.setup()
    assert status == 0, output
    assert f"venv --quiet --python {sys.executable}" in machine.log("uv.log")[0]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TORCH": "rocm"}, "TORCH=rocm is not known; it is index, local or cpu"),
        ({"PYTHON": "/nowhere/python"}, "and PYTHON=/nowhere/python is not that; install it"),
    ],
)
def test_a_wrong_choice_is_named(
    machine: Machine, variables: dict[str, str], expected: str
) -> None:
    (machine.path / "python3.11").unlink() if "PYTHON" in variables else None
    status, output = machine.setup(**variables)
    assert status == 1
    assert expected in output


def test_what_cannot_run_on_a_mac_is_named(machine: Machine) -> None:
    machine.command("uname", '[ "$1" = -s ] && echo Darwin || echo arm64')
    status, output = machine.setup()
    assert status == 0, output
    assert "there is no Triton wheel for it" in output


# --- cut off, broken, twice -----------------------------------------------------------------------
def test_a_second_setup_installs_nothing(machine: Machine) -> None:
    assert machine.setup()[0] == 0
    (machine.root / "uv.log").unlink()
    assert machine.setup()[0] == 0
    assert machine.log("uv.log") == []


def test_a_cut_off_setup_goes_on_and_a_half_made_environment_is_made_anew(machine: Machine) -> None:
    (machine.root / "slow").touch()
    process = machine.start()
    for _ in range(600):
        if (machine.root / "slow.reached").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (machine.root / "slow").unlink()
    (machine.root / "uv.log").unlink()
    half = machine.root / ".venvs" / "training" / "half"
    half.touch()
    status, output = machine.setup()
    assert status == 0, output
    assert not half.exists()
    assert [line for line in machine.log("uv.log") if "training.lock" in line]


def test_a_broken_environment_is_made_anew_alone(machine: Machine) -> None:
    assert machine.setup()[0] == 0
    (machine.root / "uv.log").unlink()
    machine.command("true", "exit 0")
    (machine.root / ".venvs" / "serving" / "bin" / "python").write_text(
        "#!/usr/bin/env bash\nexit 1\n"
    )
    status, output = machine.setup()
    assert status == 0, output
    assert "serving: is broken, making it anew" in output
    assert [line for line in machine.log("uv.log") if line.startswith("venv")] == [
        f"venv --quiet --python {sys.executable} .venvs/serving"
    ]


def test_an_environment_that_does_not_load_is_not_taken_for_made(machine: Machine) -> None:
    (machine.root / "broken").write_text(".venvs/platform/bin/python")
    assert machine.setup()[0] == 1
    (machine.root / "broken").unlink()
    status, output = machine.setup()
    assert status == 0, output
    assert "platform: installing" in output


def test_missing_and_truncated_files_are_found(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    python = tmp_path / "bin" / "python"
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    (site / "small").mkdir()
    (site / "small" / "__init__.py").write_text("value = 7\n")
    (site / "small-1.0.dist-info").mkdir()
    (site / "small-1.0.dist-info" / "RECORD").write_text(
        "small/__init__.py,sha256=x,10\nsmall-1.0.dist-info/RECORD,,\n"
    )
    check = [str(python), str(PROJECT_ROOT / "scripts" / "installed_files.py")]
    assert subprocess.run(check).returncode == 0
    (site / "small" / "__init__.py").write_text("value")
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, "small/__init__.py among them" in done.stdout) == (1, True)
    (site / "small" / "__init__.py").unlink()
    assert subprocess.run(check, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("OSError('libcudnn.so.9: cannot open shared object file')", "make setup TORCH=cpu"),
        ("ValueError('libcublasLt.so.*[0-9] not found')", "make setup TORCH=cpu"),
        ("OSError('libgomp.so.1: cannot open shared object file')", "apt-get install libgomp1"),
        (
            "ImportError('libm.so.6: version GLIBC_2.38 not found')",
            "use Debian 12, Ubuntu 22.04 or newer",
        ),
        (
            "ModuleNotFoundError('No module named redis')",
            "delete .venvs/serving and run `make setup` again",
        ),
    ],
)
def test_an_import_that_fails_names_the_remedy(tmp_path: Path, error: str, expected: str) -> None:
    for name in ("numpy", "onnxruntime", "faiss", "feast"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "redis.py").write_text(
        f"import sys\nprint('noise of a library', file=sys.stderr)\nraise {error}\n"
    )
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "scripts" / "try_imports.py"), "serving"],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert "noise" not in done.stderr
    assert all(line.startswith("setup: ") for line in done.stderr.splitlines())


# --- the locks ------------------------------------------------------------------------------------
@pytest.mark.parametrize("environment", sorted(LOCKS))
@pytest.mark.parametrize(
    "platform", ["x86_64-manylinux_2_35", "aarch64-manylinux_2_35", "aarch64-apple-darwin"]
)
def test_the_locks_resolve_on_other_machines(
    tmp_path: Path, environment: str, platform: str
) -> None:
    # the peers' environment is not always made, and all have one Python
    made = "platform" if environment == "peers" else environment
    python = PROJECT_ROOT / ".venvs" / made / "bin" / "python"
    command = [
        str(UV),
        "pip",
        "install",
        "--dry-run",
        "--python-platform",
        platform,
        "--python",
        str(python),
        "--no-deps",
        "--require-hashes",
        "--target",
        str(tmp_path / "none"),
    ]
    for lock in LOCKS[environment]:
        command += ["-r", str(REQUIREMENTS / lock)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )
    if "dns error" in done.stderr or "Connect" in done.stderr:
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    triton = "nvidia-pytriton" in done.stderr
    assert triton is (environment == "serving" and "darwin" not in platform), (
        "the Triton wheel is for Linux"
    )


def test_every_requirement_is_locked_with_hashes_and_without_addresses() -> None:
    for environment, locks in LOCKS.items():
        text = "".join((REQUIREMENTS / lock).read_text() for lock in locks)
        assert "://" not in text, f"{environment}: a lock names an address"
        pins = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
        for entry in re.split(r"\n(?=[a-z])", text.strip()):
            assert "--hash=sha256:" in entry, f"{environment}: {entry.splitlines()[0]} has no hash"
        wanted = [
            re.match(r"[A-Za-z0-9_.-]+", line)[0]
            for line in (REQUIREMENTS / f"{environment}.in").read_text().splitlines()
            if line and not line.startswith("#")
        ]
        assert set(name.lower().replace("_", "-") for name in wanted) <= set(pins)


def test_torch_lock_holds_torch_and_what_only_its_cuda_build_needs() -> None:
    """Of torch.lock, the packages of platform.lock require torch and torchvision only."""
    from importlib import metadata

    from packaging.requirements import Requirement

    pinned = {
        name: set(re.findall(r"^([a-z0-9._-]+)==", (REQUIREMENTS / name).read_text(), re.MULTILINE))
        for name in LOCKS["platform"]
    }
    assert not pinned["platform.lock"] & pinned["torch.lock"]
    needed: set[str] = set()
    for name in pinned["platform.lock"]:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another system
            continue
        needed |= {
            requirement.name.lower().replace("_", "-")
            for line in requires
            if not (requirement := Requirement(line)).marker
            or requirement.marker.evaluate({"extra": ""})
        }
    assert needed & pinned["torch.lock"] <= {"torch", "torchvision"}
