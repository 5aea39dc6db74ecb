"""Draws a review as GitHub shows it: ``python docs/review_image.py REVIEW.md docs/images/review.png``.

Needs chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt

_STYLE = """
body { font: 14px/1.5 -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif; 
  color: #1f2328; background: #fff; margin: 0; padding: 24px; }
main { max-width: 920px; border: 1px solid #d1d9e0; border-radius: 6px; padding: 16px 24px; }
h2 { font-size: 1.4em; border-bottom: 1px solid #d1d9e0b3; padding-bottom: .3em; margin: 0 0 12px; }
h3 { font-size: 1.15em; margin: 20px 0 8px; }
ul { padding-left: 2em; margin: 0 0 12px; } li + li { margin-top: 4px; }
code { font: 85% ui-monospace, "DejaVu Sans Mono", Menlo, monospace; background: #818b981f; border-radius: 6px;
  padding: .2em .4em;  overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 13px; margin: 0 0 12px; }
th, td { border: 1px solid #d1d9e0; padding: 5px 11px; } tr:nth-child(2n) { background: #f6f8fa; }
details { margin: 12px 0; } summary { cursor: pointer; } sub { color: #59636e; }
"""


def main(source: Path, target: Path) -> None:
    """Render one Markdown file to a PNG. Raises FileNotFoundError where there is no chromium."""
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        raise FileNotFoundError("no chromium on PATH; install it with: apt-get install chromium")
    body = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(
        source.read_text("utf-8")
    )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "review.html"
        page.write_text(
            f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style><main>{body}</main>',
            encoding="utf-8",
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1010,1500",
             f"--user-data-dir={folder}/profile", f"--screenshot={target.resolve()}", page.as_uri()],
            check=True,
            capture_output=True,
            timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
