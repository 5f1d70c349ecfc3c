"""Test fingerprints: a changed line rebuilds an artifact, a comment does not."""

import ast
import dis
import functools
import importlib
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets import fingerprints
from recsys_assets.lib.release import releases
from recsys_assets.orchestration.resources import Built, Platform
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.test_walls import GROUND

#: A small package with every form of import. Its closure from small.write is all but small.outside
#: and small.typed.
FILES = {
    "__init__.py": "from small.setup import READY\n",
    "setup.py": "READY = True\n",
    "write.py": (
        '"""Write."""\nfrom typing import TYPE_CHECKING\nimport small.absolute\nfrom . import '
        "circle\nfrom small import folder\n"
        "if TYPE_CHECKING:\n    from small.typed import Typed\n\n"
        'def write(path):\n    """Write it."""\n    # as it is\n    from small.late import number\n'
        "    path.write_text(str(number()))\n    return {}\n"
    ),
    "absolute.py": "VALUE = 1\n",
    "circle.py": "from small import back\nVALUE = 2\n",
    "back.py": "from small import circle\nVALUE = 3\n",
    "late.py": "def number():\n    try:\n        from .folder.deep import VALUE\n    except "
    "ImportError:\n        VALUE = 0\n"
    "    return VALUE\n",
    "folder/__init__.py": "from ..above import VALUE as ABOVE\n",
    "folder/deep.py": "VALUE = 4\n",
    "above.py": "VALUE = 5\n",
    "typed.py": "class Typed: ...\n",
    "outside.py": "from small import write\nVALUE = 6\n",
}
CLOSURE = [
    "small",
    "small.above",
    "small.absolute",
    "small.back",
    "small.circle",
    "small.folder",
    "small.folder.deep",
    "small.late",
    "small.setup",
    "small.write",
]


class Small:
    """Writes the package into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, source in FILES.items():
            self.edit(name, source)

    def edit(self, name: str, source: str) -> None:
        """Replace the source of a module."""
        path = self.folder / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        fingerprints.forget()

    def after(self, name: str, source: str) -> str:
        """Return the digest with this file changed, then undo the change."""
        before = (self.folder / "small" / name).read_text()
        self.edit(name, source)
        found = fingerprints.digest("small.write")
        self.edit(name, before)
        return found


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    """Return a small package whose modules can be edited."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(fingerprints, "PROJECT", (*fingerprints.PROJECT, "small"))
    yield Small(tmp_path)
    fingerprints.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "small"]:
        del sys.modules[name]


def test_the_closure_follows_every_form_of_import(small: Small) -> None:
    assert fingerprints.closure("small.write") == CLOSURE
    assert "small.write" not in sys.modules, "a source is read, not imported"
    with pytest.raises(ModuleNotFoundError, match=r"source of small\.gone not found"):
        fingerprints.closure("small.gone")


def test_one_line_of_any_module_in_the_closure_changes_the_digest(small: Small) -> None:
    found = fingerprints.digest("small.write")
    names = {name for name in FILES if name not in ("typed.py", "outside.py")}
    assert len(names) == len(CLOSURE)
    for name in sorted(names):
        assert small.after(name, FILES[name] + "MORE = 1\n") != found, name
    for name in ("typed.py", "outside.py"):
        assert small.after(name, FILES[name] + "MORE = 1\n") == found, name
    assert small.after("late.py", FILES["late.py"].replace("VALUE = 0", "VALUE = 9")) != found


def test_comments_docstrings_and_layout_change_nothing(small: Small) -> None:
    found = fingerprints.digest("small.write")
    for before, after in [
        ("# as it is", "# otherwise"),
        ('"""Write it."""', '"""Something\n    else."""'),
        ('    """Write it."""\n', ""),
        ('"""Write."""\n', ""),
        ("write(path):", "write( path ):  # here"),
        ("return {}\n", "return {}\n\n\n"),
    ]:
        assert before in FILES["write.py"]
        assert small.after("write.py", FILES["write.py"].replace(before, after)) == found, after
    assert (
        small.after("write.py", FILES["write.py"].replace("return {}", "return {'rows': 1}"))
        != found
    )


