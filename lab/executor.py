"""Runs one instance of a job as real processes in a sandbox, as a container would.

A mount namespace gives the job the paths that a cloud promises (``/opt/ml`` and the like) over a
read-only view of the system; a PID namespace makes sure that nothing of it is left over. Three
ways, best first: ``bwrap``, ``unshare``, and ``none`` for a machine that allows neither, where the
paths in argv, env and cwd are rewritten to the real folders. The home folder, /tmp, /run and the
project are not visible inside, so a job cannot read credentials by accident. That is a guard
against accidents, not against an attacker: whoever submits to the lab is who runs it.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import psutil

from lab.home import LabError

Isolation = Literal["auto", "bwrap", "unshare", "none"]
_LABEL = "trainstack-lab"

# Where the job's own Python environment is mounted, and the folders that a job may always write to.
PYTHON_PATH = "/opt/job-python"
HOME_PATH = "/root"
_SYSTEM_FOLDERS = (
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "sys", "nix", "gnu",
)  # fmt: skip
# What docker gives a container's root by default, as far as files and processes go.
_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What runs on one machine of a job.

    Paths in argv, env and cwd are those inside; mounts map inside to outside.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    mounts: Mapping[str, Path] = field(default_factory=dict)
    read_only_mounts: Mapping[str, Path] = field(default_factory=dict)
    hostname: str = "localhost"
    # name -> address, as /etc/hosts shows it inside.
    hosts: Mapping[str, str] = field(default_factory=dict)
    # False leaves only a loopback of the instance's own.
    network: bool = True
    # An image's extracted files as the root; private to this instance, the job may write to it.
    rootfs: Path | None = None
    # An image that the container engine has; it takes the place of rootfs and isolation.
    image: str | None = None
    # Replaces the image's own.
    entry_point: str | None = None
    isolation: Isolation = "auto"
    # A folder for the instance's /tmp, home and pip installs; made and removed by the executor when
    # None.
    scratch: Path | None = None
    # Run in the network of an instance that is already running (peers of an isolated job).
    network_of: Running | None = None


class Running:
    """A started instance. ``returncode`` is set once its output was delivered to the last line."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        isolation: Isolation,
        init_pid: int | None,
        on_line: Callable[[str], None],
        finish: Callable[[], None],
    ) -> None:
        self.pid = process.pid
        self.isolation = isolation
        self.init_pid = init_pid
        self.returncode: int | None = None
        self._killed = False
        self._process = process
        self._done = threading.Event()
        assert process.stdout is not None  # noqa: S101 - we asked for the pipe
        reader = threading.Thread(target=_read, args=(process.stdout, on_line), daemon=True)
        reader.start()
        threading.Thread(target=self._reap, args=(reader, finish), daemon=True).start()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; 128 + n where signal n ended it."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait up to ``timeout`` seconds; return the exit code, or None where it still runs."""
        self._done.wait(timeout)
        return self.returncode

    def terminate(self) -> None:
        """Ask the user's processes to end, with SIGTERM.

        Only processes that handle the signal get it, so that a shell or a driver in front of the
        script does not die first and take the script with it, unsaved. Where none handles it, all
        get it.
        """
        processes = self._processes()
        handlers = [process for process in processes if _handles(process.pid, signal.SIGTERM)]
        for process in handlers or processes:
            _signal(process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the instance at once."""
        if self._done.is_set():
            return
        self._killed = True
        for process in self._processes():
            _signal(process.pid, signal.SIGKILL)
        # The first process of a PID namespace takes all others with it, also those that were forked
        # meanwhile.
        _signal(self.init_pid or self.pid, signal.SIGKILL)

    def _processes(self) -> list[psutil.Process]:
        """The user's processes, without the sandbox's own."""
        try:
            root = psutil.Process(self.init_pid or self.pid)
            children = root.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return children if self.init_pid else [root, *children]

    def _reap(self, reader: threading.Thread, finish: Callable[[], None]) -> None:
        code = self._process.wait()
        if self.isolation == "none":
            _kill_group(self.pid)  # a daemon left behind would hold the pipe open
        reader.join()
        finish()
        self.returncode = 128 + signal.SIGKILL if self._killed else 128 - code if code < 0 else code
        self._done.set()


class _Container(Running):
    """An instance that a container engine runs; a signal goes to its first process, as in a cloud."""

    def __init__(
        self,
        engine: str,
        name: str,
        process: subprocess.Popen[bytes],
        on_line: Callable[[str], None],
        finish: Callable[[], None],
    ) -> None:
        self._kill = [engine, "kill"]
        self.name = name
        super().__init__(process, "none", None, on_line, finish)

    def terminate(self) -> None:
        subprocess.run(
            [*self._kill, "--signal", "TERM", self.name], capture_output=True, check=False
        )

    def kill(self) -> None:
        if self._done.is_set():
            return
        self._killed = True
        done = subprocess.run([*self._kill, self.name], capture_output=True, check=False)
        if done.returncode:
            _signal(self.pid, signal.SIGKILL)  # it was not up yet


def start(instance: Instance, on_line: Callable[[str], None]) -> Running:
    """Start the instance and return at once.

    ``on_line`` gets each line of its output, from a thread of ours. Raises LabError where the wanted isolation
    is not available here.
    """
    if instance.image:
        return _start_container(instance, on_line)
    isolation = best_isolation() if instance.isolation == "auto" else instance.isolation
    if isolation == "none" and instance.rootfs:
        raise LabError(
            "an image needs mount namespaces, which this machine does not allow. "
            "Install bubblewrap, or run as root"
        )
    owned = None if instance.scratch else Path(tempfile.mkdtemp(prefix="trainstack-job-"))
    scratch = (instance.scratch or owned or Path()).absolute()
    for name in ("tmp", "home"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    if not instance.rootfs:
        _make_python(scratch / "python")
    (scratch / "hosts").write_text(_hosts_file(instance), encoding="utf-8")

    def finish() -> None:
        if owned:
            shutil.rmtree(owned, ignore_errors=True)

    try:
        if isolation == "bwrap":
            return _start_bwrap(instance, scratch, on_line, finish)
        if isolation == "unshare":
            return _start_unshare(instance, scratch, on_line, finish)
        return _start_plain(instance, scratch, on_line, finish)
    except OSError as error:
        finish()
        raise LabError(f"cannot start the job's sandbox ({isolation}): {error}") from error


@functools.cache
def best_isolation() -> Isolation:
    """Return the best isolation that works here; tried once, about 20 ms.

    TRAINSTACK_LAB_ISOLATION names one where the choice is wrong: bwrap, unshare or none.
    """
    wanted = os.environ.get("TRAINSTACK_LAB_ISOLATION", "auto")
    for way in ("bwrap", "unshare", "none"):
        if wanted == way:
            return way
    if wanted != "auto":
        raise LabError(
            f"TRAINSTACK_LAB_ISOLATION is {wanted!r}; it must be auto, bwrap, unshare or none"
        )
    probe = ["--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--dev", "/dev", "true"]
    if shutil.which("bwrap") and _succeeds(["bwrap", *probe]):
        return "bwrap"
    if shutil.which("unshare") and _succeeds([*_unshare(), "sh", "-c", "mount -t tmpfs none /mnt"]):
        return "unshare"
    return "none"


@functools.cache
def container_engine() -> str | None:
    """Return docker or podman, whichever answers here, or None; asked once.

    TRAINSTACK_LAB_ENGINE names one, or ``none`` for chroots where an engine answers but cannot run.
    """
    wanted = os.environ.get("TRAINSTACK_LAB_ENGINE")
    for engine in [wanted] if wanted else ["docker", "podman"]:
        if shutil.which(engine) and _succeeds([engine, "info"]):
            return engine
    return None


def remove_containers(folder: Path) -> None:
    """Remove containers that outlived the process that started them, by their scratch folder."""
    engine = container_engine()
    if engine is None:
        return
    form = f'{{{{.ID}}}} {{{{.Label "{_LABEL}"}}}}'
    listed = subprocess.run(
        [engine, "ps", "--all", "--filter", f"label={_LABEL}", "--format", form],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        identity, _, scratch = line.partition(" ")
        if Path(scratch).is_relative_to(folder):
            subprocess.run([engine, "rm", "--force", identity], capture_output=True, check=False)


# One thread starts every sandbox: the kernel's parent-death signal fires when the *thread* that
# forked ends.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="executor-spawn")


def _spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, fds: Iterable[int] = ()
) -> subprocess.Popen[bytes]:
    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            pass_fds=tuple(fds),
            start_new_session=True,
        )

    return _SPAWNER.submit(spawn).result()


# --- the three ways -------------------------------------------------------------------------------


def _start_bwrap(
    instance: Instance, scratch: Path, on_line: Callable[[str], None], finish: Callable[[], None]
) -> Running:
    flags = {"bind": "--bind", "ro": "--ro-bind", "link": "--symlink"}
    argv = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--hostname", instance.hostname]
    if not instance.network and not instance.network_of:
        argv.append("--unshare-net")
    if instance.rootfs:
        if os.geteuid() == 0:
            argv += [item for name in _CAPABILITIES for item in ("--cap-add", f"CAP_{name}")]
        else:
            argv += ["--unshare-user", "--uid", "0", "--gid", "0"]
    for kind, source, target in _layout(instance, scratch):
        if kind == "proc":
            argv += ["--proc", "/proc", "--dev", "/dev"]
            for device in _accelerators():
                argv += ["--dev-bind", device, device]
        else:
            argv += [flags[kind], source, target]
    read, write = os.pipe()
    try:
        argv += ["--chdir", instance.cwd, "--info-fd", str(write), "--", *instance.argv]
        argv = _joined(instance.network_of, argv)
        process = _spawn(argv, _environment(instance), fds=(write,))
    finally:
        os.close(write)
    with os.fdopen(read, "rb") as info:
        text = info.read()
    init_pid = json.loads(text)["child-pid"] if text.strip() else None
    return Running(process, "bwrap", init_pid, on_line, finish)


def _start_unshare(
    instance: Instance, scratch: Path, on_line: Callable[[str], None], finish: Callable[[], None]
) -> Running:
    root = scratch / "root"
    root.mkdir(exist_ok=True)
    lines = ["set -e", f"R={shlex.quote(str(root))}", "mount --make-rprivate /"]
    if not instance.rootfs:
        lines.append('mount -t tmpfs -o mode=755 none "$R"')
    for kind, source, target in _layout(instance, scratch):
        quoted, inside = shlex.quote(source), f'"$R"{shlex.quote(target)}'
        if kind == "link":
            lines.append(f"mkdir -p $(dirname {inside}) && ln -sfn {quoted} {inside}")
        elif kind == "proc":
            lines += [
                'mkdir -p "$R/proc" "$R/dev"',
                'mount -t proc proc "$R/proc"',
                'mount --rbind /dev "$R/dev"',
            ]
        else:
            if target != "/":
                made = "mkdir -p" if Path(source).is_dir() else "install -D /dev/null"
                lines.append(f"[ -e {inside} ] || {made} {inside}")
            lines.append(f"mount --rbind {quoted} {inside}")
            if kind == "ro":
                # A submount of the host may refuse it; the folder itself is what matters.
                lines.append(f"mount -o remount,bind,ro {inside} || true")
    if not instance.network:
        lines.append("ip link set lo up 2>/dev/null || true")
    lines.append(f"hostname {shlex.quote(instance.hostname)}")
    command = " ".join(shlex.quote(word) for word in instance.argv)
    inner = f"cd {shlex.quote(instance.cwd)} && exec {command}"
    # The shell stays as the namespace's first process: as first process the job would not die of a
    # plain SIGTERM.
    lines.append(f'set +e; /usr/sbin/chroot "$R" /bin/sh -c {shlex.quote(inner)}')
    lines.append("exit $?")
    flags = ["--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    if not instance.network and not instance.network_of:
        flags.append("--net")
    argv = [*_pdeathsig(), *_unshare(*flags), "sh", "-c", "\n".join(lines)]
    argv = _joined(instance.network_of, argv)
    process = _spawn(argv, _environment(instance))
    init_pid = _first_child(process)
    return Running(process, "unshare", init_pid, on_line, finish)


def _start_container(instance: Instance, on_line: Callable[[str], None]) -> Running:
    engine = container_engine()
    if engine is None or instance.image is None:
        raise LabError("no container engine answers on this machine: neither docker nor podman")
    name = f"{_LABEL}-{os.urandom(6).hex()}"
    argv = [shutil.which(engine) or engine, "run", "--rm", "--name", name]
    argv += ["--label", f"{_LABEL}={instance.scratch}"]
    if isinstance(instance.network_of, _Container):
        argv += ["--network", f"container:{instance.network_of.name}"]
    else:
        # The host's network, because that is where the lab listens.
        argv += ["--network", "host" if instance.network else "none"]
        argv += ["--hostname", instance.hostname]
        argv += [f"--add-host={host}:{address}" for host, address in instance.hosts.items()]
    for inside, outside in instance.mounts.items():
        argv += ["--volume", f"{outside.absolute()}:{inside}"]
    for inside, outside in instance.read_only_mounts.items():
        argv += ["--volume", f"{outside.absolute()}:{inside}:ro"]
    # By name only: a value on the command line could be read by every user of the machine.
    argv += [word for variable in instance.env for word in ("--env", variable)]
    if instance.entry_point:
        argv += ["--entrypoint", instance.entry_point]
    argv = [*_pdeathsig(), *argv, instance.image, *instance.argv]
    process = _spawn(argv, {**os.environ, **instance.env})
    return _Container(engine, name, process, on_line, lambda: None)


def _start_plain(
    instance: Instance, scratch: Path, on_line: Callable[[str], None], finish: Callable[[], None]
) -> Running:
    on_line(
        "trainstack lab: this machine allows no mount namespaces, so paths such as "
        f"{', '.join(sorted([*instance.mounts, *instance.read_only_mounts]))} exist only as the "
        "folders that the environment variables name; host names and network isolation are missing"
    )
    paths = {
        **{k: str(v) for k, v in instance.mounts.items()},
        **{k: str(v) for k, v in instance.read_only_mounts.items()},
        PYTHON_PATH: str(scratch / "python"),
        HOME_PATH: str(scratch / "home"),
    }
    env = {name: _outside(value, paths) for name, value in _environment(instance).items()}
    env["TMPDIR"] = str(scratch / "tmp")
    argv = [_outside(word, paths) for word in instance.argv]
    found = shutil.which(argv[0], path=env.get("PATH"))
    if not found:
        argv = ["sh", "-c", f"echo {shlex.quote(argv[0])}: not found; exit 127"]
    process = _spawn([*_pdeathsig(), *argv], env, Path(_outside(instance.cwd, paths)))
    return Running(process, "none", None, on_line, finish)


def _layout(instance: Instance, scratch: Path) -> list[tuple[str, str, str]]:
    """Return the mounts in order: (bind | ro | link | proc, source, target)."""
    own = {
        "/tmp": scratch / "tmp",  # noqa: S108 - the job's own
        **({} if instance.rootfs else {HOME_PATH: scratch / "home"}),
        **({} if instance.rootfs else {PYTHON_PATH: scratch / "python"}),
        **instance.mounts,
    }
    fixed = {"/etc/hosts": scratch / "hosts", **instance.read_only_mounts}
    steps: list[tuple[str, str, str]] = []
    if instance.rootfs:
        steps.append(("bind", str(instance.rootfs), "/"))
        resolver = Path("/etc/resolv.conf").resolve()
        if instance.network and resolver.is_file():
            fixed = {"/etc/resolv.conf": resolver, **fixed}
    else:
        targets = [*own, *fixed]
        for name in _SYSTEM_FOLDERS:
            steps += _system(Path("/", name), targets)
        for folder in dict.fromkeys((sys.base_prefix, sys.prefix)):
            # Below /root these must come after the job's own home, or it would cover them.
            fixed = {folder: Path(folder), **fixed}
        resolver = Path("/etc/resolv.conf").resolve()
        if resolver.is_file() and resolver.parts[1] not in _SYSTEM_FOLDERS:
            fixed[str(resolver)] = resolver
    steps.append(("proc", "", ""))
    mounts = [("bind", str(source.absolute()), target) for target, source in own.items()]
    mounts += [("ro", str(source.absolute()), target) for target, source in fixed.items()]
    # Outer folders first; otherwise they would hide the inner ones.
    return steps + sorted(mounts, key=lambda step: step[2].count("/") if step[2] != "/" else 0)


def _system(path: Path, targets: Sequence[str]) -> list[tuple[str, str, str]]:
    """Show a system path read-only; entry by entry where a mount point is missing in it."""
    if path.is_symlink():
        return [("link", str(path.readlink()), str(path))]
    if not path.exists():
        return []
    inside = [target for target in targets if target.startswith(f"{path}/")]
    if all(Path(target).exists() for target in inside):
        return [("ro", str(path), str(path))]
    return [
        step
        for child in sorted(path.iterdir())
        if str(child) not in targets
        for step in _system(child, targets)
    ]


def _accelerators() -> list[str]:
    """Return this machine's GPU devices, which the sandbox's own /dev does not have."""
    return sorted(
        str(path) for name in ("nvidia*", "kfd", "dri") for path in Path("/dev").glob(name)
    )


# --- what a job finds -----------------------------------------------------------------------------


def _environment(instance: Instance) -> dict[str, str]:
    if instance.rootfs:
        base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    else:
        base = {
            "PATH": f"{PYTHON_PATH}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": HOME_PATH,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONNOUSERSITE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
    # Where packages come from is the machine's affair, not the job's: its mirror works inside as
    # outside.
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE"):
        if os.environ.get(name) and instance.network:
            base[name] = os.environ[name]
    return {**base, "HOSTNAME": instance.hostname, **instance.env}


def _make_python(folder: Path) -> None:
    """Make a virtual environment over the lab's own; what pip installs stays in ``folder``.

    Written by hand because it takes 1 ms, where the venv module takes 100.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    if packages.exists():
        return
    packages.mkdir(parents=True)
    base = Path(sys.executable).resolve()
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n", encoding="utf-8"
    )
    below = Path(sys.prefix) / "lib" / version / "site-packages"
    (packages / "lab.pth").write_text(f"{below}\n", encoding="utf-8")
    tools = folder / "bin"
    tools.mkdir()
    for name in ("python", "python3", version):
        (tools / name).symlink_to(base)
    for name, call in {
        "pip": "pip._internal.cli.main:main",
        "pip3": "pip._internal.cli.main:main",
        "torchrun": "torch.distributed.run:main",
    }.items():
        module, _, function = call.partition(":")
        script = tools / name
        script.write_text(
            f"#!/usr/bin/env python3\nimport sys\nfrom {module} import {function}\n"
            f"sys.exit({function}())\n",
            encoding="utf-8",
        )
        script.chmod(0o755)


