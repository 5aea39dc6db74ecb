"""Keeps secrets out of whatever is shown: by the property's name, and by the value's shape.

Pulumi masks what it was told is secret; everything else is in clear in a preview: keys in user data, tokens in
environment variables, connection strings in outputs. A name or a shape that looks like a secret is masked too,
so some values that are none are hidden with them; that is the side to err on in a pull request.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from functools import lru_cache
from typing import Any

SECRET = "[secret]"  # noqa: S105 - what is shown in a secret's place

# Whole words of a camelCase, snake_case or kebab-case name.
_SECRET_WORDS = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase)?s?|pwd|secrets?|tokens?|credentials?|authorization|cookie"
    r"|(?:api|access|account|private|primary|secondary|shared|storage|signing|encryption|auth|admin|host|master|ssh)_?keys?"
    r"|connection_?strings?|sas|private_key\w*|client_?secret\w*|keydata|kubeconfig|pem)(?:_|$)"
)
# Names that hold such a word and are no secret: they point at one, or say something of it.
_POINTER_WORDS = re.compile(
    r"(?:_|^)(?:arns?|ids?|names?|uris?|urls?|type|enabled|disabled|length|version|days?|seconds|minutes|hours|count|mode|"
    r"policy|rotation|status|expiry|expiration|public|allow\w*|disable\w*|enable\w*|require\w*|allowed|validity|algorithm|source)$"
    r"|^(?:allow|disable|enable|require|is|has|use)_|public_key|shared_key_access"
)

_SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"\beyJ[\w-]{8,}\.[\w-]{8,}\.?[\w-]*",
        r"\bgh[pousr]_\w{20,}\b|\bgithub_pat_\w{20,}\b|\bglpat-[\w-]{16,}",
        r"\bxox[abeoprs]-[\w-]{10,}|\bsk-[\w-]{20,}|\bhf_\w{20,}\b|\bAIza[\w-]{30,}|\bpul-[0-9a-f]{32,}",
        r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
        r"(?i)(?<=accountkey=)[\w+/=]{8,}|(?<=sharedaccesskey=)[\w+/=]{8,}|(?<=[?&]sig=)[\w%+/=-]{8,}",
        r"(?i)(?<=password=)[^\s;&\"']{3,}|(?<=pwd=)[^\s;&\"']{3,}|(?<=secret=)[^\s;&\"']{3,}|(?<=token=)[^\s;&\"']{6,}",
        r"(?i)(?<=authorization: )(?:basic|bearer) [\w.+/=-]+|(?<=\bbearer )[\w.+/=-]{16,}",
        r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)",
    )
)
# `export DB_PASSWORD=...`, `--api-key ...`, `"clientSecret": "..."` in scripts, user data and messages; also with the
# escaped quotes of JSON within JSON. Names are bounded, so that a text without end costs no more than its length.
_ASSIGNMENT = re.compile(
    r"(?i)(?P<left>(?<![\w./-])(?P<name>[\w.-]{0,100}?(?:password|passwd|passphrase|secret|token|credential|api[_-]?key"
    r"|access[_-]?key|private[_-]?key|account[_-]?key)[\w-]{0,100})(?:\\{0,8}[\"'])?"
    r"(?:\s*(?:=|:(?!:))\s*|(?<=\w)[ \t]+(?=\S)))"
    r"(?:(?P<quote>\\{0,8}[\"'])(?P<quoted>[^\n]*?)(?<!\\)(?P=quote)|(?P<bare>(?:[^\s\"'\\,;&}]|\\(?![\"']))+))"
)
_HINT = re.compile(r"(?i)pass|secret|token|credential|key")
# {"name": "DB_PASSWORD", "value": "..."} within a text, as in container definitions.
_NAMED_PAIR = re.compile(
    r"(?i)((\\{0,8}\")(?:name|key)\2\s*:\s*\2([\w.-]{1,100})\2\s*,\s*\2value\2\s*:\s*\2)[^\n]*?(?<!\\)\2"
)
_LONG_WORD = re.compile(r"[A-Za-z0-9+/_=-]{32,}")


def is_secret_name(name: str) -> bool:
    """Say whether a property's name promises a secret: ``dbPassword`` does, ``passwordLength`` does not."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")
    return bool(_SECRET_WORDS.search(snake)) and not _POINTER_WORDS.search(snake)


