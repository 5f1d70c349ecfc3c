"""Let the sensors watch a simulated shop day by day: the body of ``recsys bench loop``'s ``drift``.

It is a process of its own, because calendar and time zone of the definitions come from the
environment. Ingest, monitor and sensors are the real ones, with the clock moved. The models are not
trained: scores are the click probabilities of a truth that knows the visitors' tastes up to the day
of its training, and draws the intent of each day at random. A run that the sensor asks for puts
such a model of a later day into service.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed, main
from recsys_assets.bench.loop.moved_shop import MovedShop, move_clock
from recsys_assets.files import write_json
from recsys_assets.lib.drift.alarms import read_alarm
from recsys_assets.lib.landing.served_answers import folder_of
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER, SIMULATED_FILE
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import champion_path, read_champion
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.lib.simulator import answers, exposures, shop
from recsys_assets.lib.simulator.truth import Truth
from recsys_assets.release_files import RELEASE_FILE, SAMPLING, model_file
from recsys_assets.settings import get_settings

SCALE = shop.Scale("watched", 2_000, 300, 4_000)
#: Days that the first release learns, from the shop's own log; it serves from the next day on.
TRAINED = 3


class WatchedShop(MovedShop):
    """Holds a home whose answers are simulated, and the models that gave them.

    Args:
        instance: records the runs.
        shift: day from which every visitor has other interests; None: nothing changes.
        number: answers per day.
        seed: of the simulator.
    """

    def __init__(
        self, instance: dg.DagsterInstance, shift: str | None, number: int, seed: int
    ) -> None:
        super().__init__(get_settings(), instance)
        self.number, self.store = number, ArtifactStore(self.settings.artifacts)
        self.landing = Path(self.settings.landing)
        self.first = partitions.calendar_start(self.settings)
        shop.simulate(self.landing, SCALE, [self.day(0)], seed)
        for file in self.landing.glob(f"{INTERACTIONS_FOLDER}/*/*"):
            file.unlink()  # this log has interests that shift on days of their own
        steady = answers.steady(shop.load_truth(self.landing))
        self.world: Truth = steady if shift is None else answers.shifted(steady, shift)
        self.models: dict[int, Truth] = {}
        self.asked: list[dict[str, str]] = []
        self.at(self.morning(0))
        self.materialize("raw/users", "raw/items")

    def day(self, number: int) -> str:
        """Return a day of the calendar, from 0."""
        return (self.first + timedelta(days=number)).isoformat()

    def morning(self, number: int) -> datetime:
        """Return six o'clock of a day."""
        of = date.fromisoformat(self.day(number))
        return datetime(of.year, of.month, of.day, 6, tzinfo=self.zone)

    def at(self, moment: datetime) -> None:
        """Move the clock."""
        self.now = moment
        move_clock(moment)

    def live(self, days: int) -> None:
        """Go through the days: land what happened, then look by the sensors on the morning after.

        Raises:
            BenchFailed: a run failed.
        """
        for number in range(days):
            self.land(self.day(number))
            self.at(self.morning(number + 1))
            self.look("new_day")
            if number == TRAINED - 1:
                self.serve("full", self.day(number))
            elif number >= TRAINED:
                self.look("drift")  # asks for the monitor's run, and then looks at what it found
                self.look("drift")

    def land(self, day: str) -> None:
        """Write what happens on a day into the landing zone."""
        clicks = self.landing / INTERACTIONS_FOLDER / day / "events-1.parquet"
        champion = read_champion(self.settings)
        if champion is None:
            log = exposures.simulate_day(self.world, SCALE.exposures_per_day, day)
            shop.write_parquet(log, clicks.with_name(SIMULATED_FILE))
            return
        given, events = answers.simulate_answers(
            self.world, self.models[champion.release], day, self.number, champion.release
        )
        shop.write_parquet(given, self.landing / folder_of(day) / "served-1.parquet")
        shop.write_parquet(events, clicks)

    def look(self, name: str) -> None:
        """Evaluate a sensor, and run what it asks for."""
        for request in self.looked(name):
            job = str(request.job_name)
            if job in ("fine_tune", "full_training"):
                day = str(request.partition_key)
                self.asked.append({"job": job, "day": day})
                self.serve("full" if job == "full_training" else "fine_tune", day)
            else:
                self.run(job, request)

    def run(self, name: str, request: dg.RunRequest) -> None:
        """Run a job in this process.

        Raises:
            BenchFailed: it failed.
        """
        result = self.ran(name, request)
        if not result.success:
            failed = [one for one in result.all_events if one.is_step_failure]
            raise BenchFailed(f"{request.run_key} failed: {failed[0].event_specific_data}")

    def materialize(self, *kinds: str) -> None:
        """Materialise assets without partitions."""
        keys = [dg.AssetKey.from_user_string(kind) for kind in kinds]
        done = dg.materialize(
            [self.definitions.resolve_assets_def(key) for key in keys],
            instance=self.instance,
            raise_on_error=False,
        )
        if not done.success:
            raise BenchFailed(f"{', '.join(kinds)} could not be made")

    # --- releases
    def serve(self, kind: str, day: str) -> None:
        """Put a model of a day into service."""
        number = len(self.store.partitions(releases.RELEASE)) + 1
        before = read_champion(self.settings)
        generation = number if kind == "full" else before.generation if before else number
        inputs = {"workflows": self.workflows(day)} if kind == "full" else {}
        with self.store.stage(releases.RELEASE, f"{number:06d}", inputs=inputs) as staged:
            self.write_release(staged.path, kind, day, number, generation)
            staged.publish({})
        self.models[number] = answers.taste_model(self.world, day)
        event = {"release": number, "at": int(self.now.timestamp()), "event": "promote"}
        history = [*(before.history if before else []), {**event, "forced": False}]
        path = champion_path(self.settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        champion = {"release": number, "generation": generation, "digest": "", "versions": {}}
        at = {"promoted_at": event["at"], "previous": [], "history": history}
        write_json(path, {**champion, **at})

    def write_release(
        self, folder: Path, kind: str, day: str, number: int, generation: int
    ) -> None:
        """Write what sensors and monitor read of a release: it orders by probabilities."""
        sampling = folder / model_file("softmax_sampling", SAMPLING)
        sampling.parent.mkdir(parents=True)
        write_json(sampling, {"retrieval_weight": 0})
        content = {"form": releases.CODE_VERSION, "release": number, "kind": kind, "day": day}
        content |= {"generation": generation, "versions": {}, "metrics": {}, "known_user": None}
        content |= {"gate": {"passed": True, "checks": []}, "rung": OLDER}
        content |= {"look_back_days": self.settings.look_back_days}
        write_json(folder / RELEASE_FILE, content)

    def workflows(self, day: str) -> Artifact:
        """Return an artifact that records the training days of a day."""
        days = partitions.recent_days(self.settings, day, TRAINED)
        inputs = {"train": self.store.require("features/interactions", days)}
        with self.store.stage("features/workflows", day, inputs=inputs) as staged:
            write_json(staged.path / "days.json", days)
            return staged.publish({})


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Watch a shop for the days of a request, and return what was found.

    Args:
        request: ``days`` on which a release answers, ``shift`` (number of such a day, from 1, or
            None), ``answers`` per day, ``seed``.

    Returns:
        ``judged`` days; ``alarms``: day of service → what drifted; ``asked``: runs that were asked
        for.
    """
    with dg.DagsterInstance.ephemeral() as instance:
        start, shift = partitions.calendar_start(get_settings()), request["shift"]
        moved = (
            None
            if shift is None
            else (start + timedelta(days=TRAINED + int(shift) - 1)).isoformat()
        )
        watched = WatchedShop(instance, moved, request["answers"], request["seed"])
        watched.live(TRAINED + request["days"])
        days = [watched.day(TRAINED + number) for number in range(request["days"])]
        found = [read_alarm(watched.store, day, logged=True) for day in days]
    return {
        "judged": sum(one.judged for one in found),
        "alarms": {
            str(number): list(one.drifted) for number, one in enumerate(found, 1) if one.drifted
        },
        "asked": [{**one, "day": str(days.index(one["day"]) + 1)} for one in watched.asked],
    }


if __name__ == "__main__":
    main(body)
