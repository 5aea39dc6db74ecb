"""The lab's supervisor: starts the parts, watches them, starts a crashed one again, stops them
cleanly.

One supervisor a folder, held by a file lock. It is detached from the terminal and keeps everything
it knows in
``status.json``; ``endpoints.json`` appears when every part is healthy. A supervisor that is killed
takes its parts with it
(PR_SET_PDEATHSIG), so that the next start finds the ports free and the data at rest.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lab import home as lab_home
from lab.home import LabError, is_running, write_atomically
from lab.part import Part

START_TIMEOUT_SECONDS = 60.0
_HEALTH_TIMEOUT_SECONDS = 2.0
_HEALTH_EVERY_SECONDS = 5.0
# Three misses in a row: a part busy with a large request is not a dead one.
_UNHEALTHY_LIMIT = 3
_RESTART_BACKOFF_SECONDS = (0.2, 1.0, 5.0, 15.0)
# A part that has ended this often while the lab starts will not come up.
_GIVE_UP_AFTER_RESTARTS = 3
# How long parts of a supervisor that was killed may take to save their data.
_OLD_PARTS_TIMEOUT_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


# ---- what the verbs of `trainstack lab` call


def start(home: Path, *, on_progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Start the lab unless it runs, wait until it is healthy and return its status.

    Raises LabError, with the last lines of the part's log, where a part does not come up.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    supervisor = _start_supervisor(home)
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    waiting: list[str] = []
    try:
        while time.monotonic() < deadline:
            # Asked first: one that ends between the two questions has said its error by then.
            ended = supervisor is not None and supervisor.poll() is not None
            status = read_status(home)
            if status.get("error"):
                raise LabError(status["error"])
            if status.get("ready"):
                return status
            if ended and not is_running(home):
                raise LabError(f"the lab's supervisor ended{_last_words(home, 'supervisor')}")
            parts = status.get("parts", {})
            unhealthy = [name for name, part in parts.items() if not part["healthy"]]
            for name in unhealthy:
                if parts[name]["restarts"] >= _GIVE_UP_AFTER_RESTARTS:
                    stop(home)
                    raise LabError(f"the lab's {name} does not start{_last_words(home, name)}")
            if unhealthy != waiting:
                waiting = unhealthy
                on_progress(f"waiting for {', '.join(waiting)}" if waiting else "starting")
            time.sleep(0.05)
    finally:
        if supervisor is not None:
            supervisor.returncode = (
                0  # it outlives this process on purpose, which Popen warns about
            )
    raise LabError(
        f"the lab is not up after {START_TIMEOUT_SECONDS:.0f} s; waiting for "
        f"{', '.join(waiting) or 'its supervisor'}{_last_words(home, *waiting[:1])}"
    )


def _start_supervisor(home: Path) -> subprocess.Popen[bytes] | None:
    """Start a supervisor; None where one runs. Of two that are started at once, one ends again."""
    with (home / "supervisor.lock").open("ab") as lock:
        if not _take(lock):
            return None
        _forget(home)  # under the lock: what another start has made since is not forgotten
    with _log_file(home, "supervisor") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lab.daemon", "--home", str(home.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parent.parent,
        )


def _last_words(home: Path, *names: str) -> str:
    """Return the last line of a part's log and where the rest is, to be put behind an error."""
    for name in names:
        if path := log_files(home).get(name):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            said = next((line.strip() for line in reversed(lines) if line.strip()), "")
            return f": {said}\nMore: trainstack lab logs {name}"
    return ". See: trainstack lab logs"


def stop(home: Path, *, timeout_seconds: float = 30.0) -> bool:
    """Stop the lab and wait for it. Returns False where none was running."""
    if not is_running(home):
        _forget(home)
        return False
    pid = read_status(home).get("pid")
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while is_running(home):
        if time.monotonic() > deadline:
            raise LabError(f"the lab (pid {pid}) has not stopped after {timeout_seconds:.0f} s")
        time.sleep(0.05)
    return True


