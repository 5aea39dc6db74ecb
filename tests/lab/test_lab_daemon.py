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

from lab import daemon, home
from lab.home import LabError
from lab.part import Part

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b'{"lost": ["logs"]}')
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SAVES_FOR_A_SECOND = """
import signal, time
def save(*_):
    time.sleep(1)
    raise SystemExit
signal.signal(signal.SIGTERM, save)
""" + SERVER.replace("import http", "import http.server, sys\nimport http", 1)
RUN = """
import sys
from pathlib import Path
from lab import daemon
from lab.part import Part
code, count = sys.argv.pop(1), int(sys.argv.pop(1))
def plan(home, free_port):
    ports = [free_port() for _ in range(count)]
    return [
        Part(name=f"part-{i}", port=port, argv=[sys.executable, "-c", code, str(port)])
        for i, port in enumerate(ports)
    ], {"aws": "http://127.0.0.1:1"}
daemon.plan = plan
daemon.main()
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


def run(home: Path, code: str, parts: int = 1) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", RUN, code, str(parts), "--home", str(home)]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = run(tmp_path, SERVER, parts=2)
    wait_for(lambda: status(tmp_path).get("ready"))
    yield process
    process.kill()
    process.wait()


def part_pid(home: Path, name: str) -> int:
    return status(home)["parts"][name]["pid"]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs: one that has ended may not have been waited for yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


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


def test_parts_of_a_killed_supervisor_end_before_new_ones_begin(tmp_path: Path) -> None:
    first = run(tmp_path, SAVES_FOR_A_SECOND)
    wait_for(lambda: status(tmp_path).get("ready"))
    old = status(tmp_path)["parts"]["part-0"]
    first.kill()
    first.wait()
    second = run(tmp_path, SERVER)
    try:
        wait_for(lambda: status(tmp_path)["pid"] == second.pid and status(tmp_path)["ready"])
        assert not is_alive(old["pid"]), "two processes may not write the same data"
        assert status(tmp_path)["parts"]["part-0"]["port"] == old["port"]
    finally:
        second.terminate()
        second.wait()


def test_of_two_supervisors_the_second_gives_way(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert run(tmp_path, SERVER).wait(20) == 1
    assert status(tmp_path)["pid"] == supervisor.pid
    assert daemon.start(tmp_path)["pid"] == supervisor.pid


def test_the_status_says_what_a_part_has_lost(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert status(tmp_path)["parts"]["part-1"]["lost"] == ["logs"]


def test_a_part_that_does_not_come_up_is_told_by_start_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = run(tmp_path, "raise SystemExit('the disk is full')")
    wait_for(lambda: status(tmp_path).get("parts"))
    monkeypatch.setattr(daemon, "_start_supervisor", lambda home: None)
    with pytest.raises(LabError, match="part-0 does not start: the disk is full"):
        daemon.start(tmp_path)
    assert started.wait(20) == 0, "what cannot come up is not left trying"


def test_a_killed_lab_counts_as_none(
    supervisor: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSTACK_LAB_HOME", str(tmp_path))
    assert home.endpoints() == {"aws": "http://127.0.0.1:1"}
    supervisor.kill()
    supervisor.wait()
    with pytest.raises(LabError, match="no lab is running here"):
        home.endpoints()


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
    monkeypatch.setattr(daemon, "_start_supervisor", lambda home: None)
    (tmp_path / "lab" / "status.json").write_text('{"error": "ministack is not installed"}')
    with pytest.raises(LabError, match="ministack is not installed"):
        daemon.start(tmp_path / "lab")


def test_part_describes_health_by_default() -> None:
    part = Part(name="x", argv=["true"], port=1)
    assert part.health_path == "/_lab/health"
