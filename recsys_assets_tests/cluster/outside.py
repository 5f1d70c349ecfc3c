"""Run what lies beside the cluster on AWS: ElastiCache with TLS, S3, and RDS for Postgres.

All listen at the host's address in the cluster's network, on the ports that the network policies
open. Valkey itself listens on loopback.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from tools.cluster import certificates
from tools.cluster.commands import ClusterError, run, wait_until
from tools.cluster.layout import Cluster

VALKEY_PORT = 6379
S3_PORT = 443
BUCKET = "recsys-of-the-test"
REGION = "eu-central-1"
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


class TlsProxy:
    """Accepts TLS on one address and passes plain bytes to another.

    The Valkey of the environment is built without TLS.
    """

    def __init__(self, cluster: Cluster, target_port: int) -> None:
        certificates.signed(cluster.pki, "valkey", "/CN=valkey", addresses=(cluster.host,))
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(cluster.pki / "valkey.crt", cluster.pki / "valkey.key")
        self._host, self._target = cluster.host, target_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        wait_until(self._ready.is_set, "the TLS proxy", 30.0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            asyncio.start_server(self._accept, self._host, VALKEY_PORT, ssl=self._context)
        )
        self._ready.set()
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, other_writer), _pass(other_reader, writer))

    def stop(self) -> None:
        """Stop to accept and to pass."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(30)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


class S3:
    """A bucket of moto's server."""

    def __init__(self, cluster: Cluster) -> None:
        self._server = ThreadedMotoServer(ip_address=cluster.host, port=S3_PORT, verbose=False)
        self._server.start()
        self.url = f"http://{cluster.host}:{S3_PORT}"
        self._client = boto3.client("s3", region_name=REGION, endpoint_url=self.url, **KEYS)
        self._client.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )

    def put(self, key: str, file: Path) -> None:
        """Write an object."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()


def environment(s3: S3) -> dict[str, str]:
    """Return what a pod gets on EKS by its identity, and that S3 is elsewhere."""
    return {
        "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": s3.url,
        "FEAST_S3_ENDPOINT_URL": s3.url,
    }


def trust(cluster: Cluster, tree: Path) -> None:
    """Write the cluster's authority into a tree as one that the system trusts."""
    certificate = cluster.pki / "ca.crt"
    name = run("openssl", "x509", "-hash", "-noout", "-in", certificate).strip()
    folder = tree / "etc/ssl/certs"
    folder.mkdir(parents=True)
    (folder / f"{name}.0").write_bytes(certificate.read_bytes())


class Postgres:
    """Dagster's database, as RDS has it: TLS only, a user with a password."""

    def __init__(self, cluster: Cluster, password: str) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise ClusterError(
                "Dagster needs Postgres: apt-get install --no-install-recommends postgresql"
            )
        self._programs = found[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="recsys-cluster-postgres-", dir="/var/tmp"))
        certificates.signed(cluster.pki, "postgres", "/CN=postgres", addresses=(cluster.host,))
        for end in ("crt", "key"):
            shutil.copy(cluster.pki / f"postgres.{end}", self.folder / f"server.{end}")
        (self.folder / "password").write_text(password)
        run("chown", "-R", "postgres:", self.folder)
        (self.folder / "server.key").chmod(0o600)
        self._as_postgres(
            "initdb",
            f"--pgdata={self.folder}/data",
            "--username=dagster",
            f"--pwfile={self.folder}/password",
            "--auth=scram-sha-256",
            "--no-sync",
        )
        (self.folder / "data/pg_hba.conf").write_text(
            f"hostssl all dagster {cluster.network} scram-sha-256\n"
            f"hostssl all dagster {cluster.pods} scram-sha-256\n"
            "local all dagster scram-sha-256\n"
        )
        options = {
            "listen_addresses": cluster.host,
            "unix_socket_directories": self.folder,
            "ssl": "on",
            "ssl_cert_file": self.folder / "server.crt",
            "ssl_key_file": self.folder / "server.key",
            "fsync": "off",
        }
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [*self._user(), str(self._programs / "postgres"), "-D", f"{self.folder}/data", *given],
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        create = ("createdb", f"--host={self.folder}", "--username=dagster", "dagster")
        environment = {**os.environ, "PGPASSWORD": password}

        def created() -> bool:
            done = subprocess.run(
                [*self._user(), str(self._programs / create[0]), *create[1:]],
                env=environment,
                capture_output=True,
                check=False,
            )
            return done.returncode == 0

        wait_until(created, "a database of Postgres", 60.0, every=0.5)

    @staticmethod
    def _user() -> list[str]:
        # the kernel forgets the signal of a parent's end where the user changes, so setpriv sets it
        end = "--pdeathsig=KILL"
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", end]

    def _as_postgres(self, program: str, *arguments: str) -> None:
        run(*self._user(), self._programs / program, *arguments)

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
