"""What has moved since a plan was saved, in facts and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.facts import HostView, Observed, Unknown
from reconciler.model.ledger import JobRecord
from reconciler.model.saved import Origin, SavedPlan
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired, GpuPool, Placement, SpecError, SpecFile
from reconciler.planner.moved import Moved, moved_since, saved_action
from reconciler.planner.plan import plan
from reconciler.planner.plan_id import other_steps
from reconciler.view.moved import Fact, moved_facts, render_moved
from reconciler.view.style import Style
from tests.unit import factories as make
from tests.unit.factories import NOW

A, B, C = make.job("a"), make.job("b"), make.job("c")
SPECS = make.desired(make.project(A, B, C))


def look(desired: Desired, *records: JobRecord, now: float = NOW, paused: Sequence[str] = (), **view: Any) -> Snapshot:
    ledger = make.ledger(*records, paused=frozenset(paused))
    return looked(desired, make.observed(make.seen(desired, **view)), *records, ledger=ledger, now=now)


def looked(desired: Desired, observed: Observed, *records: JobRecord, now: float = NOW, ledger: Any = None) -> Snapshot:
    known = ledger or make.ledger(*records)
    return Snapshot(now, desired, observed, known, plan(desired, observed, known, now))


def saved(then: Snapshot) -> SavedPlan:
    hosts = {name: view.message if isinstance(view, Unknown) else "" for name, view in then.observed.hosts.items()}
    return SavedPlan(
        plan_id=then.plan.plan_id,
        made_at=then.now,
        made_by="ann@box",
        exq="1",
        origin=Origin("box", "ann", "/state", "/specs"),
        revision="rev1",
        version=then.desired.version,
        base="/",
        texts={},
        actions=tuple(map(saved_action, then.plan.actions)),
        others=tuple(other_steps(then.plan)),
        hosts=hosts,
    )


def moved(then: Snapshot, now: Snapshot) -> Moved:
    return moved_since(saved(then), then.desired, now)


def facts(then: Snapshot, now: Snapshot) -> list[Fact]:
    return moved_facts(moved(then, now), now)


def test_nothing_moves_a_plan_but_what_changes_it() -> None:
    then = look(SPECS)
    assert then.plan.actions
    same = (
        look(SPECS, now=NOW + 1e6),
        look(replace(SPECS, version="v2", revision="rev2")),
        look(make.desired(make.project(replace(A, source="p.yaml:7:7"), B, C))),
        look(SPECS, gpus=(make.gpu(0, 70_000),)),
    )
    assert [bool(moved(then, now)) for now in same] == [False] * 4
    assert all(now.plan.plan_id == then.plan.plan_id for now in same)


def test_a_changed_job_is_named_though_it_only_waits() -> None:
    now = look(make.desired(make.project(A, B, replace(C, cmd="other", generation="g2"))))
    assert facts(look(SPECS), now) == [("specs", "p/c", f"cmd: {C.cmd} -> other")]


def test_a_changed_setting_is_named_though_the_actions_stay() -> None:
    now = look(make.desired(make.project(A, B, C, linger_s=60.0)))
    assert facts(look(SPECS), now) == [("specs", "p", "linger: 5 min -> 1 min")]


def test_what_a_launch_runs() -> None:
    now = look(make.desired(make.project(replace(A, cmd="x", generation="g2"), B, C)))
    assert facts(look(SPECS), now) == [
        ("specs", "p/a", f"cmd: {A.cmd} -> x"),
        ("different", "p/a", "launch of generation g2 instead of g1"),
    ]


def test_jobs_that_come_and_go() -> None:
    now = look(make.desired(make.project(B, C)))
    told = facts(look(SPECS), now)
    assert told[0] == ("specs", "p/a", "it is gone")
    assert ("new", "p/c", "launch on local (attempt 1): new in spec") in told
    assert ("gone", "p/a", "launch on local (attempt 1): no spec asks for it any more") in told


def test_an_action_that_is_done() -> None:
    launched = make.record(make.attempt(1, "p/a", intended_at=NOW + 2))
    now = look(SPECS, launched, now=NOW + 5, attempts={"p/a/1": make.running(at=NOW + 3)})
    (gone,) = facts(look(SPECS), now)
    assert gone[:2] == ("gone", "p/a")
    assert "attempt 1 is there already, launched at" in gone[2]


def test_a_job_that_was_held_back() -> None:
    told = facts(look(SPECS), look(SPECS, paused=["p/b"]))
    assert ("new", "p/c", "launch on local (attempt 1): new in spec") in told
    (gone,) = [fact for fact in told if fact[0] == "gone"]
    assert gone[1] == "p/b"
    assert gone[2].endswith("the job is pending: p/b is paused; exq resume p/b lifts that (Paused)")


def test_another_attempt_and_another_reason() -> None:
    then = look(SPECS, make.record(make.over(1, retry_at=NOW - 1)))
    now = look(SPECS, make.record(make.over(1, retry_at=NOW - 1), make.over(2, retry_at=NOW - 1)))
    assert facts(then, now) == [("different", "p/a", "launch attempt 3 instead of 2")]


def test_a_retry_that_has_come_due_is_an_action_more() -> None:
    spec = make.desired(make.project(A, B, failure_retry=replace(make.project().failure_retry, delay_s=600.0)))
    waits = make.record(make.over(1, retry_at=NOW + 60))
    then, before, after = (look(spec, waits, now=at) for at in (NOW, NOW + 30, NOW + 90))
    assert not moved(then, before)
    again = "launch on local (attempt 2): again after CodeError in attempt 1 (try 2)"
    assert facts(then, after) == [("new", "p/a", again)]


def test_another_gpu() -> None:
    spec = make.desired(make.gpu_project(A))
    then = look(spec, gpus=(make.gpu(0), make.gpu(1)))
    now = look(spec, gpus=(make.gpu(0, 70_000), make.gpu(1)))
    assert facts(then, now) == [("different", "p/a", "launch on GPU 1 instead of GPU 0")]


def test_a_gpu_that_no_action_needs_does_not_matter() -> None:
    spec = make.desired(make.gpu_project(A))
    then, now = (look(spec, gpus=(make.gpu(0), make.gpu(1, used))) for used in (0, 70_000))
    assert not moved(then, now)


FAR = make.desired(make.project(A, placements=(Placement("one"),)), make.project(make.job("x", "q"), name="q"))
ONE, HERE = make.seen(FAR, host="one", boot_id="b1"), make.seen(FAR)


def test_a_host_that_fell_silent_is_said_with_what_it_takes_along() -> None:
    then = looked(FAR, Observed({"one": ONE, "local": HERE}))
    now = looked(FAR, Observed({"one": Unknown("one did not answer"), "local": HERE}))
    told = facts(then, now)
    assert told[0] == ("host", "one", "it gives no answer any more: one did not answer")
    assert told[1][:2] == ("gone", "p/a")
    assert "HostUnknown" in told[1][2]
    back = facts(now, then)
    assert back[0] == ("host", "one", "it answers now, and did not then")
    assert [fact[:2] for fact in back[1:]] == [("new", "p/a")]


def test_a_silent_host_without_an_action_does_not_matter() -> None:
    done = make.completed("p/a")
    then, now = (looked(FAR, Observed({"one": view, "local": HERE}), done) for view in (ONE, Unknown("no answer")))
    assert now.plan.actions
    assert not moved(then, now)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"errors": (SpecError("p.yaml", 3, 5, "bad"),)}, ("specs", "p.yaml", "p.yaml:3:5: bad")),
        ({"files": (SpecFile("p.yaml", "d", unsettled=True),)}, ("specs", "p.yaml", "it is being written just now")),
    ],
)
def test_specs_that_are_not_whole(changes: dict[str, Any], fact: Fact) -> None:
    now = look(replace(SPECS, **changes))
    assert facts(look(SPECS), now) == [fact]


def test_a_warning_is_nothing() -> None:
    assert not moved(look(SPECS), look(replace(SPECS, errors=(SpecError("p.yaml", 1, 1, "hm", warning=True),))))


def test_a_new_project_is_named() -> None:
    now = look(make.desired(make.project(A, B, C), make.project(make.job("x", "q"), name="q", gpu_pool=GpuPool(None))))
    assert ("specs", "q", "the project is new") in facts(look(SPECS), now)


def test_a_run_that_begins_goes_without_saying_beside_its_actions() -> None:
    """The same plan carried out twice: its launches are there already, and so is its run."""
    launched = [make.record(make.attempt(1, key), key=key) for key in ("p/a", "p/b")]
    now = look(SPECS, *launched, attempts={"p/a/1": make.running(), "p/b/1": make.running()})
    assert {fact[:2] for fact in facts(look(SPECS), now)} == {("gone", "p/a"), ("gone", "p/b")}


def test_many_are_cut() -> None:
    many = [("new", f"p/{n}", "launch") for n in range(30)]
    lines = render_moved(many, Style()).splitlines()
    assert (len(lines), lines[-1]) == (21, "    ... and 10 more (--json)")


def test_the_hosts_of_the_look_are_all_there() -> None:
    assert isinstance(look(SPECS).observed.hosts["local"], HostView)
