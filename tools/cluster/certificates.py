"""Make the certificates of a cluster and the files by which its components reach the API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tools.cluster.commands import run
from tools.cluster.layout import Cluster

DAYS = "365"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make(cluster: Cluster) -> None:
    """Write two authorities, the servers' and clients' certificates and the kubeconfig files."""
    cluster.pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    _authority(cluster.pki, "ca")
    _authority(cluster.pki, "front-proxy-ca")
    service = "kubernetes.default.svc"
    names = ("localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local")
    addresses = ("127.0.0.1", cluster.control, cluster.first_service)
    signed(cluster.pki, "apiserver", "/CN=kube-apiserver", addresses, names)
    signed(cluster.pki, "front-proxy-client", "/CN=front-proxy-client", authority="front-proxy-ca")
    signed(cluster.pki, "apiserver-kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client")
    users = {
        "admin": "/O=system:masters/CN=admin",
        "controller-manager": "/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
        "proxy": "/CN=system:kube-proxy",
    }
    for node in cluster.nodes:
        signed(
            cluster.pki,
            f"kubelet-server-{node.name}",
            f"/CN={node.name}",
            (node.address,),
            (node.name,),
        )
        users[f"kubelet-{node.name}"] = f"/O=system:nodes/CN=system:node:{node.name}"
    for user, subject in users.items():
        signed(cluster.pki, user, subject)
        _kubeconfig(cluster, user)
    run("openssl", "genrsa", "-out", cluster.pki / "sa.key", "2048")


def _authority(folder: Path, name: str) -> None:
    extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    added = [word for extension in extensions for word in ("-addext", extension)]
    out = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    run("openssl", "req", "-x509", *EC, "-days", DAYS, "-subj", f"/CN={name}", *out, *added)


def signed(
    folder: Path,
    name: str,
    subject: str,
    addresses: Sequence[str] = (),
    names: Sequence[str] = (),
    authority: str = "ca",
) -> None:
    """Make a key and its certificate: a server's with addresses or names, else a client's."""
    alternatives = ",".join([*(f"IP:{a}" for a in addresses), *(f"DNS:{n}" for n in names)])
    usage = "serverAuth" if alternatives else "clientAuth"
    lines = ["keyUsage=digitalSignature", f"extendedKeyUsage={usage}"]
    if alternatives:
        lines.append(f"subjectAltName={alternatives}")
    key, extensions = folder / f"{name}.key", folder / f"{name}.ext"
    extensions.write_text("\n".join(lines) + "\n")
    request = run("openssl", "req", *EC, "-subj", subject, "-keyout", key)
    signer = ("-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key")
    run(
        "openssl",
        "x509",
        "-req",
        *signer,
        "-CAcreateserial",
        "-days",
        DAYS,
        "-extfile",
        extensions,
        "-out",
        folder / f"{name}.crt",
        given=request,
    )
    extensions.unlink()


def _kubeconfig(cluster: Cluster, user: str) -> None:
    """Write a kubeconfig file, in JSON, which every client reads as YAML."""
    server = {"server": cluster.url, "certificate-authority": str(cluster.pki / "ca.crt")}
    keys = {
        "client-certificate": str(cluster.pki / f"{user}.crt"),
        "client-key": str(cluster.pki / f"{user}.key"),
    }
    name = cluster.name
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": name, "user": keys}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    path = cluster.kubeconfig(user)
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
