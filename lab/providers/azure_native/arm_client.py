"""A client of the lab's Resource Manager: tokens, JSON, long-running operations, and errors in one line."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests

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
        self._local = threading.local()
        self._lock = threading.Lock()
        self._token = ""
        self._token_until = 0.0

    def get(self, path: str, api_version: str) -> dict[str, Any] | None:
        """Return a document, or None where there is none."""
        answer = self._send("GET", path, {"api-version": api_version})
        if answer.status_code == 404:
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
        if answer.status_code != 404:
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
                answer = self._session().post(
                    f"{self._base}/{tenant}/oauth2/v2.0/token", data=form, timeout=_TIMEOUT_SECONDS
                )
                if answer.status_code != 200:
                    raise AzureNativeError(
                        f"signing in to the lab's Azure failed: {answer.json().get('error_description')}"
                    )
                self._token = answer.json()["access_token"]
                self._token_until = time.time() + answer.json()["expires_in"] - 300
            return self._token

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = (
                False  # the lab is reached directly, not through a proxy
            )
        return self._local.session

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        url = path if path.startswith(self._base) else f"{self._base}{path}"
        try:
            return self._session().request(
                method,
                url,
                params=dict(query),
                json=body,
                headers={"Authorization": f"Bearer {self.token()}"},
                timeout=_TIMEOUT_SECONDS,
            )
        except requests.ConnectionError as error:
            raise AzureNativeError(
                f"the lab's Azure at {self._base} does not answer. Look at: trainstack lab status"
            ) from error

    def _wait(self, answer: requests.Response) -> None:
        url = answer.headers.get("Azure-AsyncOperation") or (
            answer.headers.get("Location") if answer.status_code == 202 else None
        )
        while url:
            poll = self._checked(self._send("GET", url, {}))
            status = poll.json().get("status", "Succeeded") if poll.content else "Succeeded"
            if poll.status_code != 202 and status == "Succeeded":
                return
            if status in ("Failed", "Canceled"):
                raise AzureNativeError(f"the operation ended as {status}: {poll.text}")
            time.sleep(float(poll.headers.get("Retry-After") or _POLL_SECONDS))

    def _checked(self, answer: requests.Response) -> requests.Response:
        if answer.status_code < 400:
            return answer
        try:
            error = answer.json()["error"]
            told = f'Code="{error["code"]}" Message="{error["message"]}"'
        except (ValueError, KeyError, TypeError):
            told = answer.text[:500]
        raise AzureNativeError(f"Status={answer.status_code} {told}")
