"""Find likely secrets in a source file before it leaves the machine.

Shapes of keys that services document, not entropy: a finding should be worth stopping for. A line that ends in
``pragma: allowlist secret`` (detect-secrets' mark) is let through. A finding never holds the secret itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

ALLOW_MARK = b"pragma: allowlist secret"
MAX_SCANNED_BYTES = 2_000_000  # beyond this a file is data, not a place where keys are typed

_SHAPES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("a private key", rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        ("an AWS access key id", rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
        (
            "an AWS secret access key",
            rb"(?i)aws.{0,20}secret.{0,20}['\"\s:=]([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        ),
        ("an Azure storage account key", rb"(?i)AccountKey\s*=\s*[A-Za-z0-9+/]{86}=="),
        ("an Azure SAS signature", rb"[?&]sv=20\d\d-[^\s'\"]*[?&]sig=[A-Za-z0-9%+/]{40,}"),
        (
            "an Azure client secret",
            rb"(?<![A-Za-z0-9_~.\-])[A-Za-z0-9_~.\-]{3}[78]Q~[A-Za-z0-9_~.\-]{31,34}",
        ),
        ("a GitHub token", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
        ("a GitLab token", rb"\bglpat-[A-Za-z0-9_\-]{20,}"),
        ("a Hugging Face token", rb"\bhf_[A-Za-z0-9]{30,}"),
        ("an OpenAI or Anthropic key", rb"\bsk-(?:proj-|ant-)?[A-Za-z0-9_\-]{32,}"),
        ("a Google API key", rb"\bAIza[A-Za-z0-9_\-]{35}"),
        ("a Slack token", rb"\bxox[abprs]-[A-Za-z0-9\-]{20,}"),
        ("an npm token", rb"\bnpm_[A-Za-z0-9]{36}"),
        ("a PyPI token", rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_\-]{50,}"),
        ("a Pulumi access token", rb"\bpul-[a-f0-9]{40}"),
        (
            "a Weights & Biases key",
            rb"(?i)wandb.{0,20}key.{0,5}['\"\s:=]([a-f0-9]{40})(?![a-f0-9])",
        ),
        (
            "a password in a URL",
            rb"\b[a-z][a-z0-9+.\-]{2,20}://[^\s/:@'\"]{1,64}:[^\s/:@'\"{}$<%]{6,128}@[A-Za-z0-9]",
        ),
    )
)
# The documented examples of the clouds' own manuals.
_EXAMPLES = re.compile(rb"EXAMPLE|Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq")

# Files that exist to hold a secret, whatever is in them.
_NAMES = {
    ".env": "an environment file",
    ".netrc": "a netrc file",
    ".pgpass": "a password file",
    ".pypirc": "a PyPI credentials file",
    ".git-credentials": "a git credentials file",
    "id_rsa": "an SSH key",
    "id_dsa": "an SSH key",
    "id_ecdsa": "an SSH key",
    "id_ed25519": "an SSH key",
    "kubeconfig": "a Kubernetes credentials file",
    "accesstokens.json": "an Azure credentials file",
    "service-account.json": "a service account's key file",
}
_SUFFIXES = {
    ".pfx": "a key store",
    ".p12": "a key store",
    ".jks": "a key store",
    ".kdbx": "a key store",
}
_FOLDERS = {
    (".aws", "credentials"): "an AWS credentials file",
    (".kube", "config"): "a Kubernetes credentials file",
}


@dataclass(frozen=True, order=True)
class Finding:
    """A place that looks like a secret; line 0 is the file as a whole."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" if self.line else f"{self.path}: {self.what}"


def find_secrets(path: str, content: bytes) -> Iterator[Finding]:
    """Yield what looks like a secret in one file, in order of lines."""
    posix = PurePosixPath(path)
    name = posix.name.lower()
    what = (
        _NAMES.get(name)
        or _SUFFIXES.get(posix.suffix.lower())
        or _FOLDERS.get(tuple(part.lower() for part in posix.parts[-2:]))
    )
    if name.startswith(".env.") and not name.endswith(
        (".example", ".sample", ".template", ".dist")
    ):
        what = "an environment file"
    if what:
        yield Finding(path, 0, what)
        return
    if len(content) > MAX_SCANNED_BYTES or b"\0" in content[:8192]:
        return
    for shape, pattern in _SHAPES:
        for match in pattern.finditer(content):
            start = content.rfind(b"\n", 0, match.start()) + 1
            end = content.find(b"\n", match.end())
            line = content[start : end if end >= 0 else len(content)]
            if ALLOW_MARK in line or _EXAMPLES.search(match.group()):
                continue
            yield Finding(path, content.count(b"\n", 0, match.start()) + 1, shape)
