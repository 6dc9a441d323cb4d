"""Hosts behind a connection: what the simulated link does, and bugs that it found (docs/track-record.md)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.host import enact
from reconciler.loop.record import Journal
from reconciler.loop.tick import _killed
from reconciler.loop.verdicts import repeat_far_verdicts
from reconciler.model.enums import ActionKind, Reason
from reconciler.model.facts import HostView, Observed, SessionState
from reconciler.model.plan import Kill, Launch
from reconciler.model.spec import Desired, Placement
from reconciler.planner.backoff import counted_attempts
from reconciler.planner.limits import CLOCK_DOUBT_S, SESSION_GRACE_S
from reconciler.planner.needs import needs
from reconciler.planner.plan import plan
from reconciler.planner.reap import reap_ended
from tests.sim import product
from tests.sim.campaign import Case, run_case
from tests.sim.explore import attempt, fault_free, single_faults
from tests.sim.fake_os import OS
from tests.sim.faults import COSTS_ATTEMPTS, LINK_KINDS, Fault
from tests.sim.fleet import LATENCY_S, Link
from tests.sim.run import Run
from tests.sim.scenarios import ALL
from tests.sim.test_regressions import assert_harmless, faults_at
from tests.unit import factories as make

HELLO = {"op": "hello"}


def linked(*faults: Fault) -> tuple[Run, Link]:
    """A run that has not begun, and a link to its host."""
    run = Run(ALL["far"], faults=faults)
    run.daemons[0].world = run.daemons[0].open()
    link = run.daemons[0].world.agent_for("a")
    assert isinstance(link, Link)
    return run, link


def test_an_answer_takes_its_time() -> None:
    run, link = linked()
    before = run.machine.true
    reply = link.send(HELLO)
    assert not reply.done
    answer = reply.wait()
    assert answer is not None
    assert answer["boot_id"] == "boot-a1"
    assert run.machine.true >= before + LATENCY_S


def test_who_waits_too_short_gets_it_later_and_is_told() -> None:
    run, link = linked()
    told: list[str] = []
    reply = link.send(HELLO)
    reply.on_done(lambda: told.append("done"))
    assert reply.wait(LATENCY_S / 4) is None
    run.fleet.catch_up(run.machine.true + 1.0)
    run.fleet.deliver()
    assert told == ["done"]
    assert reply.wait(0.0) is not None


@pytest.mark.parametrize("kind", LINK_KINDS)
def test_each_kind_of_fault_is_what_it_says(kind: str) -> None:
    if kind.startswith("crash"):
        return  # of the loop: test_machine has those
    run, link = linked(Fault(1, kind))
    request: dict[str, Any] = {"op": "write_file", "path": "/sim/told", "text": "x"}
    answer = link.handle(request)
    host = run.fleet.machines["a"]
    done = "/sim/told" in host.disk.entries
    expected = {
        "refuse": ("unreachable", False),
        "lose-request": ("lost", False),
        "lose-reply": ("lost", True),
        "late": ("lost", False),
        "partition": ("lost", False),
        "host-reboot": ("lost", False),
        "restart-agent": (None, True),
        "slow": (None, True),
        "garbage": (None, True),
    }
    assert (answer.get("kind"), done) == expected[kind]
    run.fleet.catch_up(run.machine.true + 100.0)
    assert ("/sim/told" in host.disk.entries) == (done or kind == "late")
    assert link.handle(HELLO).get("boot_id") == f"boot-a{2 if kind == 'host-reboot' else 1}"


def test_a_cut_host_answers_nothing_until_it_is_healed() -> None:
    run, link = linked()
    run.fleet.cut["a"] = run.machine.true + 60.0
    assert link.handle(HELLO)["kind"] == "unreachable"
    run.fleet.catch_up(run.machine.true + 61.0)
    assert "boot_id" in link.handle(HELLO)


def test_the_power_of_a_host_is_its_own() -> None:
    fault = faults_at("far", "write", "attempts/far/a/1/intent.json", "power")[0]
    run = Run(ALL["far"], faults=[fault])
    run.go()
    assert (run.machine.boot, run.fleet.machines["a"].boot) == (1, 2)


def test_a_crash_in_an_agent_ends_that_agent_and_no_loop() -> None:
    crash = faults_at("far", "write", "attempts/far/a/1/intent.json", "crash-before")[0]
    run = Run(ALL["far"], faults=[crash])
    run.go()
    assert run.daemons[0].lives == 1
    assert run.machine.violations == []


def test_a_job_that_lives_on_two_hosts_is_noticed() -> None:
    run = Run(ALL["two-hosts"])
    state = run.daemons[0].state
    one, two = run.fleet.machines["a"], run.fleet.machines["b"]
    for machine, number in ((one, 1), (two, 2)):
        machine.intents[state] = lambda _attempt: True
        machine.user_code_starts(machine.spawn("payload", attempt=f"pair/a/{number}", state=state))
    assert any(text.startswith("S1") for text in run.machine.violations)


def test_link_faults_cost_no_attempt() -> None:
    """S6: what happens to a connection starts no job once more."""
    faults = [fault for fault in single_faults("two-hosts") if fault.kind in LINK_KINDS]
    for fault in [fault for fault in faults if fault.kind not in COSTS_ATTEMPTS][::9]:
        result, wrong = attempt("two-hosts", [fault])
        assert wrong == [], fault
        assert sum(result.starts.values()) == sum(fault_free("two-hosts").starts.values()), fault


# 24: the power of a host failed soon after its first attempt: the attempts folder was gone, its jobs unknown for good


def test_a_host_keeps_its_folder_of_attempts_when_its_power_fails() -> None:
    for part in ("open /home/u/.local/state/exq/attempts/", "rename /home/u/.local/state/exq/attempts/"):
        assert_harmless("two-hosts", faults_at("two-hosts", "write", part, "power")[::2])


# 25: the last job of a phase was completed, and in the same plan a job started that had to get its outputs first


def test_outputs_of_a_job_that_is_just_completed_are_fetched_first() -> None:
    a, b = Placement("a"), Placement("b")
    teacher, student = make.job("t", phase="teach", outputs=("t.out",)), make.job("s", phase="learn")
    phases = (
        replace(make.phase("teach", (teacher,)), hosts=("a",)),
        replace(make.phase("learn", (student,), "teach"), hosts=("b",), fetch=True),
    )
    spec = make.desired(make.project(teacher, student, phases=phases, placements=(a, b)))
    running = make.attempt(key=teacher.key, host="a")
    facts = {running.path: make.ended()}
    there = replace(make.seen(spec, attempts=facts, outputs={teacher.key: make.outputs("new")}), host="a")
    elsewhere = replace(make.seen(spec), host="b")
    ledger = make.ledger(make.record(running, key=teacher.key))
    result = plan(spec, Observed({"a": there, "b": elsewhere}), ledger, make.NOW)
    assert [action.kind for action in result.actions] == [ActionKind.COMPLETE]
    assert not any(isinstance(action, Launch) for action in result.actions)
    assert result.states[student.key].reason is Reason.INPUTS_ELSEWHERE
    assert result.wake_at == make.NOW


# 26: a host's clock is known to a second: an end that seemed to be in the future had its screen quit at once


@pytest.mark.parametrize(("ago_s", "quits"), [(-CLOCK_DOUBT_S, False), (0.0, False), (SESSION_GRACE_S, True)])
def test_an_end_in_the_near_future_is_now(ago_s: float, quits: bool) -> None:
    record = make.over(ended_at=make.NOW - ago_s, session="exq.p.a.1")
    session = make.session(record, state=SessionState.DETACHED)
    kill = reap_ended(make.NOW, record, make.ended(), (session,), make.NOW - ago_s, 300.0)
    assert (kill is not None) is quits


# 27: the answer to a verdict was lost, or its host had been given up: no verdict was ever written there


def test_a_verdict_reaches_its_folder_on_another_host_whatever_happens_in_between() -> None:
    for kind in ("refuse", "lose-request", "partition", "host-reboot", "crash-before"):
        assert_harmless("two-hosts", faults_at("two-hosts", "link", "settle", kind))


def test_only_what_has_a_verdict_and_a_marker_is_written_again() -> None:
    run = Run(ALL["far"])
    run.go()
    daemon, host = run.daemons[0], run.fleet.machines["a"]
    assert daemon.world is not None
    assert daemon.snapshot is not None
    marker = f"{daemon.state}/spool/far%a%1"
    verdict = f"{daemon.state}/attempts/far/a/1/verdict.json"
    host.disk.unlink(verdict)
    view = daemon.snapshot.observed.hosts["a"]
    assert isinstance(view, HostView)
    for left, written in (((), False), (("far%a%9",), False), (("far%a%1",), True)):
        host.disk.put(marker, b"")
        seen = Observed({"a": replace(view, markers=left)})
        repeat_far_verdicts(daemon.world, replace(daemon.snapshot, observed=seen))
        assert (verdict in host.disk.entries, marker not in host.disk.entries) == (written, written)


# 28: the agent ended while it wrote the folder of an attempt: a controller without its ledger took that for an attempt


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), {}),
        (("1/job.sh.tmp", "1/job.sh"), {}),
        (("1/intent.json", "2/job.sh"), {"p/a": 1}),
        (("1/intent.json", "2/claim"), {"p/a": 2}),
    ],
)
def test_a_folder_without_intent_is_no_attempt(files: tuple[str, ...], expected: dict[str, int]) -> None:
    run = Run(ALL["far"])
    host = run.fleet.machines["a"]
    for name in files:
        host.disk.put(f"/home/u/.local/state/exq/attempts/p/a/{name}", b"{}\n")
    with OS.on(host):
        agent = product.agent.Agent("/home/u/.local/state/exq", {})
        reply = agent.handle({"op": "probe", "attempts": [], "index": ["p"]})
    assert reply["index"] == expected


# 29: an attempt whose intent could not be read did not count as a try: its job, which had failed, was run again


def test_an_attempt_that_nothing_is_known_of_counts() -> None:
    record = make.record(make.over(1, generation=""), make.over(2, generation="other"), make.over(3))
    assert [each.number for each in counted_attempts(record, make.attempt().generation)] == [1, 3]
    spec: Desired = make.desired(make.project(make.job("a")))
    damaged = make.record(make.over(generation="", retry_at=None))
    result = plan(spec, make.observed(make.seen(spec)), make.ledger(damaged), make.NOW)
    assert result.actions == ()


# 30: a controller that had lost its ledger took what a failed attempt had left for outputs that were there before any


def test_outputs_of_an_attempt_that_is_taken_in_complete_nothing_yet() -> None:
    spec = make.desired(make.project(make.job("a", outputs=("a.out",))))
    view = make.seen(spec, index={"p/a": 1}, outputs={"p/a": make.outputs("left by a failure")})
    result = plan(spec, make.observed(view), make.ledger(), make.NOW)
    assert [action.kind for action in result.actions] == [ActionKind.ADOPT]
    assert result.states["p/a"].reason is Reason.ADOPTED


# 31: the ledger was lost while a host could not be reached: its live job was started on another, under the same number


def test_what_a_silent_host_may_run_is_not_started_elsewhere_when_the_ledger_is_lost() -> None:
    run = Run(ALL["amnesia"])
    run.go()
    assert run.machine.violations == []
    starts = [start for machine in run.fleet.machines.values() for start in machine.starts]
    assert {start.host for start in starts if start.attempt.startswith("lost/a/")} == {"a"}
    for kind in ("refuse", "lose-reply", "slow"):  # it told, and fell silent before what it told was taken in
        assert_harmless("amnesia", faults_at("amnesia", "link", "records", kind))


# 32: a host that had come back was given up at a request from when it was silent, and what ran there was ended


def test_a_host_that_answers_is_not_given_up() -> None:
    asked = ((1.0, lambda run: run.request("forget_host", "a")),)
    run = Run(replace(ALL["two-hosts"], happenings=asked))
    run.go()
    assert run.machine.violations == []
    reasons = {
        attempt.verdict.reason
        for record in run.daemons[0].database.contents.jobs.values()
        for attempt in record.attempts
        if attempt.verdict
    }
    assert Reason.HOST_FORGOTTEN not in reasons
    assert [line for line, _ in run.daemons[0].audit.lines].count("request_refused") == 1


# 33: a request to end a job was never sent, and the next one was SIGKILL: it had counted as asked


@pytest.mark.parametrize(("kind", "counts"), [("refuse", False), ("lose-reply", True), (None, True)])
def test_only_what_may_have_heard_it_counts_as_asked_to_end(kind: str | None, counts: bool) -> None:
    attempt_record = make.attempt(1, "p/a", host="a")
    kill = Kill(ActionKind.KILL, "p/a", 1, Reason.STOPPED_BY_USER, "", "a")
    journal = Journal(make.ledger(make.record(attempt_record)))
    outcome = {
        "refuse": enact.Outcome(ok=False, kind="unreachable"),
        "lose-reply": enact.Outcome(ok=False, kind="lost"),
        None: enact.Outcome(ok=True),
    }[kind]
    _killed(SimpleNamespace(now=make.NOW), kill, journal, outcome)
    last = journal.get("p/a").last
    assert (last.kill_last_at is not None) is counts


@pytest.mark.parametrize(
    "case",
    [
        Case("controllers", 103641, acts=((0.21, "full"),)),
        Case("silent", 103836, acts=((1.61, "full"), (27.44, "lose-ledger"))),
        Case("forget", 0, acts=((12.74, "lose-ledger"),)),
        Case("controllers", 0, acts=((0.75, "remove-folder"),)),
        Case("fetch", 3, acts=((2.0, "cut"), (3.0, "host-power"), (9.0, "host-clock"))),
        Case("far", 5, lost_events=1.0, acts=((1.0, "host-reboot"), (1.5, "kill-loops"), (2.0, "lose-ledger"))),
    ],
    ids=Case.line,
)
def test_acts_on_hosts(case: Case) -> None:
    assert run_case(case)[1] == []


# 34: another controller's attempt of the same number could not be taken in at once: it was then judged as one's own


def test_what_is_not_from_ones_own_launch_is_taken_in_before_it_is_judged() -> None:
    spec = make.desired(make.project(make.job("a", outputs=("a.out",))))
    doubtful = make.attempt(launched=False, outputs_before=("there before",))
    leftovers = {"p/a": make.outputs("there before")}
    ledger = make.ledger(make.record(doubtful))
    for another, kinds in ((True, [ActionKind.ADOPT]), (False, [ActionKind.FAIL])):
        facts = {doubtful.path: make.ended(another=another)}
        result = plan(spec, make.observed(make.seen(spec, attempts=facts, outputs=leftovers)), ledger, make.NOW)
        assert [action.kind for action in result.actions] == kinds


@pytest.mark.parametrize(("launched", "asked"), [(False, True), (True, False)])
def test_whose_an_attempt_is_is_asked_where_its_launch_is_in_doubt(launched: bool, asked: bool) -> None:
    doubtful = make.attempt(launched=launched)
    wanted = needs(
        make.desired(make.project(make.job("a"))), make.ledger(make.record(doubtful)), None, "local", full=False, turn=0
    )
    assert [need.meant is not None for need in wanted.attempts] == [asked]


@pytest.mark.parametrize(
    ("intent", "another"),
    [
        (None, False),
        (b'{"intended_at": 7.5, "daemon": "d1", "generation": "g1", "number": 1}\n', False),
        (b'{"intended_at": 7.5, "daemon": "d2", "generation": "g1"}\n', True),
        (b'{"intended_at": 7.25, "daemon": "d1", "generation": "g1"}\n', True),
        (b'{"intended_at"\n', True),
        (b'{"intended_at"', False),  # never completed: that launch has not taken place
    ],
)
def test_the_agent_tells_launches_apart(intent: bytes | None, another: bool) -> None:
    run = Run(ALL["far"])
    host = run.fleet.machines["a"]
    folder = "/home/u/.local/state/exq/attempts/p/a/1"
    host.disk.put(f"{folder}/job.sh", b"")
    if intent is not None:
        host.disk.put(f"{folder}/intent.json", intent)
    with OS.on(host):
        agent = product.agent.Agent("/home/u/.local/state/exq", {})
        meant = {"intended_at": 7.5, "daemon": "d1", "generation": "g1"}
        reply = agent.handle({"op": "probe", "attempts": [{"path": "p/a/1", "meant": meant}]})
        unasked = agent.handle({"op": "probe", "attempts": [{"path": "p/a/1", "meant": None}]})
    assert reply["attempts"]["p/a/1"]["another"] is another
    assert "another" not in unasked["attempts"]["p/a/1"]


# 41: a host came back that was given up when no ledger knew what ran there: its attempt had the number of another one


@pytest.mark.parametrize(
    "case",
    [
        Case("forget", 402540, (Fault(347, "hang"),), acts=((8.46, "lose-ledger"), (37.96, "stop"))),
        Case("forget", 402540, (Fault(347, "hang"),), acts=((8.46, "lose-ledger"),)),
    ],
    ids=Case.line,
)
def test_an_attempt_with_the_number_of_another_one_is_waited_for(case: Case) -> None:
    assert run_case(case)[1] == []