# --- what a writing function uses -----------------------------------------------------------------
def test_a_function_names_its_modules(small: Small, tmp_path: Path) -> None:
    write, late = importlib.import_module("small.write"), importlib.import_module("small.late")
    number, value, by_default = late.number, 3, late
    assert fingerprints.modules_of(lambda: write.write(tmp_path)) == {"small.write"}
    assert fingerprints.modules_of(lambda: [number() for _ in range(value)]) == {"small.late"}
    assert fingerprints.modules_of(lambda path, late=by_default: late.number()) == {"small.late"}
    assert fingerprints.modules_of(lambda path, *, late=by_default: late.number()) == {"small.late"}
    assert fingerprints.modules_of(functools.partial(number)) == {"small.late"}
    assert fingerprints.modules_of(functools.lru_cache(number)) == {"small.late"}
    assert fingerprints.modules_of(write.write) == {"small.write"}
    assert fingerprints.modules_of(lambda: releases.Release) == {
        "recsys_assets.lib.release.releases"
    }

    def imports_late() -> None:
        from small import absolute, folder
        from small.late import number as _number

        print(absolute, folder, _number)

    assert fingerprints.modules_of(imports_late) == {
        "small",
        "small.absolute",
        "small.folder",
        "small.late",
    }


def test_functions_of_assets_are_followed_and_do_not_count(small: Small) -> None:
    of_assets = types.ModuleType("recsys_assets.defs.made_up")
    exec(
        "from small import late\ndef inner():\n    return late.number()\ndef outer():\n    return "
        "inner()\n",
        of_assets.__dict__,
    )
    assert fingerprints.modules_of(lambda: of_assets.outer()) == {"small.late"}
    outer = of_assets.outer
    assert fingerprints.modules_of(lambda: outer()) == {"small.late"}


def test_a_function_that_uses_no_module_is_an_error_that_names_the_artifact() -> None:
    with pytest.raises(
        fingerprints.FingerprintError,
        match=r"serving/nothing: its writing function .*<lambda> uses no module",
    ):
        fingerprints.code_of(lambda staged: {"rows": len(str(staged))}, "serving/nothing")


# --- reuse ----------------------------------------------------------------------------------------
def test_an_artifact_is_rebuilt_where_its_code_has_changed_and_reused_otherwise(
    small: Small, tmp_path: Path
) -> None:
    settings, write = Settings(home=tmp_path / "home"), importlib.import_module("small.write")
    built: list[Built] = []

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    @dg.asset
    def numbers(context: dg.AssetExecutionContext, platform: Platform) -> None:
        built.append(
            platform.build(
                context,
                "raw/numbers",
                inputs={},
                write=lambda staged: write.write(staged.path / "number.txt"),
            )
        )

    def reused() -> bool:
        assert dg.materialize([numbers], resources={"platform": HomePlatform()}).success
        return built[-1].reused

    assert not reused() and reused()
    small.edit("folder/deep.py", "# a comment\nVALUE = 4\n")
    assert reused()
    small.edit("outside.py", "VALUE = 7\n")
    assert reused()
    small.edit("folder/deep.py", "VALUE = 40\n")
    assert not reused() and reused()
    assert built[0].artifact.manifest["code"] != built[-1].artifact.manifest["code"]
    small.edit("folder/deep.py", FILES["folder/deep.py"])
    assert reused() and built[-1].artifact.uri == built[0].artifact.uri


# --- the project ----------------------------------------------------------------------------------
def writers() -> dict[str, set[str]]:
    """Return asset → modules that its writing functions use.

    Writing functions take ``staged`` or a ``path``. Helper functions of the same module count.
    """
    from recsys_assets.definitions import defs

    found = {}
    for asset in defs().assets or []:
        if not isinstance(asset, dg.AssetsDefinition):
            continue
        function = asset.op.compute_fn.decorated_fn
        module = sys.modules[function.__module__]
        helpers = [
            value
            for name in _names(function.__code__)
            if (value := getattr(module, name, None)) is not None
            and getattr(value, "__module__", None) == module.__name__
        ]
        owners = [
            function,
            *(helper for helper in helpers if isinstance(helper, types.FunctionType)),
            *(
                member
                for helper in helpers
                if isinstance(helper, type)
                for member in vars(helper).values()
                if isinstance(member, types.FunctionType)
            ),
        ]
        found[asset.key.to_user_string()] = {
            name
            for owner in owners
            for write in _writes(owner)
            for name in fingerprints.modules_of(write)
        }
    return found


