"""An unmodified script reaches the local Azure by its real host names, through the lab's proxy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.home import CLIENT_ID, CLIENT_SECRET, SUBSCRIPTION_ID, TENANT_ID
from tests.lab_azure.azure_server import Server, deploy

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = f"""\
import pathlib, warnings
warnings.simplefilter("ignore")
from azure.ai.ml import MLClient, command, Output
from azure.identity import DefaultAzureCredential

pathlib.Path("src").mkdir()
pathlib.Path("src/train.py").write_text(
    "import sys, pathlib, time; time.sleep(1); print('trained')\\n"
    "pathlib.Path(sys.argv[1], 'model').write_text('weights')")
ml = MLClient(DefaultAzureCredential(), "{SUBSCRIPTION_ID}", "rg", "workspace")
job = ml.jobs.create_or_update(command(
    code="src", command="python train.py ${{{{outputs.model}}}}", outputs={{"model": Output(type="uri_folder")}},
    environment="azureml:base:1", compute="cpu"))
ml.jobs.stream(job.name)
ml.jobs.download(job.name, download_path="got", output_name="model")
print("downloaded", pathlib.Path("got/named-outputs/model/model").read_text())
"""


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plane = server.url.rsplit(":", 1)[1]
    arguments = [
        "--port",
        str(port),
        "--home",
        str(tmp_path),
        "--aws-port",
        plane,
        "--azure-port",
        plane,
    ]
    process = subprocess.Popen([sys.executable, "-m", "lab.proxy", *arguments], cwd=ROOT)
    try:
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end, "the proxy does not listen"
            time.sleep(0.05)
        authority = next(
            path for path in tmp_path.rglob("*.pem") if b"BEGIN CERT" in path.read_bytes()
        )
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "https_proxy": f"http://127.0.0.1:{port}",
            "REQUESTS_CA_BUNDLE": str(authority),
        }
    finally:
        process.terminate()
        process.wait(10)


def test_a_script_with_no_change_submits_streams_and_downloads(
    server: Server, proxy: dict[str, str], tmp_path: Path
) -> None:
    deploy(server, by_identity=True)
    (tmp_path / "work").mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if k.lower() not in ("no_proxy", "curl_ca_bundle")},
        **proxy,
        "AZURE_TENANT_ID": TENANT_ID,
        "AZURE_CLIENT_ID": CLIENT_ID,
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "AZUREML_RUN_POLLING_INTERVAL_MIN": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "trained" in done.stdout
    assert "downloaded weights" in done.stdout
