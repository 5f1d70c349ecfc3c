"""Run what lies beside the cluster on AWS: ElastiCache with TLS, and S3.

Both listen at the host's address in the cluster's network, on the ports that the network policies
open. The stores themselves listen on loopback.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from tools.cluster import certificates
from tools.cluster.commands import run, wait_until
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
        threading.Thread(target=self._serve, daemon=True).start()
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
        self._loop.call_soon_threadsafe(self._loop.stop)


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
