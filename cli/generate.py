"""``make docs``: write every generated file again. Tests hold the committed ones to the code."""

from __future__ import annotations

import json
from pathlib import Path

from infra import reference
from lab.home import write_atomically
from policy import reference as policy_reference
from training import job
from training import reference as job_reference

ROOT = Path(__file__).resolve().parent.parent


def files() -> dict[str, str]:
    """Return the text of each generated file, by its path below the repository."""
    schema = json.dumps(job.json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        **reference.files(),
        "training/job.schema.json": schema,
        "docs/jobs.md": job_reference.page(),
        "docs/policy.md": policy_reference.page(),
    }


def main() -> None:
    """Write what differs and say so."""
    for name, text in files().items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
            path.chmod(0o644)
            print(name)


if __name__ == "__main__":
    main()