def _names(code: types.CodeType) -> set[str]:
    """Return the global names of a function and of the functions inside it."""
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return {*code.co_names, *(name for one in inner for name in _names(one))}


def _writes(owner: types.FunctionType) -> Iterator[types.FunctionType]:
    """Return the writing functions inside ``owner``, with the modules that it imports."""
    imported = _imported(owner.__code__)
    waiting = [one for one in owner.__code__.co_consts if isinstance(one, types.CodeType)]
    while waiting:
        code = waiting.pop()
        if code.co_varnames[:1] in (("staged",), ("path",)):
            cells = tuple(types.CellType(imported.get(name)) for name in code.co_freevars)
            yield types.FunctionType(code, owner.__globals__, closure=cells)
        else:  # a function of one day may hold the writing function
            waiting += [one for one in code.co_consts if isinstance(one, types.CodeType)]


def _imported(code: types.CodeType) -> dict[str, object]:
    """Return local name → what a function imports under it."""
    found: dict[str, object] = {}
    base, value = "", None
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            base = step.argval
        elif step.opname == "IMPORT_FROM":
            module = importlib.import_module(base)
            value = getattr(module, step.argval, None) or importlib.import_module(
                f"{base}.{step.argval}"
            )
        elif step.opname in ("STORE_FAST", "STORE_DEREF") and value is not None:
            found[step.argval], value = value, None
    return found


#: Assets that build no artifact by a function of the platform: a training step writes theirs, or
#: none is written.
WITHOUT = {
    "ads_ctr/workflow",
    "ads_ctr/datasets",
    "ads_ctr/dcn",
    "ads_ctr/tuned_dcn",
    "ads_ctr/release",
    "ads_ctr/tuned_release",
    "ads_ctr/champion",
    "features/workflows",
    "features/datasets",
    "ladder/simple_models",
    "retrieval/two_tower",
    "ranking/dlrm",
    "feature_store/definitions",
    "feature_store/online",
    "feature_store/popularity",
    "serving/champion",
}


@pytest.fixture(scope="module")
def closures() -> dict[str, set[str]]:
    """Return asset → modules of its import closure."""
    return {
        asset: set(fingerprints.closure(*modules)) if modules else set()
        for asset, modules in writers().items()
    }


def test_every_asset_that_writes_has_code(closures: dict[str, set[str]]) -> None:
    assert {asset for asset, modules in closures.items() if not modules} == WITHOUT


@pytest.mark.parametrize(
    ("asset", "modules"),
    [
        ("embeddings/aligned", ["lib.features.transforms", "lib.embeddings.aligned"]),
        (
            "fine_tune/rows",
            ["lib.features.transforms", "lib.features.batch_transform", "lib.release.releases"],
        ),
        (
            "serving/release",
            [
                "lib.features.transforms",
                "lib.ranking.ordering",
                "lib.exports.session",
                "lib.release.releases",
                "lib.release.build",
                "lib.gates.gates",
                "lib.evaluation.ranker_metrics",
            ],
        ),
        (
            "fine_tune/release",
            [
                "lib.features.transforms",
                "lib.ranking.ordering",
                "lib.evaluation.ranker_metrics",
                "lib.quality.drift",
                "lib.exports.parity",
            ],
        ),
        ("fine_tune/sources", ["lib.blend.fit", "lib.ladder.fitting", "lib.release.releases"]),
        ("fine_tune/blend", ["lib.blend.kept", "lib.ladder.fusion", "lib.evaluation.generation"]),
        (
            "fine_tune/items",
            ["lib.embeddings.pca", "lib.retrieval.index", "lib.features.item_index"],
        ),
        ("fine_tune/dlrm", ["lib.fine_tune.fine_tuning"]),
        ("exports/onnx", ["lib.exports.parity"]),
        ("retrieval/item_vectors", ["lib.retrieval.item_vectors"]),
        (
            "evaluation/offline",
            ["lib.figures.plots", "lib.release.releases", "lib.ranking.ordering"],
        ),
        (
            "evaluation/ablations",
            [
                "lib.features.transforms",
                "lib.ranking.ordering",
                "lib.exports.exports",
                "lib.figures.plots",
            ],
        ),
        ("evaluation/baselines", ["lib.features.point_in_time", "lib.figures.plots"]),
        ("evaluation/queries", ["columns", "lib.features.activity"]),
        ("evaluation/report", ["lib.simulator.shop", "lib.landing.zone"]),
        ("evaluation/oracle", ["lib.simulator.shop", "lib.evaluation.queries"]),
        ("features/interactions", ["lib.features.point_in_time", "partitions"]),
        ("features/masked_train", ["lib.features.activity"]),
        ("embeddings/text", ["lib.embeddings.text", "lib.embeddings.torch_setup"]),
        (
            "embeddings/image_encoder",
            [
                "lib.embeddings.clip_checkpoint",
                "lib.embeddings.encoder_quality",
                "lib.figures.colours",
                "lib.embeddings.torch_setup",
            ],
        ),
        ("embeddings/pca", ["lib.embeddings.pca", "lib.embeddings.clip_checkpoint"]),
    ],
)
def test_what_the_lists_had_and_what_they_missed(
    closures: dict[str, set[str]], asset: str, modules
) -> None:
    assert {f"recsys_assets.{module}" for module in modules} - closures[asset] == set()


