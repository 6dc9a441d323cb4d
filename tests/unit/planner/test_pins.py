"""Snapshots: the commit of a job is chosen once, and what it runs from is made before it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import CodeFacts, HostView, Observed, SnapshotFacts, Unknown
from reconciler.model.ledger import JobRecord, Ledger, Verdict
from reconciler.model.needs import code_key, snapshot_key
from reconciler.model.plan import Plan
from reconciler.model.spec import Placement, Project, SpecError
from reconciler.planner.needs import needs, open_jobs
from reconciler.planner.pins import CODE_POLL_S, pin_for, pinned
from reconciler.planner.plan import plan
from tests.unit import factories as make

A, B = "a" * 40, "b" * 40
JOB = make.job("j", outputs=("out/j",))
DONE = Verdict(JobStatus.COMPLETED, Reason.SUCCEEDED, "exit 0", make.NOW)


def project(**changes: Any) -> Project:
    return make.project(JOB, **{"snapshot": "", **changes})


def view(
    code: CodeFacts | Unknown | None = None, snapshots: dict[str, SnapshotFacts | Unknown] | None = None, **more: Any
) -> HostView:
    host = more.pop("host", make.HOST)
    found = {code_key("", JOB.cwd): code} if code is not None else {}
    plain = HostView(host, make.NOW, boot_id=make.BOOT, asked=frozenset({JOB.key}), code=found)
    return replace(plain, snapshots=snapshots or {}, outputs={JOB.key: make.outputs("")}, **more)


def planned(wanted: Project, *views: HostView | Unknown, record: JobRecord | None = None, **more: Any) -> Plan:
    hosts = {placement.host: each for placement, each in zip(wanted.placements, views, strict=True)}
    ledger = Ledger(1, {record.key: record} if record is not None else {})
    return plan(replace(make.desired(wanted), **more), Observed(hosts), ledger, make.NOW)


def ready(commit: str = A) -> dict[str, SnapshotFacts | Unknown]:
    return {snapshot_key(commit, JOB.cwd): SnapshotFacts(f"/state/snapshots/x/{commit}", ready=True)}


def record(commit: str = A, wanted: Project | None = None, **changes: Any) -> JobRecord:
    blank = JobRecord(JOB.key)
    return replace(blank, pin=pin_for(commit, wanted or project(), JOB, blank), **changes)


def test_without_snapshot_nothing_is_chosen() -> None:
    found = planned(project(snapshot=None), view(CodeFacts("/r", A)))
    assert (found.pins, found.snapshots, len(found.actions)) == ({}, (), 1)
    assert found.actions[0].record.pin == ""  # type: ignore[attr-defined]


def test_the_newest_commit_is_chosen_and_made_before_the_launch() -> None:
    found = planned(project(), view(CodeFacts("/r", A)))
    assert found.pins == {JOB.key: record(A).pin}
    assert found.snapshots == ((make.HOST, JOB.cwd, A),)
    state = found.states[JOB.key]
    assert (found.actions, state.reason, state.status) == ((), Reason.SNAPSHOT_NOT_READY, JobStatus.PENDING)
    assert found.wake_at is not None and not found.settled


def test_what_was_chosen_stays_whatever_the_repository_has_now() -> None:
    found = planned(project(), view(CodeFacts("/r", B, ("x.py",)), ready(A)), record=record(A))
    (launch,) = found.actions
    assert found.pins == {}
    assert launch.record.pin == record(A).pin  # type: ignore[attr-defined]
    assert launch.message == f"new in spec, from commit {A[:12]}"
    assert found.snapshots == ()


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"pin": pin_for(A, project(), replace(JOB, generation="g0"), None)}, project()),
        ({"retry_after": 3}, project()),
        ({}, project(snapshot="main")),
    ],
    ids=["command", "retry", "ref"],
)
def test_another_wish_chooses_anew(changed: dict[str, Any], wanted: Project) -> None:
    old = replace(record(A), **changed)
    assert pinned(wanted, JOB, old) is None
    here = replace(view(), code={code_key(wanted.snapshot or "", JOB.cwd): CodeFacts("/r", B)})
    assert planned(wanted, here, record=old).pins == {JOB.key: pin_for(B, wanted, JOB, old)}


@pytest.mark.parametrize("snapshot", ["", "HEAD"])
def test_changes_matter_where_no_commit_is_named(snapshot: str) -> None:
    wanted = project(snapshot=snapshot)
    here = replace(view(), code={code_key(snapshot, JOB.cwd): CodeFacts("/r", A, ("x.py", "2 more"))})
    found = planned(wanted, here)
    if snapshot:
        assert list(found.pins) == [JOB.key]
        return
    state = found.states[JOB.key]
    assert (found.pins, found.snapshots, state.reason) == ({}, (), Reason.UNCOMMITTED_CODE)
    assert "/r has changes that no commit has (x.py, 2 more): git -C /r commit -a" in state.message
    assert any("1 job waits for a commit" in alert for alert in found.alerts)
    assert (state.status, found.settled) == (JobStatus.STUCK, True)
    assert found.wake_at is not None, "it goes on by itself once there is a commit"


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (None, Reason.SNAPSHOT_NOT_READY, "its repository is looked at next"),
        (Unknown("git hangs"), Reason.SNAPSHOT_NOT_READY, "git hangs"),
        (CodeFacts(problem="/w is in no git repository"), Reason.SNAPSHOT_NOT_READY, "/w is in no git repository"),
    ],
)
def test_without_a_commit_it_waits(code: CodeFacts | Unknown | None, reason: Reason, words: str) -> None:
    found = planned(project(), view(code))
    assert (found.actions, found.pins) == ((), {})
    assert found.states[JOB.key].reason is reason
    assert words in found.states[JOB.key].message
    assert found.wake_at is not None, "it is looked for again"
    if isinstance(code, Unknown):
        assert found.wake_at == make.NOW + CODE_POLL_S
    for_a_person = isinstance(code, CodeFacts)
    assert (found.states[JOB.key].status is JobStatus.STUCK, bool(found.alerts)) == (for_a_person, for_a_person)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (SnapshotFacts("/p", ready=False, problem="no commit there"), JobStatus.STUCK),
        (SnapshotFacts("/p", ready=False, problem="no commit there", again=True), JobStatus.PENDING),
        (Unknown("no commit there"), JobStatus.PENDING),
    ],
)
def test_a_work_tree_that_cannot_be_made_holds_it_back_without_a_try(
    facts: SnapshotFacts | Unknown, status: JobStatus
) -> None:
    found = planned(project(), view(snapshots={snapshot_key(A, JOB.cwd): facts}), record=record(A))
    assert (found.actions, found.states[JOB.key].reason) == ((), Reason.SNAPSHOT_NOT_READY)
    assert found.states[JOB.key].status is status
    assert "no commit there" in found.states[JOB.key].message
    assert found.snapshots == ((make.HOST, JOB.cwd, A),), "it is asked for again: the host says when it tries again"


def test_the_first_host_that_answers_chooses_for_all() -> None:
    wanted = project(placements=(Placement("a"), Placement("b")), shared_fs=True)
    silent = Unknown("it is down")
    found = planned(wanted, silent, view(CodeFacts("/r", B), host="b"))
    assert found.pins == {JOB.key: pin_for(B, wanted, JOB, None)}
    assert found.snapshots == (("b", JOB.cwd, B),)
    both = planned(wanted, view(CodeFacts("/r", A), host="a"), view(CodeFacts("/r", B), host="b"))
    assert both.pins == {JOB.key: pin_for(A, wanted, JOB, None)}
    assert both.snapshots == (("a", JOB.cwd, A), ("b", JOB.cwd, A))


def test_completed_jobs_need_nothing() -> None:
    done = record(A, completed=DONE, generation=JOB.generation)
    found = planned(project(), view(CodeFacts("/r", B)), record=done)
    assert (found.pins, found.snapshots, found.states[JOB.key].status) == ({}, (), JobStatus.COMPLETED)
    asked = needs(make.desired(project()), Ledger(1, {JOB.key: done}), None, make.HOST, full=True, turn=0)
    assert (asked.code, asked.snapshots) == ({}, {})


def test_what_is_asked_of_a_host() -> None:
    wanted = make.desired(project())
    fresh = needs(wanted, Ledger(), None, make.HOST, full=False, turn=0)
    assert (fresh.code, fresh.snapshots) == ({code_key("", JOB.cwd): (JOB.cwd, "")}, {})
    known = needs(wanted, Ledger(1, {JOB.key: record(A)}), None, make.HOST, full=False, turn=0)
    assert (known.code, known.snapshots) == ({}, {snapshot_key(A, JOB.cwd): (JOB.cwd, A)})


def test_what_many_jobs_wait_for_is_found_once_for_all_hosts() -> None:
    """With 100,000 jobs it takes longer than the rest of a look, and changes with the two versions alone."""
    hosts = (Placement("a"), Placement("b"))
    elsewhere = make.phase("two", [make.job("k", cwd="/other", outputs=("out/k",))])
    phases = (make.phase("one", [JOB]), replace(elsewhere, hosts=("b",)))
    wanted = make.desired(make.project(phases=phases, placements=hosts, shared_fs=True, snapshot=""))
    ledger = Ledger(1, {JOB.key: record(A)})
    found = open_jobs(wanted, ledger)
    for host, code in (("a", {}), ("b", {code_key("", "/other"): ("/other", "")})):
        asked = needs(wanted, ledger, None, host, full=False, turn=0, jobs=found)
        assert (asked.code, asked.snapshots) == (code, {snapshot_key(A, JOB.cwd): (JOB.cwd, A)})
    other = Ledger(2, {JOB.key: record(B)})
    assert needs(wanted, other, None, "a", full=False, turn=0, jobs=found).snapshots.keys() == {
        snapshot_key(A, JOB.cwd)
    }


@pytest.mark.parametrize("kept", [True, False])
def test_only_what_no_job_needs_is_dropped(kept: bool) -> None:
    old = record(A) if kept else record(A, completed=DONE, generation=JOB.generation)
    here = view(None, ready(A), old_snapshots=(("123456789abc", A), ("123456789abc", B)))
    dropped = [commit for _, _, commit in planned(project(), here, record=old).drops]
    assert dropped == ([B] if kept else [A, B])


def test_nothing_is_dropped_while_specs_are_broken() -> None:
    here = view(None, ready(A), old_snapshots=(("123456789abc", B),))
    broken = planned(project(), here, record=record(A), errors=(SpecError("p.yaml", 1, 1, "wrong"),))
    assert broken.drops == ()


@pytest.mark.parametrize("blind", [False, True])
def test_another_host_that_may_yet_take_it_is_waited_for(blind: bool) -> None:
    wanted = project(placements=(Placement("x"), Placement("y")))
    broken = {snapshot_key(A, JOB.cwd): SnapshotFacts("", ready=False, problem="no commit there")}
    other = Unknown("silent") if blind else view(snapshots=broken, host="y")
    found = planned(wanted, view(snapshots=broken, host="x"), other, record=record(A, wanted))
    assert found.states[JOB.key].status is (JobStatus.PENDING if blind else JobStatus.STUCK)


@pytest.mark.parametrize(("is_pinned", "words"), [(True, "that it runs from"), (False, "that it would run from")])
def test_what_is_not_chosen_yet_is_not_said_to_be(is_pinned: bool, words: str) -> None:
    found = planned(project(), view(CodeFacts("/r", A)), record=record(A) if is_pinned else None)
    assert f"{words} is made first" in found.states[JOB.key].message
