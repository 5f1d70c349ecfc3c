"""Start and stop the local parts of the platform.

The parts are Valkey, Triton, gateway, event consumer, and Dagster's code server, webserver and
daemon. ``up`` starts the parts that do not run, in parallel where they do not need each other.
``down`` ends every process of every part. ``status`` describes each. Records are in ``<home>/run``,
logs in ``<home>/logs``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from recsys_assets.operations import dagster_home, processes
from recsys_assets.operations.local_parts import Service, local_services
from recsys_assets.operations.processes import ProcessError
from recsys_assets.settings import Settings

Progress = Callable[[str], None]
LAST_TO_END = ("triton", "valkey")


class ServiceError(RuntimeError):
    """A part could not be started or ended; the message names the remedy."""


@dataclass(frozen=True)
class ServiceStatus:
    """The state of one part, as ``recsys status`` shows it."""

    name: str
    running: bool
    address: str
    detail: str


def up(
    settings: Settings, only: Collection[str] | None = None, progress: Progress = print
) -> list[ServiceStatus]:
    """Start the parts that do not run and wait until each is ready.

    Args:
        settings: of the home.
        only: names of parts, which are started without the parts that they need; default: all.
        progress: receives one line per part.

    Raises:
        ServiceError: a port is in use by another process, or a part did not become ready (with the
            end of its log).
    """
    services = _chosen(settings, only)
    starting = [s for s in services if _process(settings, s.name) is None]
    try:
        for service in starting:
            # ends descendants of a process that died
            processes.stop_recorded(settings.home / "run", service.name)
            service.after_stop()
            processes.require_free(service.name, service.ports)
    except ProcessError as error:
        raise ServiceError(str(error)) from error
    names, failures = {s.name for s in starting}, []
    if "triton" in names:
        _mend_repository(settings, progress)
    futures: dict[str, Future[None]] = {}

    def start(service: Service) -> None:
        for need in service.needs:
            if need in names and futures[need].exception() is not None:
                raise ServiceError(f"{service.name} was not started, because {need} failed")
        _start(settings, service, progress)

    with ThreadPoolExecutor(max(1, len(starting))) as pool:
        for service in starting:  # in the order of their needs
            futures[service.name] = pool.submit(start, service)
    for service in services:
        if service.name not in names:
            progress(f"{service.name} runs already at {service.address}")
        elif (raised := futures[service.name].exception()) is not None:
            if not isinstance(raised, (ServiceError, ProcessError)):
                raise raised
            failures.append(str(raised))
    if failures:
        raise ServiceError("\n".join(failures))
    return status(settings, only)


def _start(settings: Settings, service: Service, progress: Progress) -> None:
    """Start a part and wait until it is ready; end it again if it is late."""
    record = service.spawn()
    try:
        seconds = processes.wait_ready(record, service.ready, service.limit)
    except ProcessError:
        processes.stop_recorded(settings.home / "run", service.name, service.grace)
        service.after_stop()
        raise
    progress(f"{service.name} is ready at {service.address} ({seconds:.1f} s)")


def require_free_ports(settings: Settings) -> None:
    """Verify that no other process holds a port of a part that does not run yet.

    For commands that start parts after minutes of other work.

    Raises:
        ServiceError: a port is in use.
    """
    for service in local_services(settings):
        if _process(settings, service.name) is None:
            # ends descendants of a process that died
            processes.stop_recorded(settings.home / "run", service.name)
            try:
                processes.require_free(service.name, service.ports)
            except ProcessError as error:
                raise ServiceError(str(error)) from error


def down(
    settings: Settings, only: Collection[str] | None = None, progress: Progress = lambda line: None
) -> None:
    """End the parts and every process that they started.

    A part that does not run, or whose pid is reused, is skipped.

    Raises:
        ServiceError: a process survived SIGKILL.
    """
    services = _chosen(settings, only)

    def end(service: Service) -> None:
        if processes.stop_recorded(settings.home / "run", service.name, service.grace):
            progress(f"{service.name} has ended")
        service.after_stop()

    failures = []
    # the parts that others need end last, so that no part logs errors while it ends
    first = [s.name for s in services if s.name not in LAST_TO_END]
    for layer in (first, *([name] for name in LAST_TO_END)):
        with ThreadPoolExecutor(len(services)) as pool:
            for future in [
                pool.submit(end, service) for service in services if service.name in layer
            ]:
                if isinstance(error := future.exception(), ProcessError):
                    failures.append(str(error))
                elif error is not None:
                    raise error
    if failures:
        raise ServiceError("\n".join(failures))


def status(settings: Settings, only: Collection[str] | None = None) -> list[ServiceStatus]:
    """Return the state of each part: running or not, address and detail.

    The detail is what the part serves, or what is wrong.
    """
    found = []
    for service in _chosen(settings, only):
        if _process(settings, service.name) is not None:
            detail = service.detail() if service.ready() else "runs, but does not answer"
            found.append(ServiceStatus(service.name, True, service.address, detail))
        else:
            held = [
                f"port {p.number} is held by {processes.port_holder(p.number) or 'another process'}"
                for p in service.ports
                if processes.answers(p.host, p.number)
            ]
            found.append(ServiceStatus(service.name, False, service.address, "; ".join(held)))
    return found


def prepare_dagster_home(settings: Settings) -> Path:
    """Write Dagster's files into the home; return the value for DAGSTER_HOME."""
    return dagster_home.write(settings)


def _process(settings: Settings, name: str) -> psutil.Process | None:
    record = processes.read_record(settings.home / "run", name)
    return record.process() if record is not None else None


def _mend_repository(settings: Settings, progress: Progress) -> None:
    """Prepare the model repository before Triton reads it.

    An interrupted promotion is finished or undone, and the published models get the present code.
    """
    from recsys_assets.serving.promotion import promotion
    from recsys_assets.serving.promotion.retirement import retire_older_form
    from recsys_assets.serving.triton.repository import ModelRepository

    try:
        promotion.recover(settings, log=progress)
    except promotion.PromotionError as error:
        raise ServiceError(f"triton was not started: {error}") from error
    retire_older_form(settings, progress)
    for model in ModelRepository(settings.model_repository).refresh_code():
        progress(
            f"the code of {model} has changed; its published versions now have the present code"
        )


def _chosen(settings: Settings, only: Collection[str] | None) -> list[Service]:
    services = local_services(settings)
    unknown = set(only or ()) - {s.name for s in services}
    if unknown:
        raise ServiceError(
            f"no local part is called {', '.join(sorted(unknown))}; there are "
            f"{', '.join(s.name for s in services)}"
        )
    return [s for s in services if only is None or s.name in only]
