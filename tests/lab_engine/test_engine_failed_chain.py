"""A chain of steps that breaks at its first step still answers the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.timeout(30)
def test_a_failed_delete_before_a_replacement_does_not_leave_the_program_waiting(
    make_lab: Any, thing: Any, tmp_path: Path
) -> None:
    lab = make_lab(tmp_path)

    def program(replaces: int) -> Any:
        def main() -> None:
            root = thing("root", {"replaces": replaces, "dbr": True})
            thing("leaf", {"from_root": root.out})
            thing("other", {"value": replaces})

        return main

    assert lab.up(program(0)).result.ok
    lab.cloud.failing = {("delete", "root")}
    ran = lab.up(program(1), continue_on_error=True)
    assert not ran.result.ok
    assert ("update", "other") in lab.cloud.calls, "what does not depend on the failure goes on"
    assert ("create", "root") not in lab.cloud.calls
    lab.cloud.failing = set()
    assert lab.up(program(1)).result.ok
    assert lab.cloud.names() == ["leaf", "other", "root"]
