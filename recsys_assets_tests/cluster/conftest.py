"""One cluster for the folder, and a line per scenario. Only `make cluster-test` collects it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from recsys_assets_tests.cluster import outside
from recsys_assets_tests.cluster.scripted_clusters import scripted as scripted
from recsys_assets_tests.cluster.shop import DATABASE_PASSWORD, TAG, Home, Shop, release_home
from tools.cluster import binaries, lifecycle
from tools.cluster.images.build import Built, build
from tools.cluster.images.layers import kept, key_of
from tools.cluster.kubernetes_api import load
from tools.cluster.layout import Cluster, Node
from tools.cluster.obstacles import obstacles

FOLDER = Path(__file__).parent
NAME = "recsys-test"
BEGIN = time.monotonic()
LINES: list[str] = []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect the folder only where the command line names it."""
    named = [Path(str(one).split("::")[0]).absolute() for one in config.invocation_params.args]
    return None if any(one.is_relative_to(FOLDER) for one in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(3600))


def say(line: str) -> None:
    """Print a line past pytest's capture, and keep it for the summary."""
    LINES.append(line)
    print(line, flush=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each scenario: its name, whether it held, its seconds."""
    if report.when == "call" or report.failed:
        name = report.nodeid.split("::")[-1].removeprefix("test_").replace("_", " ")
        held = "held" if report.passed else "skipped" if report.skipped else "NOT HELD"
        LINES.append(f"{held:8}  {report.duration:6.1f} s  {name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines of the steps and of the scenarios."""
    terminalreporter.section("cluster")
    for line in LINES:
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"total {time.monotonic() - BEGIN:.0f} s")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a cluster of the tests' own."""
    if reasons := obstacles():
        pytest.skip("; ".join(reasons))
    cold = bool(binaries.missing())
    say(f"cold build {binaries.build(say):.0f} s" if cold else "programs: from the cache")
    lifecycle.down(NAME, lambda line: None)
    begin = time.monotonic()
    running = lifecycle.up(NAME, say)
    say(f"warm start {time.monotonic() - begin:.1f} s")
    try:
        yield running
    finally:
        begin = time.monotonic()
        lifecycle.down(NAME, lambda line: None)
        say(f"down {time.monotonic() - begin:.1f} s")


@pytest.fixture(scope="session")
def volumes() -> Iterator[Path]:
    """Return the folder of the shop's volumes, with the home of a release in the shared one."""
    folder = Path(tempfile.mkdtemp(prefix="recsys-cluster-volumes-", dir="/var/tmp"))
    begin = time.monotonic()
    home = release_home(say)
    for name in ("recsys-shared", "recsys-models"):
        (folder / "volumes" / name).mkdir(parents=True)
    shutil.copytree(home, folder / "volumes/recsys-shared/home", symlinks=True)
    say(f"release of the tiny shop {time.monotonic() - begin:.1f} s")
    folder.chmod(0o755)
    yield folder / "volumes"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3(cluster: Cluster) -> Iterator[outside.S3]:
    """Return the bucket."""
    server = outside.S3(cluster)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def beside(cluster: Cluster, volumes: Path, s3: outside.S3) -> Iterator[Home]:
    """Start Valkey with the release's features behind TLS, and put the registry on S3."""
    home = Home(volumes / "recsys-shared/home")
    home.start_valkey()
    proxy = outside.TlsProxy(cluster, home.port)
    s3.put("feast/registry.db", home.folder / "feast/registry.db")
    yield home
    proxy.stop()
    home.recsys("down")


def loaded(cluster: Cluster, image: Built, nodes: Sequence[Node]) -> Built:
    """Load an image into nodes of the cluster."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        file = image.write(Path(folder, "image.tar"), TAG)
        load(cluster, file, nodes)
    say(f"image {image.name}: loaded {time.monotonic() - begin:.1f} s")
    return image


@pytest.fixture(scope="session")
def images(cluster: Cluster, s3: outside.S3) -> dict[str, Built]:
    """Build and load the images that serve.

    On top of each lies what EKS brings: the identity's variables, and an authority that Valkey's
    certificate is of.
    """
    built = {}
    for name in ("serving", "platform", "gateway"):
        image = build(name, say)
        key = key_of(image.layers[-1].key, (cluster.pki / "ca.crt").read_text())
        trusted = kept(key, lambda tree: outside.trust(cluster, tree))
        image.config.environment.update(outside.environment(s3))
        built[name] = loaded(
            cluster, Built(name, (*image.layers, trusted), image.config), cluster.nodes[:1]
        )
        shutil.rmtree(trusted.folder, ignore_errors=True)
    return built


@pytest.fixture(scope="session")
def training_image(cluster: Cluster) -> Built:
    """Build the image of the training pods and load it into both nodes; nothing is added to it."""
    return loaded(cluster, build("training", say), cluster.nodes)


@pytest.fixture(scope="session")
def shop(volumes: Path, cluster: Cluster, beside: Home, images: dict[str, Built]) -> Shop:
    """Return the shop, of which nothing is installed yet."""
    return Shop(cluster, volumes, TAG)


@pytest.fixture(scope="session")
def database(cluster: Cluster) -> Iterator[outside.Postgres]:
    """Start Dagster's database."""
    server = outside.Postgres(cluster, DATABASE_PASSWORD)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def serving(shop: Shop) -> Shop:
    """Return the shop with a release that is served; a walk before may have done that."""
    if not shop.ready("gateway"):
        shop.make_namespace()
        shop.make_volumes()
        shop.make_definitions()
        for chart in ("recsys-base", "recsys-triton"):
            shop.install(chart)
        shop.install("recsys-gateway", "--wait=false")
        shop.promote()
    return shop
