"""Which requests make sense."""

from __future__ import annotations

import pytest

from reconciler.cli.exits import CliError
from reconciler.cli.wishes import Wishes, names_of, wishes
from reconciler.model.enums import JobStatus, Reason, RequestKind
from reconciler.model.ledger import JobRecord
from tests.unit.cli.worlds import snapshot, state

RETRY, STOP, PAUSE, RESUME = RequestKind.RETRY, RequestKind.STOP, RequestKind.PAUSE, RequestKind.RESUME

WORLD = snapshot(
    [
        state("a/waits", JobStatus.PENDING, Reason.NO_FREE_SLOT),
        state("a/runs", JobStatus.RUNNING, Reason.RUNNING, 2),
        state("a/done", JobStatus.COMPLETED, Reason.SUCCEEDED, 1),
        state("a/stuck", JobStatus.STUCK, Reason.CODE_ERROR, 1),
        state("a/oom", JobStatus.FAILED_OOM, Reason.GPU_OUT_OF_MEMORY, 1),
        state("a/stopped", JobStatus.STUCK, Reason.STOPPED_BY_USER, 1),
        state("a/empty", JobStatus.STUCK, Reason.NO_COMMAND),
        state("b/held", JobStatus.PENDING, Reason.PAUSED),
        state("b/done", JobStatus.COMPLETED, Reason.SUCCEEDED, 1),
        state("c/one", JobStatus.PENDING, Reason.PAUSED),
        state("c/two", JobStatus.PENDING, Reason.NO_FREE_SLOT),
        state("a/orphan", JobStatus.RUNNING, Reason.ORPHAN, 1),
    ],
    records={"a/stopped": JobRecord("a/stopped", stopped_by="ann@box"), "old/gone": JobRecord("old/gone")},
    paused=["b", "c/one", "left"],
    orphans=["a/orphan"],
)


@pytest.mark.parametrize(
    ("kind", "word", "targets"),
    [
        (RETRY, "stuck", ("a/stuck",)),
        (RETRY, "oom", ("a/oom",)),
        (RETRY, "stopped", ("a/stopped",)),
        (RETRY, "a", ("a/stuck", "a/oom", "a/stopped")),
        (RETRY, "a/st*", ("a/stuck", "a/stopped")),
        (STOP, "waits", ("a/waits",)),
        (STOP, "runs", ("a/runs",)),
        (STOP, "oom", ("a/oom",)),
        (STOP, "orphan", ("a/orphan",)),
        (STOP, "a", ("a/waits", "a/runs", "a/oom", "a/orphan")),
        (PAUSE, "a", ("a",)),
        (PAUSE, "runs", ("a/runs",)),
        (PAUSE, "a/o*", ("a/oom", "a/orphan")),
        (RESUME, "b", ("b",)),
        (RESUME, "c/one", ("c/one",)),
        # resuming a project lifts the pauses of its jobs too
        (RESUME, "c", ("c/one",)),
        # a project that left the specs can still be resumed
        (RESUME, "left", ("left",)),
    ],
)
def test_asked_for(kind: RequestKind, word: str, targets: tuple[str, ...]) -> None:
    assert wishes(kind, [word], WORLD) == Wishes(targets)


@pytest.mark.parametrize(
    ("kind", "word", "message", "done"),
    [
        (RETRY, "runs", "is running (attempt 2)", False),
        (RETRY, "a/done", "is completed", False),
        (RETRY, "waits", "has not failed, it is pending (NoFreeSlot): message of NoFreeSlot", False),
        (RETRY, "empty", "has no command", False),
        (RETRY, "orphan", "is in no spec any more", False),
        (RETRY, "gone", "is in no spec any more", False),
        (RETRY, "b", "nothing to retry (none of its 2 jobs can be): b/held", False),
        (STOP, "a/done", "is completed", False),
        (STOP, "stopped", "is stopped already, by ann@box", True),
        (STOP, "stuck", "is stuck", True),
        (STOP, "gone", "nothing of it runs", False),
        (STOP, "*done", "nothing to stop", True),
        (PAUSE, "b", "is paused already", True),
        (PAUSE, "held", "is paused already, with all of b", True),
        (PAUSE, "c/one", "is paused already", True),
        (PAUSE, "a/done", "is completed", False),
        (PAUSE, "gone", "is in no spec any more", False),
        (RESUME, "a", "is not paused", True),
        (RESUME, "waits", "is not paused", True),
        (RESUME, "held", "exq resume b", False),
    ],
)
def test_refused(kind: RequestKind, word: str, message: str, done: bool) -> None:
    found = wishes(kind, [word], WORLD)
    assert not found.targets
    (refused,) = found.refused
    assert message in refused.message
    assert refused.done is done


@pytest.mark.parametrize(("kind", "targets"), [(PAUSE, ("a", "c")), (RESUME, ("b", "c/one", "left"))])
def test_everything(kind: RequestKind, targets: tuple[str, ...]) -> None:
    assert wishes(kind, [], WORLD) == Wishes(targets)


def test_what_can_be_done_is_done_and_the_rest_refused() -> None:
    found = wishes(RETRY, ["stuck", "runs", "a/stuck"], WORLD)
    assert found.targets == ("a/stuck",)
    assert [item.target for item in found.refused] == ["a/runs"]


def test_one_unknown_name_asks_for_nothing() -> None:
    with pytest.raises(CliError, match="there is no job 'stukc'") as caught:
        wishes(RETRY, ["oom", "stukc"], WORLD)
    assert "a/stuck" in caught.value.hint


def test_names_hold_what_only_the_ledger_knows() -> None:
    names = names_of(WORLD)
    assert names.former == ("old/gone",)
    assert "a/orphan" in names.current
    assert names.projects == ("a", "b", "c", "left")
