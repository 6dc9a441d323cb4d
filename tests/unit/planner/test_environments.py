"""Environments that could not be set up: whom that holds back, where, and when it is tried again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.host import agent
from reconciler.model.enums import ActionKind, JobStatus, Reason
from reconciler.model.facts import HostView, Observed, SnapshotFacts
from reconciler.model.ledger import AttemptRecord, JobRecord, ProjectRun, Verdict
from reconciler.model.needs import snapshot_key
from reconciler.model.plan import JobState, Plan
from reconciler.model.setup import FOLDER_PROBLEM, SNAPSHOT_PROBLEM, broken_part, environment_of, folder_of, snapshot_of
from reconciler.model.spec import Desired, Job, Placement
from reconciler.planner.limits import CLOCK_DOUBT_S, ENVIRONMENT_RETRY_MAX_S, ENVIRONMENT_RETRY_S, SETUP_MAX_S
from reconciler.planner.pins import pin_for
from reconciler.planner.plan import plan
from tests.unit import factories as make
from tests.unit.factories import NOW

NO_ENV = "the conda environment torch cannot be activated: EnvironmentNameNotFound: torch"
NO_FOLDER = FOLDER_PROBLEM.format(cwd="/work")
MANY = tuple(make.job(name, conda="torch") for name in "abcdefgh")


def broken(
    key: str = "p/a", number: int = 1, at: float = NOW - 5, message: str = NO_ENV, **changes: Any
) -> AttemptRecord:
    """Its setup failed at `at`, two seconds after its launch."""
    found = Verdict(JobStatus.FAILED_OTHER, Reason.ENVIRONMENT_BROKEN, message, at)
    plain = {"intended_at": at - 2, "verdict": found, "retry_at": at, "ended_at": at}
    return make.over(number, key=key, **{**plain, **changes})


def passed(key: str, at: float, reason: Reason = Reason.CODE_ERROR, **changes: Any) -> AttemptRecord:
    """One that was launched at `at` and got past its setup."""
    return make.over(1, reason, key=key, intended_at=at, **changes)


def spec(jobs: Iterable[Job] = MANY, hosts: Iterable[str] = ("local",), **changes: Any) -> Desired:
    placements = tuple(Placement(host, max_parallel=4) for host in hosts)
    return make.desired(make.project(*jobs, placements=placements, **{"max_parallel": 8, **changes}))


def looked(desired: Desired, *records: JobRecord, now: float = NOW, **facts: Any) -> Plan:
    hosts = [each.host for each in desired.projects["p"].placements]
    views: list[HostView] = [replace(make.seen(desired, **facts), host=host, boot_id=host) for host in hosts]
    return plan(desired, Observed({view.host: view for view in views}), make.ledger(*records), now)


def state(found: Plan, key: str) -> JobState:
    return found.states[key]


def test_one_failure_holds_all_that_are_set_up_alike() -> None:
    found = looked(spec(), make.record(broken()))
    assert make.launches(found) == []
    assert {state(found, job.key).reason for job in MANY} == {Reason.ENVIRONMENT_BROKEN}
    assert {state(found, job.key).status for job in MANY} == {JobStatus.STUCK}
    assert state(found, "p/a").message == f"{NO_ENV} (attempt 1)"
    assert state(found, "p/b").message == f"{NO_ENV} (attempt 1 of p/a)"
    assert state(found, "p/b").until == found.wake_at == NOW - 5 + ENVIRONMENT_RETRY_S
    assert found.alerts == (f"p/a could not be set up on local: {NO_ENV}",)
    assert found.settled, "whoever waits for the end is not kept waiting: a person has to mend that"


def test_others_go_on() -> None:
    jobs = (*MANY, make.job("y", conda="jax"), make.job("z"), make.job("w", conda="torch", conda_hook="/data/conda"))
    assert make.launches(looked(spec(jobs), make.record(broken()))) == ["p/y", "p/z", "p/w"]


def test_another_host_takes_them() -> None:
    found = looked(spec(hosts=("g1", "g2")), make.record(broken(host="g1")))
    launched = [action for action in found.actions if action.kind is ActionKind.LAUNCH]
    assert [(action.job, action.host) for action in launched] == [(f"p/{name}", "g2") for name in "abcd"]
    assert state(found, "p/e").reason is Reason.NO_FREE_SLOT


def test_broken_on_all_hosts_says_each() -> None:
    records = make.record(broken(host="g1"), broken(number=2, host="g2", at=NOW - 3, message="no conda"))
    found = state(looked(spec(hosts=("g1", "g2")), records), "p/b")
    assert found.reason is Reason.ENVIRONMENT_BROKEN
    assert found.message == f"g1: {NO_ENV} (attempt 1 of p/a); g2: no conda (attempt 2 of p/a)"
    assert found.until == NOW - 5 + ENVIRONMENT_RETRY_S


def test_it_uses_up_no_try_and_is_told_as_a_requeue() -> None:
    facts = make.ended(96, at=NOW - 1, setup_error=NO_ENV)
    open_one = make.attempt(intended_at=NOW - 3)
    found = looked(spec(), make.record(open_one), attempts={open_one.path: facts})
    (settle,) = make.settles(found)
    assert (settle.kind, settle.reason, settle.retry_at) == (ActionKind.REQUEUE, Reason.ENVIRONMENT_BROKEN, NOW - 1)
    assert make.launches(found) == [], "the rest of the wave must not follow in the same plan"
    tried = make.record(*(broken(number=n, at=NOW - 90_000 + n) for n in range(1, 20)))
    again = looked(spec((MANY[0],)), tried)
    assert make.launches(again) == ["p/a"]


class TestRuns:
    """A run that was over: what only looks whether the environment is mended does not begin another one."""

    OVER = ProjectRun("p", 1, NOW - 900, "/code/experiment_queue/x", settled_at=NOW - 800)

    def begun(self, *records: JobRecord, run: ProjectRun | None = OVER, **facts: Any) -> list[bool]:
        desired = spec()
        ledger = make.ledger(*records, runs={} if run is None else {"p": run})
        found = plan(desired, Observed({"local": make.seen(desired, **facts)}), ledger, NOW)
        return [milestone.settled for milestone in found.milestones]

    def test_a_trial_begins_none(self) -> None:
        assert self.begun(make.record(broken(at=NOW - ENVIRONMENT_RETRY_S))) == []

    def test_the_first_one_of_all_does(self) -> None:
        assert self.begun(make.record(broken(at=NOW - ENVIRONMENT_RETRY_S)), run=None) == [False]

    def test_another_launch_does(self) -> None:
        assert self.begun() == [False]

    def test_so_does_a_trial_that_got_past_its_setup(self) -> None:
        trial = make.attempt(2, intended_at=NOW - 9)
        for facts, begun in ((make.ended(0), [False]), (make.ended(96, setup_error=NO_ENV), []), (make.running(), [])):
            assert self.begun(make.record(broken(at=NOW - 60), trial), attempts={trial.path: facts}) == begun

    def test_when_none_is_tried_and_none_can_run_it_is_over(self) -> None:
        running = replace(self.OVER, settled_at=None)
        assert self.begun(make.record(broken()), run=running) == [True]


def test_a_clock_that_was_set_back_makes_it_tried_anew_once() -> None:
    """Failures of a time that is still to come hold nothing back; the one that is tried then does, as ever."""
    ahead = broken(at=NOW + 1200)
    assert make.launches(looked(spec(), make.record(ahead))) == ["p/a"]
    again = looked(spec(), make.record(ahead, broken(number=2, at=NOW - 1)))
    assert make.launches(again) == []
    assert state(again, "p/b").until == NOW - 1 + ENVIRONMENT_RETRY_S


def test_what_worked_at_a_time_that_is_still_to_come_is_older_than_it_seems() -> None:
    """It says nothing of what failed after the clock was set back."""
    worked = make.record(passed("p/b", NOW + 600, Reason.KILLED_BY_SIGNAL))
    found = looked(spec(), make.record(broken("p/a", at=NOW - 1)), worked)
    assert make.launches(found) == []
    assert state(found, "p/c").until == found.wake_at == NOW - 1 + ENVIRONMENT_RETRY_S
    earlier = looked(spec(), make.record(broken("p/a", at=NOW + 500)), worked)
    assert make.launches(earlier)[:2] == ["p/a", "p/c"], "among themselves, they are in order"


class TestUntilWhenThePlanHolds:
    """It says by itself when the clock alone would change it."""

    def test_until_what_is_still_to_come_counts(self) -> None:
        """First the older failure counts, then also that it worked after that one."""
        records = [make.record(broken("p/a", at=NOW + 8)), make.record(passed("p/b", NOW + 9))]
        records.append(make.record(broken("p/c", at=NOW + 20)))
        wakes, found = [NOW], looked(spec(), *records)
        while make.launches(found) == []:
            assert found.wake_at is not None and found.wake_at > wakes[-1]
            assert looked(spec(), *records, now=found.wake_at - 0.01).states == found.states
            wakes.append(found.wake_at)
            found = looked(spec(), *records, now=found.wake_at)
        assert NOW + 6 - CLOCK_DOUBT_S in wakes and wakes[-1] == NOW + 9

    def test_until_a_wait_that_was_too_long_is_none_any_more(self) -> None:
        """As long as there is no room, nothing else would say so."""
        live = make.attempt(1, "p/z", intended_at=NOW - 100)
        desired = spec((make.job("z"), *MANY), max_parallel=1)
        records = [make.record(broken(at=NOW + ENVIRONMENT_RETRY_MAX_S)), make.record(live)]
        facts = {live.path: make.running(at=NOW - 100)}
        found = looked(desired, *records, attempts=facts)
        later = looked(desired, *records, now=NOW + ENVIRONMENT_RETRY_S, attempts=facts)
        assert (state(found, "p/a").reason, state(later, "p/a").reason) == (
            Reason.NO_FREE_SLOT,
            Reason.ENVIRONMENT_BROKEN,
        )
        assert found.wake_at is not None and found.wake_at <= NOW + ENVIRONMENT_RETRY_S

    def test_until_one_has_run_for_long_enough_that_began_between_two_failures(self) -> None:
        runs = make.attempt(1, "p/b", intended_at=NOW - SETUP_MAX_S + 10)
        tried = make.record(*(broken(number=n, at=NOW - 5 - 2000.0 * (5 - n)) for n in range(1, 6)))
        facts = {runs.path: make.running(at=runs.intended_at)}
        found = looked(spec(), tried, make.record(runs), attempts=facts)
        later = looked(spec(), tried, make.record(runs), now=NOW + 10, attempts=facts)
        assert state(later, "p/c").until == NOW - 5 + ENVIRONMENT_RETRY_S != state(found, "p/c").until
        assert found.wake_at == NOW + 10


class TestTrial:
    def test_when_the_time_has_come_one_is_started(self) -> None:
        found = looked(spec(), make.record(broken(at=NOW - ENVIRONMENT_RETRY_S)))
        assert make.launches(found) == ["p/a"]
        assert state(found, "p/b").message == f"{NO_ENV}; p/a is started to see whether it is mended"

    def test_while_it_is_under_way_the_others_wait(self) -> None:
        trial = make.attempt(2, intended_at=NOW - 1)
        found = looked(spec(), make.record(broken(at=NOW - 60), trial), attempts={trial.path: make.running(at=NOW - 1)})
        assert make.launches(found) == []
        assert state(found, "p/b").reason is Reason.ENVIRONMENT_BROKEN
        assert found.wake_at is not None and found.wake_at <= NOW - 1 + SETUP_MAX_S

    @pytest.mark.parametrize("reason", [Reason.SUCCEEDED, Reason.CODE_ERROR, Reason.GPU_OUT_OF_MEMORY])
    def test_one_that_got_past_its_setup_frees_all(self, reason: Reason) -> None:
        found = looked(spec(), make.record(broken()), make.record(passed("p/b", NOW - 4, reason)))
        assert make.launches(found)[:2] == ["p/a", "p/c"] and found.alerts == ()

    def test_so_does_one_that_has_run_for_long_enough(self) -> None:
        runs = make.attempt(2, intended_at=NOW - SETUP_MAX_S)
        record = make.record(broken(at=NOW - 100), runs)
        found = looked(spec(), record, attempts={runs.path: make.running(at=NOW - SETUP_MAX_S)})
        assert make.launches(found)[0] == "p/b"

    @pytest.mark.parametrize("reason", [Reason.LAUNCH_LOST, Reason.HOST_REBOOTED, Reason.LOCK_HELD])
    def test_one_that_came_to_nothing_tells_nothing(self, reason: Reason) -> None:
        found = looked(spec(), make.record(broken()), make.record(passed("p/b", NOW - 4, reason, retry_at=NOW)))
        assert make.launches(found) == []

    def test_one_launched_before_it_broke_tells_nothing(self) -> None:
        runs = make.attempt(1, "p/b", intended_at=NOW - 5000)
        found = looked(
            spec(), make.record(broken()), make.record(runs), attempts={runs.path: make.running(at=NOW - 5000)}
        )
        assert make.launches(found) == []

    def test_of_a_wave_that_broke_in_part_the_environment_is_not_to_blame(self) -> None:
        found = looked(spec(), make.record(broken()), make.record(passed("p/b", NOW - 7)))
        assert make.launches(found)[:2] == ["p/a", "p/c"]


class TestDelay:
    @pytest.mark.parametrize(("rounds", "delay_s"), [(1, 30), (2, 60), (3, 120), (6, 900), (40, 900)])
    def test_it_grows_with_each_round(self, rounds: int, delay_s: float) -> None:
        tried = make.record(*(broken(number=n, at=NOW - 5 - 1000.0 * (rounds - n)) for n in range(1, rounds + 1)))
        assert state(looked(spec(), tried), "p/b").until == NOW - 5 + delay_s

    def test_a_wave_is_one_round(self) -> None:
        wave = [make.record(broken(job.key, at=NOW - 5 + n * 0.2)) for n, job in enumerate(MANY)]
        assert state(looked(spec(), *wave), "p/a").until == pytest.approx(NOW - 5 + 7 * 0.2 + ENVIRONMENT_RETRY_S)

    def test_it_begins_anew_after_it_worked(self) -> None:
        tried = [broken(number=n, at=NOW - 5000 + n * 1000) for n in (1, 2, 3)]
        worked = make.over(4, Reason.CODE_ERROR, intended_at=NOW - 1000, retry_at=NOW - 900)
        record = make.record(*tried, worked, broken(number=5, at=NOW - 5))
        assert state(looked(spec(), record), "p/b").until == NOW - 5 + ENVIRONMENT_RETRY_S

    def test_a_clock_that_was_set_back_does_not_make_it_longer(self) -> None:
        found = looked(spec(), make.record(broken(at=NOW + 86_400)))
        assert make.launches(found) == ["p/a"]

    def test_there_is_a_longest_one(self) -> None:
        assert ENVIRONMENT_RETRY_S * 2**5 > ENVIRONMENT_RETRY_MAX_S


class TestRetry:
    def test_of_one_that_failed_is_carried_out_at_once(self) -> None:
        records = [make.record(broken(job.key)) for job in MANY[:3]]
        asked = replace(records[1], retry_after=1)
        found = looked(spec(), records[0], asked, records[2])
        assert make.launches(found) == ["p/b"]
        assert state(found, "p/a").reason is Reason.ENVIRONMENT_BROKEN

    def test_of_all_that_failed_starts_a_wave(self) -> None:
        records = [replace(make.record(broken(job.key)), retry_after=1) for job in MANY[:3]]
        assert len(make.launches(looked(spec(), *records))) == 4

    def test_that_fails_again_holds_again(self) -> None:
        record = replace(make.record(broken(at=NOW - 50), broken(number=2)), retry_after=1)
        assert make.launches(looked(spec(), record)) == []


def test_a_change_of_the_environment_is_tried_at_once() -> None:
    mended = [replace(job, conda="torch2", generation="g2") for job in MANY]
    assert len(make.launches(looked(spec(mended), make.record(broken())))) == 4


def test_a_change_of_the_command_alone_is_not() -> None:
    edited = [replace(MANY[0], cmd="python other.py", generation="g2"), *MANY[1:]]
    others = make.record(broken("p/b"))
    assert make.launches(looked(spec(edited), make.record(broken()), others)) == []


def test_a_missing_folder_holds_those_that_work_in_it_whatever_their_environment() -> None:
    jobs = [make.job("a", conda="x"), make.job("b", conda="y"), make.job("c", conda="x", cwd="/elsewhere")]
    found = looked(spec(jobs), make.record(broken(message=NO_FOLDER)))
    assert make.launches(found) == ["p/c"]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"conda": "x"}, {"conda": "x", "cwd": "/other"}, True),
        ({"conda": "x"}, {"conda": "y"}, False),
        ({"conda": "x"}, {"conda": "x", "conda_hook": "/c"}, False),
        ({"venv": "~/v"}, {"venv": "~/v", "cwd": "/other"}, True),
        ({"venv": ".venv"}, {"venv": ".venv", "cwd": "/other"}, False),
        ({"runner": "uv run"}, {"runner": "uv run", "cwd": "/other"}, False),
        ({"runner": "uv run"}, {"runner": "uv run", "cmd": "other"}, True),
        ({"conda": "x", "env": {"SEED": "1"}}, {"conda": "x", "env": {"SEED": "2"}}, True),
        ({"conda": "x", "env": {"PATH": "1"}}, {"conda": "x", "env": {"PATH": "2"}}, False),
        ({"conda": "x", "env": {"CONDA_ENVS_PATH": "1"}}, {"conda": "x"}, False),
        ({"conda_hook": 'eval "$($TOOL)"', "env": {"TOOL": "1"}}, {"conda_hook": 'eval "$($TOOL)"'}, False),
    ],
)
def test_what_is_set_up_alike(one: dict[str, Any], other: dict[str, Any], alike: bool) -> None:
    assert (environment_of(make.job(**one)) == environment_of(make.job(**other))) is alike


def test_what_a_message_blames() -> None:
    job = make.job(conda="x")
    assert broken_part(job, NO_FOLDER) == folder_of(job)
    assert broken_part(job, NO_ENV) == environment_of(job)
    assert broken_part(job, f"{SNAPSHOT_PROBLEM}the output lib/a.json has no folder of its own") == snapshot_of(job)
    assert broken_part(job, FOLDER_PROBLEM.format(cwd="/code/state/snapshots/0/1")) == snapshot_of(job)
    assert agent.SNAPSHOT_PROBLEM == SNAPSHOT_PROBLEM


@pytest.mark.parametrize(
    "message",
    [
        f"{SNAPSHOT_PROBLEM}the output lib/a.json has no folder of its own",
        f"{SNAPSHOT_PROBLEM}the work tree of 0123456789ab is not there",
        FOLDER_PROBLEM.format(cwd="/state/snapshots/0123456789ab/0123"),
    ],
)
def test_what_is_wrong_with_a_snapshot_holds_that_job_alone(message: str) -> None:
    """All of these jobs are in the same folder, without an environment, whichever project they belong to."""
    commit = "a" * 40
    jobs = [make.job("a"), make.job("b")]
    records = [JobRecord(job.key, pin=pin_for(commit, make.project(snapshot=""), job, None)) for job in jobs]
    failed = replace(records[0], attempts=(broken(message=message, pin=records[0].pin),))
    desired = make.desired(
        make.project(*jobs, snapshot="", max_parallel=8),
        make.project(make.job("x", project="q"), make.job("y", project="q"), name="q", max_parallel=8),
    )
    here = SnapshotFacts("/state/snapshots/0/1", ready=True)
    view = replace(make.seen(desired), snapshots={snapshot_key(commit, jobs[0].cwd): here})
    found = plan(desired, Observed({"local": view}), make.ledger(failed, records[1]), NOW)
    assert make.launches(found) == ["p/b", "q/x", "q/y"]
    assert (state(found, "p/a").reason, state(found, "p/a").status) == (Reason.ENVIRONMENT_BROKEN, JobStatus.STUCK)
    assert state(found, "p/a").until == NOW - 5 + ENVIRONMENT_RETRY_S
    later = replace(failed, attempts=(broken(message=message, at=NOW - ENVIRONMENT_RETRY_S, pin=failed.pin),))
    again = plan(desired, Observed({"local": view}), make.ledger(later, records[1]), NOW)
    assert make.launches(again) == ["p/a", "p/b", "q/x", "q/y"], "it is tried again"
