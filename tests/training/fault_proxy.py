"""A reverse proxy in front of one of the lab's planes, that counts calls and loses answers on demand."""

# ruff: noqa: S310 - every URL is the lab's own, on loopback

from __future__ import annotations

import http.client
import re
import socket
import threading
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from infra.outputs import StackOutputs


@dataclass
class Fault:
    """What happens to the next calls that match: an answer of its own, or an answer lost on the way back."""

    pattern: str  # of "METHOD path x-amz-target"
    times: int = 1
    status: int | None = None  # None: the request is taken, its answer lost
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class FaultProxy:
    """A reverse proxy in front of one plane: records every call, and does what the faults say."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.calls: list[str] = []
        self.bodies: list[tuple[str, bytes]] = []
        self.faults: list[Fault] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = f"{self.command} {self.path} {self.headers.get('X-Amz-Target', '')}".strip()
                if not self.path.startswith("/_lab"):
                    owner.calls.append(call)
                    owner.bodies.append((call, body))
                fault = owner.take(call)
                if fault is not None and fault.status is not None:
                    self.answer(fault.status, list(fault.headers.items()), fault.body)
                    return
                upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if fault is not None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.answer(answer.status, answer.getheaders(), content)

            def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                has_length = False
                for name, value in headers:
                    if name.lower() in ("transfer-encoding", "connection"):
                        continue
                    has_length |= name.lower() == "content-length"
                    self.send_header(name, value)
                if not has_length:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, call: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, call):
                fault.times -= 1
                return fault
        return None

    def forget(self) -> None:
        self.calls.clear()
        self.bodies.clear()
        self.faults.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class LabCloud:
    """One cloud of the lab, as the contract suite drives it."""

    name: str
    outputs: StackOutputs
    proxy: FaultProxy
    lab_url: str

    def interrupt(self, job: str) -> None:
        request = urllib.request.Request(f"{self.lab_url}/_lab/interrupt/{job}", method="POST")
        urllib.request.urlopen(request, timeout=10).close()