def mask_text(text: str) -> str:
    """Return the text with everything in it that is shaped like a secret replaced by ``[secret]``."""
    return _masked(text) if len(text) > _CACHED_LENGTH else _masked_once(text)


def _masked(text: str) -> str:
    for shape in _SHAPES:
        text = shape.sub(SECRET, text)
    # Most texts have none of these words, and the pattern tries at every one of their letters.
    if _HINT.search(text):
        text = _ASSIGNMENT.sub(_mask_assignment, text)
    text = _NAMED_PAIR.sub(
        lambda match: f"{match[1]}{SECRET}{match[2]}" if is_secret_name(match[3]) else match[0],
        text,
    )
    return _LONG_WORD.sub(lambda match: SECRET if _is_random(match[0]) else match[0], text)


# A preview says the same types, names and settings over and over.
_CACHED_LENGTH = 2_000
_masked_once = lru_cache(maxsize=8_000)(_masked)


def mask_value(value: Any, *, name: str = "") -> Any:
    """Return a JSON value with its secrets replaced, at any depth. ``name`` is the property that holds it."""
    if (
        name
        and is_secret_name(name)
        and value not in (None, "", True, False)
        and not _is_empty(value)
    ):
        return SECRET
    if isinstance(value, dict):
        pair = named_pair(value)
        if pair is not None:
            return {key: SECRET if key == pair else mask_value(item) for key, item in value.items()}
        return {key: mask_value(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [mask_value(item) for item in value]
    return _mask_string(value) if isinstance(value, str) else value


def mask_fields(item: Any) -> Any:
    """Return a finding, or a tuple or list of them, with every text in it masked, at any depth.

    A finding quotes names and values of the preview, each of which may be a secret by mistake.
    """
    if isinstance(item, str):
        return mask_text(item)
    if isinstance(item, list | tuple):
        return type(item)(mask_fields(part) for part in item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        names = (field.name for field in dataclasses.fields(item))
        return dataclasses.replace(
            item, **{name: mask_fields(getattr(item, name)) for name in names}
        )
    return item


def _mask_string(text: str) -> str:
    """JSON within a string, as container definitions are, is masked by its own names."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return mask_text(text)
        masked = mask_value(document)
        if masked != document:
            return json.dumps(masked)
    return mask_text(text)


def named_pair(value: Any) -> str | None:
    """Return ``value`` for {"name": "DB_PASSWORD", "value": ...}: an environment variable in a container's list."""
    if not isinstance(value, dict):
        return None
    label = value.get("name", value.get("key"))
    if isinstance(label, str) and "value" in value and is_secret_name(label):
        return "value"
    return None


def _mask_assignment(match: re.Match[str]) -> str:
    left, name = match["left"], match["name"]
    quote, value = match["quote"] or "", match["quoted"] or match["bare"] or ""
    # A space assigns only after a flag; in a sentence it parts two words.
    if not name.startswith("-") and not re.search("[=:]", left[left.index(name) + len(name) :]):
        return match[0]
    if not is_secret_name(name.rpartition(".")[2]) or value in ("", SECRET, "true", "false"):
        return match[0]
    return f"{left}{quote}{SECRET}{quote}"


def _is_empty(value: Any) -> bool:
    return isinstance(value, dict | list) and not value


def _is_random(word: str) -> bool:
    """Letters of both cases and digits, mixed with no word among them: a key. Hashes and ids are of one case."""
    if not all(re.search(pattern, word) for pattern in ("[A-Z]", "[a-z]", "[0-9]")):
        return False
    if (
        re.search("[a-z]{6}", word)
        or len(re.findall("[a-z][A-Z0-9]|[A-Z0-9][a-z]", word)) < len(word) / 7
    ):
        return False
    counts = Counter(word)
    return -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values()) > 4