def test_no_artifact_depends_on_benchmarks_drills_commands_or_orchestration(
    closures: dict[str, set[str]],
) -> None:
    forbidden = (
        *fingerprints.ORCHESTRATION,
        *(
            f"recsys_assets.{name}"
            for name in (
                "bench",
                "drills",
                "cli",
                "operations",
                "training",
                "serving.gateway",
                "serving.events.consumer",
            )
        ),
    )
    assert {
        (asset, module)
        for asset, modules in closures.items()
        for module in modules
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    } == set()
    # imports by a computed name, which no closure can see
    assert {
        asset
        for asset, modules in closures.items()
        if "recsys_assets.serving.stages.registry" in modules
    } == set()


STEPS = (
    "features.fit_workflows",
    "features.make_datasets",
    "retrieval.two_tower",
    "ranking.dlrm",
    "retrieval.fine_tune_query_tower",
    "ranking.fine_tune_dlrm",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_training_step_is_its_own_imports(step) -> None:
    found = fingerprints.closure(f"recsys_assets.training.{step}")
    assert {"recsys_assets.training.step", "recsys_assets.columns"} <= set(found)
    allowed = tuple(f"recsys_assets.{name}" for name in ("training", *GROUND))
    assert [
        name
        for name in found
        if "bench" in name or not (name.startswith(allowed) or name == "recsys_assets")
    ] == []


def test_a_line_of_the_project_changes_the_steps_that_use_it_and_no_other(tmp_path: Path) -> None:
    """Each change is made on a copy of the project and read by a new process."""
    package = tmp_path / "recsys_assets"
    shutil.copytree(
        PROJECT_ROOT / "recsys_assets", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    script = (
        "import json, sys\nfrom recsys_assets import fingerprints\n"
        "print(json.dumps({name: fingerprints.digest(f'recsys_assets.training.{name}') for name in "
        "sys.argv[1:]}))"
    )

    def digests() -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *STEPS],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
            check=True,
        )
        return json.loads(done.stdout)

    def changed(name: str, line: str) -> set[str]:
        path = package / name
        before = path.read_text()
        path.write_text(before + line)
        found = digests()
        path.write_text(before)
        return {step for step in STEPS if found[step] != present[step]}

    present = digests()
    assert (
        changed("bench/training/train_models.py", "MORE = 1\n")
        == changed("bench/training/run.py", "MORE = 1\n")
        == set()
    )
    assert changed("training/step.py", "# a comment\n") == set()
    assert changed("training/step.py", "MORE = 1\n") == set(STEPS)
    assert changed("training/retrieval/two_tower.py", "MORE = 1\n") == {"retrieval.two_tower"}
    assert changed("training/ranking/dlrm.py", "MORE = 1\n") == {"ranking.dlrm"}


def test_a_tree_that_another_thread_disturbs_is_parsed_again(tmp_path, monkeypatch):
    path, parse, failures = tmp_path / "module.py", ast.parse, [SystemError("depth"), None]
    path.write_text("x = 1")

    def disturbed(*args, **named):
        if failure := failures.pop(0):
            raise failure
        return parse(*args, **named)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert isinstance(fingerprints.parsed(path).body[0], ast.Assign) and not failures
    monkeypatch.undo()
    path.write_text("x = (")
    with pytest.raises(SyntaxError):
        fingerprints.parsed(path)
