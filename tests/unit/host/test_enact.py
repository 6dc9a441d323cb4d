"""What is asked of a host when an attempt is started."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.host.enact import Origin, launch
from reconciler.model.enums import ActionKind, Reason
from reconciler.model.plan import Launch
from tests.unit import factories as make

COMMIT = "a" * 40
TREE = f"/state/snapshots/0123456789ab/{COMMIT}"


class Host:
    """It notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        return {"launched": True}


def launched(host: Host, pin: str, snapshot: str | None, tree: str) -> tuple[bool, str]:
    record = make.attempt(pin=pin)
    action = Launch(
        kind=ActionKind.LAUNCH, job="p/a", attempt=1, reason=Reason.NEW_IN_SPEC, message="", host="local", record=record
    )
    project = make.project(make.job(), snapshot=snapshot)
    outcome = launch(host, "/state", action, make.job(), project, Origin(tree=tree)).outcome()
    return outcome.ok, outcome.kind


def test_it_is_started_in_the_work_tree_of_its_commit() -> None:
    host = Host()
    assert launched(host, f"{COMMIT} g1 0 ", "", TREE) == (True, "")
    (request,) = host.asked
    assert f"cd -- {TREE}" in request["job_sh"]
    assert (request["intent"]["cwd"], request["intent"]["commit"]) == (TREE, COMMIT)


@pytest.mark.parametrize(
    ("pin", "snapshot"), [(f"{COMMIT} g1 0 ", ""), (f"{COMMIT} g1 0 ", None), ("", "")], ids=["both", "record", "spec"]
)
def test_without_a_work_tree_it_never_runs_what_may_be_edited_just_now(pin: str, snapshot: str | None) -> None:
    host = Host()
    assert launched(host, pin, snapshot, "") == (False, "refused")
    assert host.asked == []


def test_without_snapshot_it_is_started_in_its_folder() -> None:
    host = Host()
    assert launched(host, "", None, "") == (True, "")
    assert "snapshot" not in host.asked[0]