def read_status(home: Path) -> dict[str, Any]:
    """Return the supervisor's last word, with ``running`` as it is now; {} where there is none."""
    try:
        status = json.loads((home / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {**status, "running": is_running(home)}


def log_files(home: Path) -> dict[str, Path]:
    """Return each part's log, by name."""
    return {path.stem: path for path in sorted((home / "logs").glob("*.log"))}


# ---- the supervisor itself


class Ports:
    """Free ports of 127.0.0.1, the same ones after a restart: data at rest may hold a url."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._remembered: list[int] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._remembered = []
        self._taken: list[int] = []

    def free(self) -> int:
        """Return the next port: the one of last time where it is still free."""
        index = len(self._taken)
        wanted = self._remembered[index] if index < len(self._remembered) else 0
        port = _bindable(wanted) or _bindable(0)
        while port in self._taken:
            port = _bindable(0)
        self._taken.append(port)
        write_atomically(self._path, json.dumps(self._taken))
        return port


def _bindable(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


@dataclass
class _Watched:
    part: Part
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    start_at: float = 0.0
    healthy: bool = False
    misses: int = 0
    checked_at: float = 0.0
    # What it says that its last kill lost; of a part that loses nothing, always empty.
    lost: tuple[str, ...] = ()


@dataclass
class Supervisor:
    """Runs the parts until told to stop. Single-threaded: PDEATHSIG follows the forking thread."""

    home: Path
    parts: list[Part]
    endpoints: dict[str, str]
    # Inherited by the parts: the lock on it is held as long as any of them lives.
    parts_lock: IO[bytes] | None = None
    _watched: list[_Watched] = field(init=False)
    _stopping: bool = False
    _last_status: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._watched = [_Watched(part) for part in self.parts]

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop the parts, last started first."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        was_ready = False
        try:
            while not self._stopping:
                for watched in self._watched:
                    self._tend(watched)
                ready = all(watched.healthy for watched in self._watched)
                if ready and not was_ready:
                    write_atomically(
                        self.home / "endpoints.json", json.dumps(self.endpoints, indent=1)
                    )
                    was_ready = True
                self._write_status(ready=was_ready)
                time.sleep(0.2 if was_ready else 0.03)
        finally:
            self._stop_all()

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _tend(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.process is None:
            if now >= watched.start_at:
                self._spawn(watched)
            return
        code = watched.process.poll()
        if code is not None:
            self._say(f"{watched.part.name} ended with code {code}; starting it again")
            self._schedule_restart(watched)
            return
        if now - watched.checked_at < (_HEALTH_EVERY_SECONDS if watched.healthy else 0.03):
            return
        watched.checked_at = now
        health = _health(watched.part)
        if health is not None:
            watched.healthy, watched.misses = True, 0
            watched.lost = tuple(health.get("lost") or ())
        elif watched.healthy:
            watched.misses += 1
            if watched.misses >= _UNHEALTHY_LIMIT:
                self._say(f"{watched.part.name} does not answer; starting it again")
                _end(watched)
                self._schedule_restart(watched)

    def _schedule_restart(self, watched: _Watched) -> None:
        step = min(watched.restarts, len(_RESTART_BACKOFF_SECONDS) - 1)
        watched.start_at = time.monotonic() + _RESTART_BACKOFF_SECONDS[step]
        watched.process, watched.healthy, watched.misses = None, False, 0
        watched.restarts += 1

    def _spawn(self, watched: _Watched) -> None:
        part = watched.part
        with _log_file(self.home, part.name) as log:
            watched.process = subprocess.Popen(
                list(part.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_clean_environment(), **part.environment},
                cwd=Path(__file__).resolve().parent.parent,
                pass_fds=(self.parts_lock.fileno(),) if self.parts_lock else (),
                preexec_fn=_die_with_parent,
            )

    def _stop_all(self) -> None:
        (self.home / "endpoints.json").unlink(missing_ok=True)
        for watched in reversed(self._watched):
            _end(watched)
        self._write_status(ready=False)

    def _write_status(self, *, ready: bool) -> None:
        status = {
            "pid": os.getpid(),
            "ready": ready and not self._stopping,
            "endpoints": self.endpoints,
            "parts": {
                watched.part.name: {
                    "pid": watched.process.pid if watched.process else None,
                    "port": watched.part.port,
                    "healthy": watched.healthy,
                    "restarts": watched.restarts,
                    "lost": watched.lost,
                }
                for watched in self._watched
            },
        }
        if status != self._last_status:
            self._last_status = status
            write_atomically(self.home / "status.json", json.dumps(status, indent=1))

    def _say(self, text: str) -> None:
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), text, flush=True)


def _end(watched: _Watched) -> None:
    if watched.process is None:
        return
    watched.process.terminate()
    try:
        watched.process.wait(watched.part.stop_timeout_seconds)
    except subprocess.TimeoutExpired:
        watched.process.kill()
        watched.process.wait()


def _health(part: Part) -> dict[str, Any] | None:
    """Return what a part says of itself, {} where it says nothing; None where it does not serve."""
    url = f"http://127.0.0.1:{part.port}{part.health_path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_HEALTH_TIMEOUT_SECONDS) as answer:  # loopback, built above
            told = json.load(answer)
    except (OSError, http.client.HTTPException):  # URLError is an OSError
        return None
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _clean_environment() -> dict[str, str]:
    """Return this process's environment without anything that leads to a real cloud."""
    prefixes = ("AWS_", "AZURE_", "ARM_", "PULUMI_", "IDENTITY_", "MSI_")
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes) and name not in proxies
    }
    # boto3 in a part must look for credentials nowhere else.
    return kept | {
        "AWS_ACCESS_KEY_ID": lab_home.ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": lab_home.SECRET_ACCESS_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONUNBUFFERED": "1",
    }


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _log_file(home: Path, name: str) -> Generator[IO[bytes]]:
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as file:
        yield file


