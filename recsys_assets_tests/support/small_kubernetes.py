"""The five calls of the Kubernetes API that a Pipes run makes, over real HTTP, with a "kubelet"
that runs the pod's command as a process of this machine. Everything above HTTP (Dagster, its
client, kubernetes' client) is the real part.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

from recsys_assets_tests.support.json_server import kubeconfig


class SmallKubernetes:
    """Serves ``/api/v1/namespaces/<namespace>/pods``; ``pods`` keeps every pod that was ever
    posted.
    """

    def __init__(self, python: Path, cwd: Path):
        self.python, self.cwd = python, cwd
        self.pods: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self._finished: dict[str, subprocess.CompletedProcess] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> SmallKubernetes:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def write_kubeconfig(self, path: Path) -> None:
        address = f"http://127.0.0.1:{self._server.server_port}"
        path.write_text(yaml.safe_dump(kubeconfig(address)))

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        self.pods[name] = pod
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        command = [str(self.python) if part == "python" else part for part in container["command"]]
        self._finished[name] = subprocess.run(
            command,
            cwd=self.cwd,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return pod

    def selected(self, query: dict[str, list[str]]) -> list[str]:
        """Return the names of the pods that a list names, by name or by labels."""
        if "fieldSelector" in query:
            name = query["fieldSelector"][0].removeprefix("metadata.name=")
            return [name] if name in self.pods else []
        wanted = dict(pair.split("=") for pair in query["labelSelector"][0].split(","))
        return [
            name
            for name, pod in self.pods.items()
            if name not in self.deleted and wanted.items() <= pod["metadata"]["labels"].items()
        ]

    def status(self, name: str) -> dict[str, Any]:
        code = self._finished[name].returncode
        state = {
            "terminated": {
                "exitCode": code if code >= 0 else 128 - code,
                "reason": "OOMKilled" if code == -9 else "Completed" if code == 0 else "Error",
            }
        }
        container = self.pods[name]["spec"]["containers"][0]
        return {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "small",
                    "ready": False,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }

    def log(self, name: str, timestamps: bool) -> str:
        lines = self._finished[name].stdout.splitlines()
        stamp = "2026-01-01T00:00:{:02d}.{:06d}Z "
        return "".join(
            f"{stamp.format(i // 1000, i % 1000) if timestamps else ''}{line}\n"
            for i, line in enumerate(lines)
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kubernetes = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def _answer(self, body: Any, kind: str = "application/json") -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                self._answer(
                    kubernetes.create(
                        json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                    )
                )

            def do_GET(self) -> None:
                url = urlparse(self.path)
                query, parts = parse_qs(url.query), url.path.strip("/").split("/")
                if parts[-1] == "log":
                    self._answer(kubernetes.log(parts[-2], "timestamps" in query), "text/plain")
                elif parts[-1] == "events":
                    self._answer({"items": []})
                else:
                    pods = [
                        {**kubernetes.pods[name], "status": kubernetes.status(name)}
                        for name in kubernetes.selected(query)
                    ]
                    self._answer({"apiVersion": "v1", "kind": "PodList", "items": pods})

            def do_DELETE(self) -> None:
                kubernetes.deleted.append(self.path.rsplit("/", 1)[-1])
                self._answer({})

        return Handler
