"""Run the Azure plane: python -m lab.azure --port N --home DIR."""

from __future__ import annotations

import argparse
import logging
import socket
from pathlib import Path

import uvicorn

from lab.azure.app import application
from lab.azure.plane import Plane


def main(argv: list[str] | None = None) -> None:
    """Serve on 127.0.0.1 until SIGTERM. Port 0 takes a free one and prints it."""
    parser = argparse.ArgumentParser(prog="python -m lab.azure")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--home", type=Path, required=True, help="the folder that keeps the plane's data"
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    port = int(listener.getsockname()[1])
    plane = Plane(options.home)
    plane.start(f"http://127.0.0.1:{port}")
    print(f"azure plane on http://127.0.0.1:{port}", flush=True)
    config = uvicorn.Config(
        application(plane), log_level="warning", timeout_graceful_shutdown=3, access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
