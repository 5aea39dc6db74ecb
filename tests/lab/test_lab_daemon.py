"""The supervisor, on small parts of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import daemon
from lab.home import LabError
from lab.part import Part

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(os.environ.get("AWS_ACCESS_KEY_ID", "").encode())
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
RUN = """
import json, sys
from pathlib import Path
from lab import daemon
from lab.part import Part
home, code, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ports = daemon.Ports(home / "ports.json")
parts = []
for i in range(count):
    port = ports.free()
    parts.append(Part(name=f"part-{i}", port=port, argv=[sys.executable, "-c", code, str(port)]))
daemon.Supervisor(home, parts, {"aws": "http://127.0.0.1:1"}).run()
"""


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail("what was waited for did not happen")


def status(home: Path) -> dict[str, Any]:
    try:
        return json.loads((home / "status.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), SERVER, "2"])
    wait_for(lambda: status(tmp_path).get("ready"))
    yield process
    process.kill()
    process.wait()


def part_pid(home: Path, name: str) -> int:
    return status(home)["parts"][name]["pid"]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_crashed_part_is_started_again_on_its_port(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    before = status(tmp_path)["parts"]["part-0"]
    os.kill(before["pid"], signal.SIGKILL)

    def restarted() -> bool:
        part = status(tmp_path)["parts"]["part-0"]
        return part["restarts"] == 1 and part["healthy"]

    wait_for(restarted)
    after = status(tmp_path)["parts"]["part-0"]
    assert after["port"] == before["port"], "a url that something holds must stay true"
    assert after["pid"] != before["pid"]


def test_sigterm_stops_the_parts_and_withdraws_the_endpoints(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pids = [part_pid(tmp_path, name) for name in ("part-0", "part-1")]
    assert (tmp_path / "endpoints.json").exists()
    supervisor.terminate()
    assert supervisor.wait(20) == 0
    assert not (tmp_path / "endpoints.json").exists(), "nobody may be led to a dead lab"
    assert not any(is_alive(pid) for pid in pids)


def test_a_killed_supervisor_leaves_no_part_behind(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pids = [part_pid(tmp_path, name) for name in ("part-0", "part-1")]
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_a_closed_terminal_does_not_stop_the_lab(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    supervisor.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert supervisor.poll() is None


def test_parts_see_no_credential_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "of-the-person")
    assert "of-the-person" not in daemon._clean_environment().values()


def test_ports_stay_the_same_over_a_restart_and_move_when_taken(tmp_path: Path) -> None:
    import socket

    first = daemon.Ports(tmp_path / "ports.json")
    ports = [first.free(), first.free()]
    assert len(set(ports)) == 2
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", ports[0]))
        taken.listen()
        again = daemon.Ports(tmp_path / "ports.json")
        moved, kept = again.free(), again.free()
    assert moved != ports[0]
    assert kept == ports[1]


def test_a_part_that_cannot_be_planned_is_told_by_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    monkeypatch.setattr(daemon, "_is_running", lambda home: True)
    (tmp_path / "lab" / "status.json").write_text('{"error": "ministack is not installed"}')
    with pytest.raises(LabError, match="ministack is not installed"):
        daemon.start(tmp_path / "lab")


def test_part_describes_health_by_default() -> None:
    part = Part(name="x", argv=["true"], port=1)
    assert part.health_path == "/_lab/health"