def _take(lock: IO[bytes], timeout_seconds: float = 1.0) -> bool:
    # Somebody who only asks whether the lab runs holds the lock for a moment too.
    deadline = time.monotonic() + timeout_seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _await_old_parts(home: Path, parts_lock: IO[bytes]) -> None:
    """Parts whose supervisor was killed are still saving; two may not write the same data."""
    if not _take(parts_lock, _OLD_PARTS_TIMEOUT_SECONDS):
        raise LabError(f"parts of an earlier lab in {home} have not ended. Look at: ps -ef")


def _forget(home: Path) -> None:
    for name in ("status.json", "endpoints.json"):
        (home / name).unlink(missing_ok=True)


def plan(home: Path, free_port: Callable[[], int]) -> tuple[list[Part], dict[str, str]]:
    """Return the lab's parts in the order they start, and the endpoints they make."""
    from lab.aws import services as aws_services
    from lab.azure import services as azure_services

    aws = aws_services.parts(home, free_port)
    azure = azure_services.parts(home, free_port)
    front = next(part for part in aws if part.name == "aws-front")
    plane = next(part for part in azure if part.name == "azure")
    proxy = Part(
        name="proxy",
        port=(proxy_port := free_port()),
        argv=[
            sys.executable, "-m", "lab.proxy", "--port", str(proxy_port), "--home", str(home),
            "--aws-port", str(front.port), "--azure-port", str(plane.port),
        ],
    )  # fmt: skip
    return [*aws, *azure, proxy], {
        "aws": f"http://127.0.0.1:{front.port}",
        "azure": f"http://127.0.0.1:{plane.port}",
        "proxy": f"http://127.0.0.1:{proxy_port}",
        "ca": str(home / "ca-bundle.pem"),
    }


def main() -> None:
    """Run the supervisor: python -m lab.daemon --home DIR."""
    parser = argparse.ArgumentParser(prog="python -m lab.daemon")
    parser.add_argument("--home", type=Path, required=True)
    home: Path = parser.parse_args().home
    os.umask(0o077)
    with (
        (home / "supervisor.lock").open("ab") as lock,
        (home / "parts.lock").open("ab") as parts_lock,
    ):
        if not _take(lock):
            sys.exit(f"another supervisor runs the lab in {home}")
        try:
            _await_old_parts(home, parts_lock)
            parts, endpoints = plan(home, Ports(home / "ports.json").free)
            Supervisor(home, parts, endpoints, parts_lock).run()
        except LabError as error:
            write_atomically(home / "status.json", json.dumps({"error": str(error)}))
            sys.exit(str(error))


if __name__ == "__main__":
    main()
