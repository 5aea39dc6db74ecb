"""A client of the lab's Resource Manager: tokens, JSON, long-running operations, and errors in one line."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from lab.home import CLIENT_ID, CLIENT_SECRET, TENANT_ID, LabError, require_loopback

_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.1


class AzureNativeError(LabError):
    """The lab's Azure refused a call, or the provider was asked for what it does not do."""


class ArmClient:
    """Calls the Resource Manager at $ARM_ENDPOINT, which must be on this machine. Safe in several threads."""

    def __init__(self) -> None:
        endpoint = os.environ.get("ARM_ENDPOINT")
        if not endpoint:
            raise AzureNativeError(
                "ARM_ENDPOINT is not set: the lab's azure-native provider deploys to the lab only. "
                "Start it with: trainstack lab start"
            )
        self._base = require_loopback(endpoint).rstrip("/")
        self._connections = urllib3.PoolManager(maxsize=32, retries=False, timeout=_TIMEOUT_SECONDS)
        self._lock = threading.Lock()
        self._token = ""
        self._token_until = 0.0

    def get(self, path: str, api_version: str) -> dict[str, Any] | None:
        """Return a document, or None where there is none."""
        answer = self._send("GET", path, {"api-version": api_version})
        if answer.status == 404:
            return None
        return self._checked(answer).json()

    def put(
        self, path: str, api_version: str, body: Mapping[str, Any], query: Mapping[str, str]
    ) -> None:
        """Create or replace, and wait until it is done."""
        answer = self._checked(self._send("PUT", path, {"api-version": api_version, **query}, body))
        self._wait(answer)

    def delete(self, path: str, api_version: str) -> None:
        """Delete, and wait until it is done. What is gone is deleted already."""
        answer = self._send("DELETE", path, {"api-version": api_version})
        if answer.status != 404:
            self._wait(self._checked(answer))

    def token(self) -> str:
        """Return a token for Resource Manager, from the client id and secret in the environment."""
        with self._lock:
            if time.time() > self._token_until:
                form = {
                    "grant_type": "client_credentials",
                    "client_id": os.environ.get("AZURE_CLIENT_ID") or CLIENT_ID,
                    "client_secret": os.environ.get("AZURE_CLIENT_SECRET") or CLIENT_SECRET,
                    "scope": "https://management.azure.com/.default",
                }
                tenant = os.environ.get("AZURE_TENANT_ID") or TENANT_ID
                answer = self._request(
                    "POST",
                    f"{self._base}/{tenant}/oauth2/v2.0/token",
                    body=urlencode(form),
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                )
                if answer.status != 200:
                    raise AzureNativeError(
                        f"signing in to the lab's Azure failed: {answer.json().get('error_description')}"
                    )
                self._token = answer.json()["access_token"]
                self._token_until = time.time() + answer.json()["expires_in"] - 300
            return self._token

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        url = path if path.startswith(self._base) else f"{self._base}{quote(path)}"
        if query:
            url = f"{url}?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self._request(method, url, json=body, headers=headers)

    def _request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            return self._connections.request(method, url, **options)
        except urllib3.exceptions.HTTPError as error:
            raise AzureNativeError(
                f"the lab's Azure at {self._base} does not answer. Look at: trainstack lab status"
            ) from error

    def _wait(self, answer: urllib3.BaseHTTPResponse) -> None:
        url = answer.headers.get("Azure-AsyncOperation") or (
            answer.headers.get("Location") if answer.status == 202 else None
        )
        while url:
            poll = self._checked(self._send("GET", url, {}))
            status = poll.json().get("status", "Succeeded") if poll.data else "Succeeded"
            if poll.status != 202 and status == "Succeeded":
                return
            if status in ("Failed", "Canceled"):
                raise AzureNativeError(f"the operation ended as {status}: {poll.data.decode()}")
            time.sleep(float(poll.headers.get("Retry-After") or _POLL_SECONDS))

    def _checked(self, answer: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
        if answer.status < 400:
            return answer
        try:
            error = answer.json()["error"]
            told = f'Code="{error["code"]}" Message="{error["message"]}"'
        except (ValueError, KeyError, TypeError):
            told = answer.data.decode(errors="replace")[:500]
        raise AzureNativeError(f"Status={answer.status} {told}")
