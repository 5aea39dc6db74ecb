"""The sandbox that a job runs in: its paths, its signals, and that nothing stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab import executor
from lab.executor import Instance, Running, best_isolation, start

WAYS = [way for way in ("bwrap", "unshare", "none") if way in (best_isolation(), "unshare", "none")]
if best_isolation() == "none":
    WAYS = ["none"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(*argv: str, **options: Any) -> tuple[int | None, list[str]]:
    lines: list[str] = []
    running = start(Instance(argv=argv, **options), lines.append)
    code = running.wait(30)
    return code, [line for line in lines if not line.startswith("trainstack lab:")]


def until(lines: list[str], text: str, running: Running) -> None:
    deadline = time.monotonic() + 20
    while not any(text in line for line in lines):
        assert running.poll() is None, f"ended early with {lines}"
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)


def test_paths_of_the_contract_lead_to_the_jobs_folders(way: Any, tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("1,2")
    code, lines = run(
        "python",
        "-c",
        "import os, pathlib; print(open(os.environ['DATA'] + '/x.csv').read());"
        "pathlib.Path(os.environ['MODEL'], 'model.txt').write_text('fitted')",
        env={"DATA": "/opt/data", "MODEL": "/opt/ml"},
        mounts={"/opt/ml": tmp_path / "ml"},
        read_only_mounts={"/opt/data": tmp_path / "data"},
        cwd="/opt/ml",
        isolation=way,
    )
    assert (code, lines) == (0, ["1,2"])
    assert (tmp_path / "ml" / "model.txt").read_text() == "fitted"


def test_a_job_imports_what_the_lab_has_and_its_pip_installs_stay_its_own(
    way: Any, tmp_path: Path
) -> None:
    package = tmp_path / "src" / "greeting"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WORDS = 'hello'")
    (tmp_path / "src" / "pyproject.toml").write_text(
        "[build-system]\nrequires=['setuptools']\nbuild-backend='setuptools.build_meta'\n"
        "[project]\nname='greeting'\nversion='1'\n[tool.setuptools]\npackages=['greeting']\n"
    )
    code, lines = run(
        "sh",
        "-c",
        "pip install -q --no-build-isolation --no-index . numpy && cd / && "
        "python -c 'import greeting, numpy; print(greeting.WORDS)'",
        mounts={"/opt/src": tmp_path / "src"},
        cwd="/opt/src",
        isolation=way,
    )
    assert (code, lines[-1:]) == (0, ["hello"]), lines
    here = subprocess.run([sys.executable, "-c", "import greeting"], capture_output=True)
    assert here.returncode != 0, "pip in a job must not touch the lab's own environment"


def test_the_home_folder_and_the_project_are_not_visible(tmp_path: Path) -> None:
    if best_isolation() == "none":
        pytest.skip("no mount namespaces on this machine")
    secret = tmp_path / "credentials"
    secret.write_text("secret")
    code, lines = run("sh", "-c", f"cat {secret}; ls {Path.home()}; exit 0")
    assert code == 0
    assert "secret" not in lines
    assert not set(lines) & {path.name for path in Path.home().iterdir()}


def test_a_job_cannot_write_to_the_system() -> None:
    if best_isolation() == "none":
        pytest.skip("no mount namespaces on this machine")
    code, _ = run("touch", "/usr/trainstack-was-here")
    assert code != 0
    assert not Path("/usr/trainstack-was-here").exists()


def test_sigterm_reaches_the_script_behind_a_shell_and_a_driver(way: Any) -> None:
    script = (
        "import signal, sys, time\n"
        "def save(*_): print('saved'); sys.exit(9)\n"
        "signal.signal(signal.SIGTERM, save); print('ready'); time.sleep(60)"
    )
    driver = "import subprocess, sys; sys.exit(subprocess.call(['python', '-c', sys.argv[1]]))"
    lines: list[str] = []
    running = start(
        Instance(
            argv=["bash", "-c", 'python -c "$0" "$1"; exit $?', driver, script], isolation=way
        ),
        lines.append,
    )
    until(lines, "ready", running)
    running.terminate()
    assert running.wait(10) == 9
    assert lines[-1] == "saved"


def test_sigterm_ends_a_job_that_has_no_handler(way: Any) -> None:
    lines: list[str] = []
    running = start(
        Instance(argv=["sh", "-c", "echo ready; sleep 60; true"], isolation=way), lines.append
    )
    until(lines, "ready", running)
    running.terminate()
    assert running.wait(10) == 128 + signal.SIGTERM


def test_kill_leaves_nothing_behind(way: Any) -> None:
    lines: list[str] = []
    running = start(
        Instance(
            argv=["sh", "-c", "setsid sleep 61.5 & sleep 61.5 & echo ready; sleep 61.5"],
            isolation=way,
        ),
        lines.append,
    )
    until(lines, "ready", running)
    running.kill()
    assert running.wait(10) == 128 + signal.SIGKILL
    assert not _alive("61.5")


def test_a_daemon_left_by_the_script_ends_with_it(way: Any) -> None:
    code, lines = run("sh", "-c", "sleep 62.5 & echo done", isolation=way)
    assert (code, lines) == (0, ["done"])
    assert not _alive("62.5")


def test_a_job_dies_with_the_process_that_started_it(way: Any) -> None:
    program = (
        "import os, sys, threading\nfrom lab.executor import Instance, start\n"
        "go = threading.Event()\n"
        f"start(Instance(argv=['sleep', '63.5'], isolation={way!r}), lambda _: None)\n"
        "print('started', flush=True); go.wait(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=Path(executor.__file__).parents[1],
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"started\n"
        deadline = time.monotonic() + 10
        while not _alive("63.5") and time.monotonic() < deadline:
            time.sleep(0.01)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while _alive("63.5"):
        assert time.monotonic() < deadline, "the job outlived its plane"
        time.sleep(0.01)


def test_instances_find_each_other_by_host_name() -> None:
    if best_isolation() == "none":
        pytest.skip("no mount namespaces on this machine")
    hosts = {"algo-1": "127.0.0.11", "algo-2": "127.0.0.12"}
    code, lines = run(
        "python",
        "-c",
        "import socket; print(socket.gethostname(), socket.gethostbyname('algo-1'))",
        hostname="algo-2",
        hosts=hosts,
    )
    assert (code, lines) == (0, ["algo-2 127.0.0.11"])


def test_an_isolated_job_reaches_nothing_but_its_peers() -> None:
    if best_isolation() == "none":
        pytest.skip("no mount namespaces on this machine")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        lines: list[str] = []
        first = start(
            Instance(
                argv=[
                    "python",
                    "-c",
                    "import socket\n"
                    f"try: socket.create_connection(('127.0.0.1', {port}), 2); print('reached')\n"
                    "except OSError as error: print('refused')\n"
                    "s = socket.create_server(('127.0.0.11', 7777)); print('ready')\n"
                    "print(s.accept()[0].recv(9).decode())",
                ],
                network=False,
            ),
            lines.append,
        )
        until(lines, "ready", first)
        code, out = run(
            "python",
            "-c",
            "import socket; socket.create_connection(('127.0.0.11', 7777)).send(b'hello')",
            network=False,
            network_of=first,
        )
    assert (code, first.wait(10)) == (0, 0), (out, lines)
    assert lines == ["refused", "ready", "hello"]


def test_a_missing_program_is_said_and_ends_the_job(way: Any) -> None:
    code, lines = run("no-such-program", isolation=way)
    assert code not in (0, None)
    assert any("no-such-program" in line for line in lines)


def _alive(seconds: str) -> bool:
    for process in psutil.process_iter(["cmdline", "status"]):
        info = process.info
        if info["cmdline"] == ["sleep", seconds] and info["status"] != psutil.STATUS_ZOMBIE:
            return True
    return False
