"""Runs the user's program in this process: its ``__main__.py``, with the unmodified SDK."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.engine.events import Emitter
from lab.engine.monitor import EngineService, Monitor
from lab.engine.step_generator import BailError


class _Lines(io.TextIOBase):
    """Turns what is written into diagnostics, line by line."""

    def __init__(self, write_line: Callable[[str], None], closed: Callable[[], bool]) -> None:
        self._write_line = write_line
        self._is_silent = closed
        self._rest = ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._emit(line)
        return len(text)

    def finish(self) -> None:
        rest, self._rest = self._rest, ""
        if rest:
            self._emit(rest)

    def _emit(self, line: str) -> None:
        if not self._is_silent():
            self._write_line(line)


class Program:
    """The program of a folder. Several can run one after another in a process; two at once cannot."""

    def __init__(
        self,
        folder: Path,
        *,
        project: str,
        stack: str,
        organization: str,
        config: dict[str, str],
        secret_keys: list[str],
        dry_run: bool,
        parallel: int,
        emitter: Emitter,
        main: Callable[[], Any] | None = None,
    ) -> None:
        """``main`` is run in place of the folder's ``__main__.py``, for programs that are a function."""
        self._folder = folder
        self._project = project
        self._stack = stack
        self._organization = organization
        self._config = config
        self._secret_keys = secret_keys
        self._dry_run = dry_run
        self._parallel = parallel
        self._emitter = emitter
        self._main = main

    def start(
        self, monitor: Monitor, service: EngineService, finished: Callable[[Any], None]
    ) -> Callable[[], None]:
        """Start the program in a thread. Returns what waits for its end."""

        def target() -> None:
            # A context of its own, so that nothing of the SDK's settings stays in the process.
            contextvars.Context().run(self._run, monitor, service, finished)

        thread = threading.Thread(target=target, daemon=True, name="program")
        thread.start()
        return thread.join

    def _run(
        self, monitor: Monitor, service: EngineService, finished: Callable[[Any], None]
    ) -> None:
        error: Exception | None = None
        try:
            with _as_main_program(self._folder), self._captured(service):
                error = self._run_in_stack(monitor, service)
        except BaseException as problem:  # whatever it is, the deployment must hear of the end
            error = RuntimeError(f"an unhandled error occurred: {problem}")
        if error is not None:
            finished(("finished", error))

    @contextmanager
    def _captured(self, service: EngineService) -> Generator[None, None, None]:
        """Show what the program prints as the run's messages."""
        emitter = self._emitter
        out = _Lines(lambda line: emitter.info(f"{line}\n"), lambda: service.is_closed)
        err = _Lines(
            lambda line: emitter.diagnostic("info#err", f"{line}\n"), lambda: service.is_closed
        )
        kept = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept
            out.finish()
            err.finish()

    def _run_in_stack(self, monitor: Monitor, service: EngineService) -> Exception | None:
        import pulumi
        import pulumi.runtime

        pulumi.runtime.set_all_config(self._config, self._secret_keys)
        settings = pulumi.runtime.Settings(
            project=self._project,
            stack=self._stack,
            monitor=monitor,
            engine=service,
            parallel=self._parallel,
            dry_run=self._dry_run,
            organization=self._organization,
            root_directory=str(self._folder),
        )
        pulumi.runtime.configure(settings)
        pulumi.runtime.settings.ROOT.set(None)
        # What is left unfinished after a failure is meant to be: the SDK's own launcher says nothing of it.
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        asyncio.set_event_loop(loop)
        executor = ThreadPoolExecutor(max_workers=max(self._parallel, 1) * 4)
        loop.set_default_executor(executor)
        path = str(self._folder / "__main__.py")

        def run() -> Any:
            if self._main is not None:
                return self._main()
            runpy.run_path(path, run_name="__main__")
            return None

        try:
            loop.run_until_complete(pulumi.runtime.run_in_stack(run))
        except pulumi.RunError as error:
            pulumi.log.error(str(error))
            return RuntimeError(
                "an unhandled error occurred: program exited with non-zero exit code: 1"
            )
        except SystemExit as error:
            if error.code in (None, 0):
                monitor._post(("finished", None))
                return None
            code = error.code
            if not isinstance(code, int):  # a text, which Python prints
                self._emitter.diagnostic("info#err", f"{code}\n")
                code = 1
            return RuntimeError(
                f"an unhandled error occurred: program exited with non-zero exit code: {code}"
            )
        except Exception:  # the program may raise anything
            pulumi.log.error(
                f"Program failed with an unhandled exception:\n{_user_traceback(path)}"
            )
            return BailError("run bailed")
        finally:
            executor.shutdown(wait=True)
            _cancel_rest(loop)
            loop.close()
            asyncio.set_event_loop(None)
        return None


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _user_traceback(path: str) -> str:
    """Return the current exception's traceback, from the user's program on."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    for index, frame in enumerate(frames):
        if os.path.abspath(frame.filename) == path:  # noqa: PTH100  frames have plain names
            return traceback.format_exc(limit=-(len(frames) - index))
    return traceback.format_exc()


@contextmanager
def _as_main_program(folder: Path) -> Generator[None, None, None]:
    """Let a folder's program see what it would see in a process of its own, and take it all back."""
    cwd, argv, search_path = Path.cwd(), sys.argv, list(sys.path)
    modules = set(sys.modules)
    main_module = sys.modules.get("__main__")
    os.chdir(folder)
    sys.argv = [str(folder / "__main__.py")]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.argv, sys.path[:] = argv, search_path
        if main_module is not None:
            sys.modules["__main__"] = main_module
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and _is_program_module(file, folder):
                del sys.modules[name]


def _is_program_module(file: str, folder: Path) -> bool:
    """Tell whether a module is the program's own, which another program must not find loaded."""
    # By the text alone, as the folder came into the search path: an SDK has thousands of modules.
    return file.startswith(f"{folder}{os.sep}") and "/site-packages/" not in file