def _hosts_file(instance: Instance) -> str:
    lines = ["127.0.0.1 localhost"]
    lines += [f"{address} {name}" for name, address in instance.hosts.items()]
    if instance.hostname not in {"localhost", *instance.hosts}:
        lines.append(f"127.0.0.1 {instance.hostname}")
    return "\n".join(lines) + "\n"


def _outside(value: str, paths: Mapping[str, str]) -> str:
    """Rewrite each path of a value, which may be a colon list, to the folder outside."""

    def one(part: str) -> str:
        for inside in sorted(paths, key=len, reverse=True):
            if part == inside or part.startswith(f"{inside}/"):
                return paths[inside] + part[len(inside) :]
        return part

    return ":".join(one(part) for part in value.split(":"))


# --- processes ------------------------------------------------------------------------------------


def _unshare(*flags: str) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--mount", *user, *flags]


def _pdeathsig() -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def _joined(peer: Running | None, argv: list[str]) -> list[str]:
    if peer is None:
        return argv
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={peer.init_pid}", "--net", *user, "--", *argv]


def _succeeds(argv: Sequence[str]) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _first_child(process: subprocess.Popen[bytes]) -> int | None:
    """Return the namespace's first process, once ``unshare`` has forked it."""
    waiting = queue.SimpleQueue[None]()
    for _ in range(200):
        try:
            children = psutil.Process(process.pid).children()
        except psutil.NoSuchProcess:
            return None
        if children:
            return children[0].pid
        if process.poll() is not None:
            return None
        try:
            waiting.get(timeout=0.005)
        except queue.Empty:
            continue
    return None


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has set a handler for the signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    mask = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _read(stream: IO[bytes], on_line: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
