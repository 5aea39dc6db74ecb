"""The proxy: the clouds' names lead to the lab, every other name nowhere."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lab.proxy import CertificateAuthority, Proxy, plane_of


@pytest.mark.parametrize(
    ("host", "plane"),
    [
        ("management.azure.com", "azure"),
        ("LOGIN.microsoftonline.com", "azure"),
        ("account.blob.core.windows.net", "azure"),
        ("sts.us-east-1.amazonaws.com", "aws"),
        ("bucket.s3.eu-west-1.amazonaws.com", "aws"),
        ("sm-pysdk-t-us-east-1.s3.us-east-1.amazonaws.com", None),
        ("example.com", None),
        ("management.azure.com.example.com", None),
        ("notamazonaws.com", None),
        ("amazonaws.com", None),
    ],
)
def test_a_host_leads_to_its_plane_or_nowhere(host: str, plane: str | None) -> None:
    assert plane_of(host) == plane


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = f"{self.headers['Host']} {len(body)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def session(tmp_path: Path) -> Iterator[requests.Session]:
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    authority = CertificateAuthority(tmp_path / "ca")
    bundle = tmp_path / "bundle.pem"
    authority.write_bundle(bundle)
    address = ("127.0.0.1", upstream.server_address[1])
    proxy = Proxy({"azure": address, "aws": address}, authority)
    loop = asyncio.new_event_loop()
    started: list[asyncio.Server] = []

    async def start() -> None:
        started.append(await asyncio.start_server(proxy._handle, "127.0.0.1", 0))

    async def finish() -> None:
        started[0].close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # closed transports say so in the loop's next rounds

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with requests.Session() as client:
        client.trust_env = False
        port = started[0].sockets[0].getsockname()[1]
        client.proxies = {"https": f"http://127.0.0.1:{port}"}
        client.verify = str(bundle)
        yield client
    asyncio.run_coroutine_threadsafe(finish(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
    upstream.shutdown()
    upstream.server_close()


def test_a_cloud_name_reaches_the_plane_with_its_own_host_header(session: requests.Session) -> None:
    answer = session.post("https://management.azure.com/x", data=b"a" * 300_000, timeout=10)
    assert answer.text == "management.azure.com 300000"


def test_another_name_is_refused_and_told(session: requests.Session) -> None:
    with pytest.raises(requests.exceptions.ProxyError):
        session.post("https://example.com/x", data=b"", timeout=10)


def test_the_authority_is_kept_over_a_restart_and_its_key_is_private(tmp_path: Path) -> None:
    first = CertificateAuthority(tmp_path / "ca").certificate_path.read_bytes()
    assert CertificateAuthority(tmp_path / "ca").certificate_path.read_bytes() == first
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o077 == 0
