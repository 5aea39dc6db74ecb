"""Secrets at rest, in Pulumi's passphrase format: PBKDF2-HMAC-SHA256 and AES-256-GCM."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets as random_secrets
import threading
from pathlib import Path
from typing import Any

from lab.home import LabError, write_atomically

ROUNDS = 1_000_000
_keys: dict[tuple[str, bytes], bytes] = {}
_keys_lock = threading.Lock()
# Where the keys of a passphrase of our own making are kept. It is long and random and stands in a file beside, so
# the slow derivation protects nothing that reading the file would not give, and costs half a second a run.
_key_files: dict[str, Path] = {}


class SecretsError(LabError):
    """A secret of the state cannot be read."""


def find_passphrase(state_path: Path) -> str:
    """Return the passphrase: $PULUMI_CONFIG_PASSPHRASE, its file, or one made once beside the state."""
    if "PULUMI_CONFIG_PASSPHRASE" in os.environ:
        return os.environ["PULUMI_CONFIG_PASSPHRASE"]
    if file := os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    path = state_path.parent / ".passphrase"
    passphrase = _read_or_make(path)
    _key_files[passphrase] = path.with_name(".passphrase-keys")
    return passphrase


def _read_or_make(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    passphrase = random_secrets.token_urlsafe(24)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(passphrase + "\n")
    return passphrase


def _derive(passphrase: str, salt: bytes) -> bytes:
    """Return the key. It takes about half a second, so it is made once a process, or kept."""
    with _keys_lock:
        key = _keys.get((passphrase, salt))
        if key is None:
            kept = _read_keys(_key_files.get(passphrase))
            name = salt.hex()
            if name not in kept:
                made = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ROUNDS, 32)
                kept[name] = made.hex()
                if passphrase in _key_files:
                    write_atomically(
                        _key_files[passphrase], json.dumps(kept)
                    )  # readable by its owner alone
            key = _keys[passphrase, salt] = bytes.fromhex(kept[name])
        return key


def _read_keys(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


class PassphraseSecrets:
    """Encrypts and decrypts the secrets of one state. The key is derived when it is first needed."""

    def __init__(self, passphrase: str, state: str | None = None) -> None:
        """``state`` is the salt string of the checkpoint; without it a new salt is made. Raises SecretsError."""
        self._passphrase = passphrase
        self._check: str | None = None
        if state is None:
            self._salt = os.urandom(8)
            self._state: str | None = None
        else:
            parts = state.split(":", 2)
            if len(parts) != 3 or parts[0] != "v1":
                raise SecretsError("the state's secrets salt is malformed; restore the state file")
            self._salt = base64.b64decode(parts[1])
            self._check = parts[2]
            self._state = state

    @property
    def state(self) -> str:
        """The salt string for the checkpoint."""
        if self._state is None:
            token = self._seal("pulumi")
            self._state = f"v1:{base64.b64encode(self._salt).decode()}:{token}"
        return self._state

    def provider(self) -> dict[str, Any]:
        return {"type": "passphrase", "state": {"salt": self.state}}

    def prepare(self) -> None:
        """Start to derive the key, so that it is there when it is needed."""
        threading.Thread(
            target=_derive, args=(self._passphrase, self._salt), daemon=True, name="derive-key"
        ).start()

    def encrypt(self, plaintext: str) -> str:
        return self._seal(plaintext)

    def decrypt(self, ciphertext: str) -> str:
        """Raises SecretsError where the passphrase is wrong."""
        if self._check is not None:
            check, self._check = self._check, None
            self._open(check)
        return self._open(ciphertext)

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(_derive(self._passphrase, self._salt))

    def _seal(self, plaintext: str) -> str:
        nonce = os.urandom(12)
        sealed = self._cipher().encrypt(nonce, plaintext.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def _open(self, token: str) -> str:
        from cryptography.exceptions import InvalidTag

        parts = token.split(":")
        if len(parts) != 3 or parts[0] != "v1":
            raise SecretsError("a secret in the state is malformed; restore the state file")
        nonce, sealed = base64.b64decode(parts[1]), base64.b64decode(parts[2])
        try:
            return self._cipher().decrypt(nonce, sealed, None).decode()
        except InvalidTag:
            raise SecretsError(
                "incorrect passphrase; set PULUMI_CONFIG_PASSPHRASE to the one this state was made with"
            ) from None
