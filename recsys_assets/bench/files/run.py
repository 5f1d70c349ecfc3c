"""Run ``recsys bench files``: small files of every form, mutated files, and a large log."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from recsys_assets.bench.files.all_cases import CASES
from recsys_assets.bench.files.case import FileCase
from recsys_assets.bench.files.judge import CaseVerdict, judge
from recsys_assets.bench.harness.part import BenchFailed, refuse_unknown, run_part
from recsys_assets.files import write_json
from recsys_assets.settings import Settings

#: Inputs of one process of the fuzzer. Hypothesis keeps what it has drawn, so one alone would grow.
_INPUTS = 5_000
_FAULTS = ("crashes", "hangs", "lost")
_ROUNDS = 3

Say = Callable[[str], None]


def bench_files(
    settings: Settings,
    say: Say,
    only: Collection[str] = (),
    fuzz_inputs: int = 100_000,
    rows: int = 10_000_000,
) -> dict[str, Any]:
    """Judge the cases, fuzz the readers and measure them; write ``home/bench/files.json``.

    Args:
        settings: of the home.
        say: receives a line per step.
        only: names of cases; then nothing is fuzzed and measured. Empty: all.
        fuzz_inputs: number of mutated files; 0: none.
        rows: of the large log; 0: nothing is measured.

    Raises:
        BenchFailed: a name is unknown, or the readers of the large log disagree.
    """
    refuse_unknown("case", only, [case.name for case in CASES])
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = {case.name: _judged(case, folder) for case in CASES if not only or case.name in only}
    counts = Counter(verdict.ended for verdict in verdicts.values())
    report: dict[str, Any] = {
        "files": {name: verdict.ended for name, verdict in verdicts.items()},
        "why": {name: verdict.why for name, verdict in verdicts.items() if verdict.why},
        "slowest_case_seconds": round(max(one.seconds for one in verdicts.values()), 2),
        "counts": {ended: counts[ended] for ended in ("right", "refused", "wrong")},
        "cpu_count": os.cpu_count(),
    }
    say(f"{len(verdicts)} cases: {', '.join(f'{n} {ended}' for ended, n in counts.items())}")
    write_json(folder / "files.json", report)
    if fuzz_inputs and not only:
        report["fuzz"] = _fuzz(settings, folder, fuzz_inputs, say)
        write_json(folder / "files.json", report)
    if rows and not only:
        with tempfile.TemporaryDirectory(dir=folder, prefix="files-") as scratch:
            part = "recsys_assets.bench.files.speed"
            request = {"folder": scratch, "rows": rows, "rounds": _ROUNDS}
            found = run_part(part, request, Path(scratch), settings)
        speed = {name: value for name, value in found.result.items() if name != "peak_bytes"}
        report["rows_per_second"] = speed | {"rows": rows, "peak_gib": found.peak_gib}
        write_json(folder / "files.json", report)
    return report


def _judged(case: FileCase, folder: Path) -> CaseVerdict:
    with tempfile.TemporaryDirectory(dir=folder, prefix="files-") as scratch:
        return judge(case, Path(scratch))


def _fuzz(settings: Settings, folder: Path, inputs: int, say: Say) -> dict[str, Any]:
    """Run the fuzzer in processes of their own, one per core; keep the inputs of faults."""
    kept = folder / "files-faults"
    shutil.rmtree(kept, ignore_errors=True)
    parts = [min(_INPUTS, inputs - begin) for begin in range(0, inputs, _INPUTS)]
    counts: Counter[str] = Counter(dict.fromkeys(("inputs", "refused", *_FAULTS), 0))
    faults: list[str] = []
    slowest = 0.0

    def run(seed: int) -> dict[str, Any]:
        scratch = kept / str(seed)
        scratch.mkdir(parents=True)
        request = {"seed": seed, "inputs": parts[seed], "folder": str(scratch)}
        try:
            return run_part("recsys_assets.bench.files.fuzz", request, scratch, settings).result
        except BenchFailed as error:  # the process died: its last input is in the folder
            return {"crashes": 1, "faults": [f"{scratch}: {error}"], "slowest": 0.0}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, found in enumerate(pool.map(run, range(len(parts))), 1):
            counts.update({name: found.get(name, 0) for name in counts})
            faults += found["faults"]
            slowest = max(slowest, found["slowest"])
            said = ", ".join(f"{counts[name]:,} {name}" for name in counts)
            say(f"fuzz: {done} of {len(parts)} parts: {said}")
    if not any(counts[name] for name in _FAULTS):
        shutil.rmtree(kept, ignore_errors=True)
    return {**counts, "slowest_seconds": round(slowest, 2), "faults": faults}


def table_rows(report: dict[str, Any]) -> Sequence[tuple[str, str, str]]:
    """Return the printed table: case, form, and how it ended."""
    forms = {case.name: case.form for case in CASES}
    return [
        (name, forms[name], ended if ended != "wrong" else f"wrong: {report['why'][name]}")
        for name, ended in report["files"].items()
    ]


def failed(report: dict[str, Any]) -> bool:
    """Return whether a case is wrong or the fuzzer found a fault."""
    fuzz = report.get("fuzz", {})
    return bool(report["counts"]["wrong"] or any(fuzz.get(name) for name in _FAULTS))
