"""EC2 networking: moto's, kept on disk. Runs as ``python -m lab.aws.ec2 --port N --home DIR``.

moto keeps everything in memory. Here its state is on disk before the answer to a call that changed
it is sent, so that a restart, or a kill, loses no VPC that the stack knows of.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from lab.home import ACCOUNT_ID

_READS = ("Describe", "Get", "Search", "List")


class Ec2:
    """A WSGI application: moto's EC2, with its state in one file."""

    def __init__(self, file: Path) -> None:
        from moto.ec2.models import ec2_backends
        from moto.server import create_backend_app

        self._file = file
        self._lock = threading.Lock()  # moto's models know no threads
        self._backends = ec2_backends[ACCOUNT_ID]
        self._moto = create_backend_app("ec2")
        if file.exists():
            # our own file, below the lab's home
            self._backends.update(pickle.loads(file.read_bytes()))  # noqa: S301

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request; a change is saved before its answer goes out."""
        if environ["PATH_INFO"] == "/_lab/health":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b'{"status": "ok"}']
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = BytesIO(body)
        action = "".join(parse_qs(body.decode("utf-8", "replace")).get("Action", []))
        with self._lock:
            answer = list(self._moto(environ, start_response))
            if not action.startswith(_READS):
                self._save()
        return answer

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_bytes(pickle.dumps(dict(self._backends)))
        temporary.replace(self._file)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1", arguments.port, Ec2(arguments.home / "ec2.pickle"), threaded=True
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
