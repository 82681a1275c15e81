"""A real S3 server on the loopback interface, with a log of its requests and faults on demand."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET, TOKEN = "AKIDTHEACCESSKEY", "TheSecret/That+NobodyMaySee", "TheSessionTokenOfTheTest"

Fault = Callable[[str, str], tuple[int, str] | None]


class Server:
    """moto's server behind a door that counts, and closes where a test wants it closed."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.requests: list[tuple[str, str, str]] = []
        self.fault: Fault | None = None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.client = boto3.client(
            "s3", endpoint_url=f"http://{self.host}", region_name="us-east-1",
            aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        )  # fmt: skip

    def stop(self) -> None:
        self._server.shutdown()

    def empty(self) -> None:
        """Forget the buckets of earlier servers: moto keeps them for the whole process."""
        reset = Request(f"http://{self.host}/moto-api/reset", method="POST")
        with urlopen(reset) as answer:
            assert answer.status == 200

    def environment(self) -> dict[str, str]:
        """Return what a user has set who works with this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        path = unquote(environ["RAW_URI"].split("?")[0]).lstrip("/")
        self.requests.append((method, path, environ["QUERY_STRING"]))
        found = self.fault(method, path) if self.fault else None
        if found is None:
            answer: Iterable[bytes] = self._app(environ, start)
            return answer
        status, code = found
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        body = b"" if method == "HEAD" else body
        start(f"{status} {code}", [("Content-Length", str(len(body)))])
        return [body]


class Bucket:
    """One bucket of the server."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        server.client.create_bucket(Bucket=name)

    def put(self, key: str, data: bytes) -> None:
        self.server.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        body: bytes = self.server.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def delete(self, key: str) -> None:
        self.server.client.delete_object(Bucket=self.name, Key=key)

    def names(self, prefix: str = "") -> list[str]:
        pages = self.server.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in found for entry in page.get("Contents", ())]

    def fill(self, folder: Path, prefix: str) -> None:
        """Copy a folder of the disk below a prefix."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder)}", file.read_bytes())


@contextlib.contextmanager
def s3_server() -> Iterator[Server]:
    """Start an empty server, and set the environment of this process for it."""
    server = Server()
    server.empty()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server
    server.stop()
