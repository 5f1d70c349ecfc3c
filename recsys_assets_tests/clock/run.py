"""Run tests at other moments, in other zones and languages, on one core: ``python -m
recsys_assets_tests.clock.run [PYTEST OPTION …]``.

Every process that the tests start has the same wall clock: it is moved by a preloaded library
(``clock.c``), which a C compiler makes here. Default: the tests that know time (``KNOW_TIME``), at
every one of ``MOMENTS``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TESTS = HERE.parent.name
#: Tests whose code reads the clock or a calendar, or which make days, hours and weekdays.
KNOW_TIME = [
    f"{TESTS}/{name}"
    for name in (
        "clock/test_clock.py",
        "test_artifacts.py",
        "test_ads_partitions.py",
        "test_partitions.py",
        "test_settings.py",
        "test_local_time.py",
        "lib/landing/test_local_days.py",
        "operations/test_full_graph.py",
        "serving/events/test_landing.py",
        "defs/automation/test_schedules.py",
        "defs/automation/test_sensors.py",
        "defs/evaluation/test_baselines.py",
        "defs/features/test_daily.py",
        "defs/evaluation/test_evaluation.py",
        # the others of its tests train for minutes, and read no other clock than these
        "defs/serving/test_release.py::test_an_honest_release_passes_with_its_verdict_in_the_manifest",
        "defs/serving/test_release.py::test_a_shifted_clock_is_named_with_the_query_and_both_lists",
        "lib/features/test_activity.py",
        "lib/quality/test_contracts.py",
        "lib/features/test_daily.py",
        "lib/features/test_point_in_time.py",
        "lib/fine_tune/test_fine_tuning.py",
        "lib/own_data/test_bring.py",
        "cli/test_ads.py",
        "defs/ads_ctr/test_due_tuning.py",
        "lib/ads_ctr/test_incremental.py",
        "cli/test_ingest.py",
        "lib/raw/test_raw_tables.py",
        "lib/feature_store/test_popularity.py",
        "lib/evaluation/test_queries.py",
        "lib/simulator/test_shop.py",
        "lib/feature_store/test_bloom.py",
        "lib/feature_store/test_seen_history.py",
        "lib/blend/test_seen_choice.py",
        "lib/feature_store/test_click_history.py",
        "serving/events/test_consumer.py",
        "serving/events/test_events.py",
        "serving/events/test_visitor_state.py",
        "lib/feature_store/test_store.py",
        "serving/gateway/test_writing.py",
        "serving/gateway/test_ads.py",
        "serving/events/test_ads_consumer.py",
        "lib/ads_ctr/test_feedback.py",
        "serving/stages/test_seen_items.py",
        "serving/stores/test_connections.py",
        "lib/features/test_transforms.py",
        "serving/events/test_visitor_state_reset.py",
    )
]


@dataclass(frozen=True)
class Moment:
    """Sets the start of a run: wall-clock time, time zone, language and number of cores of the
    machine.
    """

    name: str
    local: str | None  # ISO, in the zone; None: now
    zone: str
    language: str = "C.UTF-8"
    cores: int | None = None  # None: all of them

    @property
    def offset(self) -> int:
        """Seconds from now to the moment."""
        if self.local is None:
            return 0
        return round(
            datetime.fromisoformat(self.local).replace(tzinfo=ZoneInfo(self.zone)).timestamp()
            - time.time()
        )


MOMENTS = [
    Moment("a Saturday", "2026-12-05T11:00:00", "UTC"),
    Moment("29 February, at +14", "2028-02-29T09:30:00", "Pacific/Kiritimati"),
    Moment("the night of 31 December", "2026-12-31T23:59:30", "UTC", "de_DE.ISO-8859-1"),
    Moment("clocks go forward", "2027-03-28T01:59:30", "Europe/Berlin", "tr_TR.UTF-8"),
    Moment("clocks go back", "2027-10-31T02:59:30", "Europe/Berlin", "POSIX", cores=1),
    Moment("today, at -11", None, "Pacific/Pago_Pago", "fr_FR.UTF-8"),
]


def make_library(folder: Path) -> Path:
    """Compile clock.c; raises FileNotFoundError where there is no C compiler, CalledProcessError
    where it fails.
    """
    library = folder / "clock.so"
    compiler = os.environ.get("CC") or "cc"
    if not shutil.which(compiler):
        raise FileNotFoundError(
            f"no C compiler {compiler}; install one: apt-get install gcc libc6-dev"
        )
    subprocess.run(
        [
            compiler,
            "-O2",
            "-shared",
            "-fPIC",
            "-Wall",
            "-Werror",
            "-o",
            str(library),
            str(HERE / "clock.c"),
            "-ldl",
            "-lpthread",
        ],
        check=True,
    )
    return library


def make_languages(folder: Path) -> None:
    """Compile the locales that this machine lacks; one whose sources are not installed stays
    unknown, as on any small machine.
    """
    if shutil.which("localedef"):
        for name in sorted({moment.language for moment in MOMENTS} - {"C.UTF-8", "POSIX"}):
            language, _, encoding = name.partition(".")
            subprocess.run(
                ["localedef", "-i", language, "-f", encoding, str(folder / name)],
                capture_output=True,
            )


def run(moment: Moment, library: Path, languages: Path, options: list[str]) -> int:
    """Run pytest at a moment; its exit status."""
    command = [sys.executable, "-m", "pytest", "-q", *options]
    if moment.cores is None:
        command += ["-n", "2"]
    else:
        command = ["taskset", "--cpu-list", f"0-{moment.cores - 1}", *command]
    offset = moment.offset
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "CLOCK_OFFSET_SECONDS": str(offset),
        "TZ": moment.zone,
        "CLOCK_STARTED_AT": str(time.time() + offset),
        "LC_ALL": moment.language,
        "LOCPATH": str(languages),
    }
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def main() -> int:
    options = sys.argv[1:] or KNOW_TIME
    failed = []
    with tempfile.TemporaryDirectory(prefix="recsys-clock-") as folder:
        library, languages = make_library(Path(folder)), Path(folder)
        make_languages(languages)
        for moment in MOMENTS:
            started = time.monotonic()
            shown = datetime.fromtimestamp(time.time() + moment.offset, timezone.utc).astimezone(
                ZoneInfo(moment.zone)
            )
            print(
                f"== {moment.name}: {shown:%a %Y-%m-%d %H:%M:%S %z} {moment.zone}, "
                f"{moment.language}, "
                f"{moment.cores or 'all'} cores",
                flush=True,
            )
            passed = run(moment, library, languages, options) == 0
            failed += [] if passed else [moment.name]
            print(
                f"== {moment.name}: {'passed' if passed else 'failed'} in "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
    print(
        f"{len(MOMENTS) - len(failed)} moments passed, {len(failed)} "
        f"failed{': ' if failed else ''}{', '.join(failed)}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
