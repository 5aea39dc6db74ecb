"""What the plane acknowledged survives kill -9; what ran is told honestly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.azure.services import parts
from lab.home import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from tests.lab_azure.azure_server import (
    GROUP,
    WORKSPACE,
    Response,
    Server,
    deploy,
    http_request,
    send,
)


class Process:
    """The plane as the supervisor runs it."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.azure", "--port", "0", "--home", str(home)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, line
        self.url = match[0]
        form = f"grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&scope=https://management.azure.com/.default"
        end = time.monotonic() + 20
        while True:
            try:
                answer = send(
                    http_request(
                        f"{self.url}/{TENANT_ID}/oauth2/v2.0/token",
                        data=form.encode(),
                        method="POST",
                    )
                )
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)
        self._token = answer.json["access_token"]

    def call(
        self, method: str, path: str, body: Any = None, *, version: str = "2025-12-01"
    ) -> Response:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        return send(
            http_request(
                f"{self.url}{path}?api-version={version}", data=data, method=method, headers=headers
            )
        )

    def end(self, number: int) -> int:
        self._process.send_signal(number)
        code = self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def job(command: str) -> dict[str, Any]:
    return {
        "properties": {
            "jobType": "Command",
            "command": command,
            "environmentId": f"{WORKSPACE}/environments/base/versions/1",
            "computeId": f"{WORKSPACE}/computes/cpu",
        }
    }


def wait(process: Process, name: str, *states: str) -> str:
    end = time.monotonic() + 30
    while True:
        status = process.call("GET", f"{WORKSPACE}/jobs/{name}").json["properties"]["status"]
        if status in states:
            return status
        assert time.monotonic() < end, status
        time.sleep(0.05)


def test_a_killed_plane_loses_nothing_acknowledged(tmp_path: Path) -> None:
    home = tmp_path / "azure"
    first = Server(home)
    deploy(first)
    first.stop()
    process = Process(home)
    for number in range(20):
        path = f"{WORKSPACE}/environments/e{number}/versions/1"
        assert process.call("PUT", path, {"properties": {"image": "x"}}).status == 201
    body = job("sleep 60")
    body["properties"]["resources"] = {"instanceCount": 2}
    assert process.call("PUT", f"{WORKSPACE}/jobs/long", body).status == 201
    assert process.call("PUT", f"{WORKSPACE}/jobs/waiting", job("echo ran")).status == 201
    wait(process, "long", "Running")
    process.end(signal.SIGKILL)

    again = Process(home)
    for number in range(20):
        assert again.call("GET", f"{WORKSPACE}/environments/e{number}/versions/1").status == 200
    assert wait(again, "long", "Failed", "Completed") == "Failed"
    details = again.call("GET", f"/history/v1.0{WORKSPACE}/runs/long/details", version="v1.0").json
    assert "stopped while the job was running" in details["error"]["error"]["message"]
    assert wait(again, "waiting", "Completed", "Failed") == "Completed", (
        "a queued job runs after all"
    )
    assert again.call("GET", GROUP, version="2024-03-01").status == 200
    assert again.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_a_stop_takes_the_jobs_processes_along(tmp_path: Path) -> None:
    home = tmp_path / "azure"
    first = Server(home)
    deploy(first)
    first.stop()
    process = Process(home)
    marker = f"{os.getpid()}{time.time_ns()}"[-9:]
    process.call("PUT", f"{WORKSPACE}/jobs/long", job(f"echo up; exec sleep 77{marker}"))
    wait(process, "long", "Running")
    process.end(signal.SIGTERM)
    time.sleep(0.2)
    found = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True)
    assert f"sleep 77{marker}" not in found.stdout


def test_the_supervisor_gets_one_part_on_one_port(tmp_path: Path) -> None:
    (part,) = parts(tmp_path, lambda: 4711)
    assert part.name == "azure"
    assert part.port == 4711
    assert str(tmp_path / "azure") in part.argv
