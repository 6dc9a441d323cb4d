"""One project on several hosts: where its jobs go, what keeps them, and what is brought from one to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from reconciler.model.enums import ActionKind, JobStatus, Reason, RequestKind
from reconciler.model.facts import Gpu, HostView, Observed, PreconditionFacts, Unknown
from reconciler.model.ledger import COLLECTED, Copy, JobRecord, Ledger, Request
from reconciler.model.plan import Launch, Plan
from reconciler.model.spec import Desired, Placement, Project
from reconciler.planner.adopt import all_taken_in, runs_unfollowed
from reconciler.planner.needs import needs
from reconciler.planner.plan import plan
from reconciler.planner.requests import with_requests
from tests.unit import factories as make
from tests.unit.factories import NOW

A, B = Placement("a"), Placement("b")
GONE = Unknown("a is down")


def seen(desired: Desired, host: str, **facts: Any) -> HostView:
    return replace(make.seen(desired, **facts), host=host)


def planned(project: Project, *records: JobRecord, views: dict[str, Any] | None = None) -> Plan:
    """`views`: by host, facts that differ from the plain ones, or Unknown."""
    desired = make.desired(project)
    given = views or {}
    hosts: dict[str, HostView | Unknown] = {}
    for placement in project.placements:
        facts = given.get(placement.host, {})
        hosts[placement.host] = facts if isinstance(facts, Unknown) else seen(desired, placement.host, **facts)
    return plan(desired, Observed(hosts), make.ledger(*records), NOW)


def placed(result: Plan) -> dict[str, str]:
    return {action.job.partition("/")[2]: action.host for action in result.actions if isinstance(action, Launch)}


def jobs(count: int, **changes: Any) -> list[Any]:
    return [make.job(f"j{number}", **changes) for number in range(count)]


def gpus(*free: bool) -> tuple[Gpu, ...]:
    return tuple(make.gpu(index, 0 if each else 9000) for index, each in enumerate(free))


class TestPlacement:
    def test_jobs_go_where_most_gpus_are_free(self) -> None:
        project = make.gpu_project(*jobs(3), placements=(A, B))
        views = {"a": {"gpus": gpus(True), "boot_id": "boot-a"}, "b": {"gpus": gpus(True, True)}}
        assert placed(planned(project, views=views)) == {"j0": "b", "j1": "a", "j2": "b"}

    def test_equal_uuids_on_two_hosts_are_two_gpus(self) -> None:
        project = make.gpu_project(*jobs(2), placements=(A, B))
        views = {"a": {"gpus": gpus(True), "boot_id": "boot-a"}, "b": {"gpus": gpus(True), "boot_id": "boot-b"}}
        assert placed(planned(project, views=views)) == {"j0": "a", "j1": "b"}

    def test_a_machine_with_two_names_has_its_gpus_once(self) -> None:
        project = make.gpu_project(*jobs(2), placements=(A, B))
        views = {"a": {"gpus": gpus(True)}, "b": {"gpus": gpus(True)}}
        assert placed(planned(project, views=views)) == {"j0": "a"}

    def test_what_all_hosts_refuse_is_said_as_it_is_when_each_job_has_its_turn(self) -> None:
        sizes = {"j0": 2, "j1": 1, "j2": 2, "j3": 2, "j4": 1, "j5": 1}
        project = make.gpu_project(*(make.job(name, gpus=size) for name, size in sizes.items()), placements=(A, B))
        views = {
            "a": {"gpus": gpus(True, False), "boot_id": "boot-a"},
            "b": {"gpus": gpus(True, False), "boot_id": "boot-b"},
        }
        result = planned(project, views=views)
        assert placed(result) == {"j1": "a", "j4": "b"}
        said = {name: result.states[f"p/{name}"].message for name in ("j0", "j2", "j3", "j5")}
        assert "1 of 2 GPUs free" in said["j0"] and "0 of 2 GPUs free" not in said["j0"]
        assert said["j2"] == said["j3"] and "0 of 2 GPUs free" in said["j2"] and "1 of 2 GPUs free" in said["j2"]
        assert "0 of 2 GPUs free" in said["j5"] and "1 of 2 GPUs free" not in said["j5"]

    def test_without_gpus_jobs_are_spread(self) -> None:
        project = make.project(*jobs(4), placements=(A, B), max_parallel=3)
        assert placed(planned(project)) == {"j0": "a", "j1": "b", "j2": "a"}

    def test_one_job_a_host_where_nothing_says_how_many(self) -> None:
        project = make.project(*jobs(4), placements=(A, B), max_parallel=None)
        assert placed(planned(project)) == {"j0": "a", "j1": "b"}

    def test_a_host_has_limits_of_its_own(self) -> None:
        few = replace(B, gpu_ids=("1",), max_parallel=1)
        project = make.gpu_project(*jobs(4), placements=(A, few))
        result = planned(project, views={"a": {"gpus": gpus(True)}, "b": {"gpus": gpus(True, True, True)}})
        assert placed(result) == {"j0": "a", "j1": "b"}
        assert [a.gpu_indices for a in result.actions] == [(0,), (1,)]

    def test_a_phase_has_hosts_of_its_own(self) -> None:
        phases = (replace(make.phase("one", jobs(2)), hosts=("b",)),)
        project = make.project(phases=phases, placements=(A, B))
        assert placed(planned(project)) == {"j0": "b", "j1": "b"}

    def test_a_job_that_is_tried_again_goes_back_to_where_it_was(self) -> None:
        record = make.record(make.over(1, key="p/j0", host="b", retry_at=NOW - 1))
        project = make.gpu_project(*jobs(1), placements=(A, B))
        views = {"a": {"gpus": gpus(True, True)}, "b": {"gpus": gpus(True)}}
        assert placed(planned(project, record, views=views)) == {"j0": "b"}
        views["b"] = {"gpus": gpus(False)}
        assert placed(planned(project, record, views=views)) == {"j0": "a"}

    def test_preconditions_are_those_of_each_host(self) -> None:
        job = make.job("j0", preconditions=(make.needs_file("data"),))
        project = make.project(job, placements=(A, B))
        lacks = {"preconditions": {"p/j0": (PreconditionFacts(False, "data does not exist"),)}}
        has = {"preconditions": {"p/j0": (PreconditionFacts(True),)}}
        assert placed(planned(project, views={"a": lacks, "b": has})) == {"j0": "b"}
        state = planned(project, views={"a": lacks, "b": lacks}).states["p/j0"]
        assert (state.reason, state.message) == (Reason.PRECONDITION_NOT_MET, "data does not exist")

    def test_outputs_on_any_host_complete_a_job(self) -> None:
        project = make.project(make.job("j0", outputs=("x",)), placements=(A, B))
        views = {"a": {"outputs": {"p/j0": make.NONE_YET}}, "b": {"outputs": {"p/j0": make.outputs("f")}}}
        (action,) = planned(project, views=views).actions
        assert (action.kind, action.host) == (ActionKind.COMPLETE, "b")

    def test_why_none_has_room_is_said_for_each(self) -> None:
        project = make.gpu_project(*jobs(1), placements=(A, B))
        state = planned(project, views={"a": GONE, "b": {"gpus": gpus(False)}}).states["p/j0"]
        assert state.reason is Reason.NO_FREE_GPU
        assert "a: a is down" in state.message
        assert "b: 0 of 1 GPUs free" in state.message


class TestUnknownHost:
    def test_the_others_go_on(self) -> None:
        live = make.attempt(1, "p/j0", host="a")
        project = make.project(*jobs(2), placements=(A, B), max_parallel=None)
        result = planned(project, make.record(live), views={"a": GONE})
        assert placed(result) == {"j1": "b"}
        assert result.states["p/j0"].reason is Reason.HOST_UNKNOWN

    def test_what_may_run_there_counts(self) -> None:
        live = make.attempt(1, "p/j0", host="a")
        project = make.project(*jobs(2), placements=(A, B), max_parallel=1)
        assert placed(planned(project, make.record(live), views={"a": GONE})) == {}

    def test_one_that_was_not_asked_is_no_news(self) -> None:
        live = make.attempt(1, "p/j0", host="a")
        project = make.project(*jobs(1), placements=(A, B))
        result = planned(project, make.record(live), views={"a": replace(GONE, quiet=True)})
        assert result.unknown == ()
        assert result.states["p/j0"].reason is Reason.RUNNING
        assert not result.settled

    def test_what_becomes_of_its_jobs_is_true_also_once_it_is_given_up(self) -> None:
        live = make.record(make.attempt(1, "p/j0", host="a"))
        project = make.project(*jobs(2), placements=(A, B))
        result = planned(project, live, views={"a": GONE})
        assert result.unknown[0] == "a: a is down; its jobs are left as they are"
        request = Request("r", RequestKind.FORGET_HOST, "a", "me@here", NOW - 1)
        after = with_requests(make.ledger(live), (request,)).jobs["p/j0"]
        assert planned(project, after, views={"a": GONE}).unknown == (
            "a: a is down; nothing is started there until it answers",
        )

    def test_forgetting_it_frees_its_jobs(self) -> None:
        live = make.attempt(1, "p/j0", host="a")
        ended = make.over(1, key="p/j1", host="a", released=False)
        request = Request("r", RequestKind.FORGET_HOST, "a", "me@here", NOW - 1)
        ledger = with_requests(make.ledger(make.record(live), make.record(ended)), (request,))
        assert ledger.open_attempts == {}
        project = make.project(*jobs(1), placements=(A, B))
        desired = make.desired(project)
        result = plan(desired, Observed({"a": GONE, "b": seen(desired, "b")}), ledger, NOW)
        assert placed(result) == {"j0": "b"}
        last = ledger.jobs["p/j0"].last
        assert last is not None
        assert last.verdict is not None
        assert last.verdict.reason is Reason.HOST_FORGOTTEN

    def test_what_still_runs_on_it_when_it_is_back_is_ended(self) -> None:
        given_up = make.over(1, key="p/j0", host="a", reason=Reason.HOST_FORGOTTEN, released=False)
        given_up = replace(given_up, ended_at=NOW - 3600)
        elsewhere = make.attempt(2, "p/j0", host="b")
        project = make.project(*jobs(1), placements=(A, B))
        views = {
            "a": {"attempts": {given_up.path: make.running()}},
            "b": {"attempts": {elsewhere.path: make.running()}},
        }
        result = planned(project, make.record(given_up, elsewhere), views=views)
        assert [(a.kind, a.host, a.attempt) for a in result.actions] == [(ActionKind.KILL, "a", 1)]


class TestIndex:
    def test_attempts_that_only_the_host_knows_are_taken_in_first(self) -> None:
        project = make.project(*jobs(2), placements=(A,))
        result = planned(project, views={"a": {"index": {"p/j0": 3}}})
        assert [(a.kind, a.job, a.attempt, a.host) for a in result.actions] == [(ActionKind.ADOPT, "p/j0", 3, "a")]

    def test_known_ones_are_not(self) -> None:
        project = make.project(*jobs(1), placements=(A,))
        result = planned(project, make.completed("p/j0"), views={"a": {"index": {"p/j0": 1}}})
        assert result.actions == ()


class TestTransfers:
    def project(self, **changes: Any) -> Project:
        teachers = make.phase("teachers", [make.job("t", outputs=("t.pt",))])
        students = make.phase("students", [make.job("s")], "teachers")
        given = {"fetch": True, **changes}
        return make.project(
            phases=(
                replace(teachers, hosts=("a",), push=given.get("push", False)),
                replace(students, hosts=("b",), fetch=given["fetch"]),
            ),
            placements=(A, B),
            collect=given.get("collect"),
            shared_fs=given.get("shared_fs", False),
        )

    def done(self, *copies: Copy) -> JobRecord:
        verdict = make.verdict(Reason.SUCCEEDED, JobStatus.COMPLETED)
        done = make.over(1, key="p/t", host="a", verdict=verdict)
        return replace(make.record(done), completed=done.verdict, generation="g1", completed_on="a", copies=copies)

    def test_a_job_waits_until_what_it_needs_is_there(self) -> None:
        result = planned(self.project(), self.done())
        assert result.states["p/s"].reason is Reason.INPUTS_ELSEWHERE
        assert [(t.job, t.source, t.place) for t in result.transfers] == [("p/t", "a", "b")]
        assert not result.settled

    def test_and_starts_then(self) -> None:
        result = planned(self.project(), self.done(Copy("b", 1, 1, 10, NOW)))
        assert placed(result) == {"s": "b"}
        assert result.transfers == ()

    def test_what_an_earlier_attempt_left_there_does_not_count(self) -> None:
        record = self.done(Copy("b", 1, 1, 10, NOW))
        again = replace(record, attempts=(replace(record.attempts[0], number=2),))
        assert placed(planned(self.project(), again)) == {}

    def test_hosts_that_share_their_files_bring_nothing(self) -> None:
        assert placed(planned(self.project(shared_fs=True), self.done())) == {"s": "b"}

    def test_pushed_as_soon_as_a_job_is_completed(self) -> None:
        result = planned(self.project(push=True, fetch=False), self.done(), views={"b": Unknown("b is down")})
        assert [(t.job, t.source, t.place) for t in result.transfers] == [("p/t", "a", "b")]

    def test_collected_with_the_log(self) -> None:
        result = planned(self.project(collect="/home"), self.done(Copy("b", 1, 1, 10, NOW)))
        assert [(t.job, t.attempt, t.place, t.folder) for t in result.transfers] == [("p/t", 1, COLLECTED, "/home")]

    @pytest.mark.parametrize("collected", [False, True])
    def test_a_campaign_is_over_when_all_is_collected(self, collected: bool) -> None:
        copies = [Copy(COLLECTED, 1, 1, 10, NOW)] if collected else []
        project = make.project(make.job("t"), placements=(A,), collect="/home")
        record = self.done(*copies)
        assert planned(project, record).settled is collected


def test_each_host_is_asked_for_what_concerns_it() -> None:
    phases = (
        replace(make.phase("one", [make.job("x", outputs=("x",))]), hosts=("a",)),
        replace(make.phase("two", [make.job("y", outputs=("y",))]), hosts=("b",)),
    )
    desired = make.desired(make.project(phases=phases, placements=(A, B)))
    asked = {host: needs(desired, Ledger(), None, host, full=True, turn=0) for host in ("a", "b")}
    assert {host: set(found.outputs) for host, found in asked.items()} == {"a": {"p/x"}, "b": {"p/y"}}


class TestLostAnswers:
    """The answer to a launch was lost: the ledger does not say that it took place."""

    @pytest.mark.parametrize(
        ("exists", "round_trip_s", "revoked"),
        [
            pytest.param(True, 0.1, False, id="begun"),
            pytest.param(False, 0.1, True, id="never-arrived"),
            pytest.param(True, None, True, id="here-nothing-is-lost"),
        ],
    )
    def test_the_folder_tells(self, exists: bool, round_trip_s: float | None, revoked: bool) -> None:
        doubtful = make.attempt(1, "p/j0", host="a", launched=False, intended_at=NOW - 1)
        facts = make.AttemptFacts(exists=exists)
        project = make.project(*jobs(1), placements=(A,))
        views = {"a": {"attempts": {doubtful.path: facts}, "round_trip_s": round_trip_s}}
        settles = make.settles(planned(project, make.record(doubtful), views=views))
        assert [action.revoke for action in settles] == ([True] if revoked else [])


@pytest.mark.parametrize("blind", [Unknown("nvidia-smi is not there"), ()], ids=["no-nvidia-smi", "no-gpu"])
def test_a_machine_without_gpus_takes_the_jobs_that_need_none(blind: Any) -> None:
    light, heavy = make.job("light"), make.job("heavy", gpus=1)
    project = make.project(light, heavy, gpu_pool=make.GpuPool(None), max_parallel=None, placements=(A,))
    result = planned(project, views={"a": {"gpus": blind}})
    assert placed(result) == {"light": "a"}
    assert result.states["p/heavy"].reason in (Reason.GPU_UNKNOWN, Reason.NO_SUCH_GPU)


def test_what_a_forgotten_host_still_runs_is_ended_at_once_when_it_is_back() -> None:
    given_up = make.over(1, key="p/j0", host="a", reason=Reason.HOST_FORGOTTEN, released=False, ended_at=NOW - 1)
    result = planned(
        make.project(*jobs(1), placements=(A,)),
        make.record(given_up),
        views={"a": {"attempts": {given_up.path: make.running()}}},
    )
    assert [(a.kind, a.path) for a in result.actions] == [(ActionKind.KILL, "p/j0/1")]


def test_slots_of_the_whole_project_are_told_of_once() -> None:
    live = make.attempt(1, "p/j0", host="a")
    project = make.project(*jobs(2), placements=(A, B, Placement("c", max_parallel=1)), max_parallel=1)
    state = planned(project, make.record(live), views={"b": GONE}).states["p/j1"]
    assert (state.reason, state.message) == (Reason.NO_FREE_SLOT, "the one slot is in use (max_parallel)")


@pytest.mark.parametrize("untold", [True, False])
def test_a_job_that_was_never_seen_waits_for_a_host_that_may_have_it(untold: bool) -> None:
    project = make.project(*jobs(1), placements=(A, B))
    result = planned(project, views={"a": replace(GONE, untold=untold)})
    assert placed(result) == ({} if untold else {"j0": "b"})
    assert untold is ("exq forget-host a" in result.states["p/j0"].message)


@pytest.mark.parametrize(
    ("index", "strays", "open_", "told"),
    [
        pytest.param({}, (), (), True, id="nothing-there"),
        pytest.param({"p/a": 2}, (), (), False, id="listed"),
        pytest.param({"p/a": 2}, (), ("p/a",), True, id="listed-and-known"),
        pytest.param({}, ("p/b/1",), (), False, id="lives-without-a-folder"),
    ],
)
def test_when_a_host_has_told_all(index: Any, strays: Any, open_: Any, told: bool) -> None:
    records = [make.record(make.attempt(2, key)) for key in open_]
    assert all_taken_in(make.ledger(*records), make.view(index=index, strays=strays)) is told


class TestOneThatHasItsNumberTwice:
    """A host was given up when no ledger knew what ran there: its jobs were started elsewhere with the same numbers."""

    BOOTS: ClassVar = {"a": {"boot_id": "boot-a", "strays": ("p/j0/1",)}, "b": {"boot_id": "boot-b"}}

    def look(self, record: JobRecord, **views: Any) -> Plan:
        project = make.project(*jobs(2), placements=(A, B))
        return planned(project, record, views={host: {**self.BOOTS[host], **views.get(host, {})} for host in "ab"})

    @pytest.mark.parametrize("reason", [Reason.CODE_ERROR, Reason.STOPPED_BY_USER, Reason.SUCCEEDED])
    def test_it_is_not_taken_for_the_one_that_has_ended(self, reason: Reason) -> None:
        ended = make.over(1, reason, key="p/j0", host="b", retry_at=NOW - 1)
        result = self.look(make.record(ended))
        assert ActionKind.ADOPT not in {action.kind for action in result.actions}
        assert placed(result) == {"j1": "a"}, "its job waits, others do not"
        assert result.unknown == (
            "a runs an attempt 1 of p/j0, and the one that the ledger has is on b; it is left alone: end it there if "
            "it is not wanted",
        )

    def test_nothing_is_settled_before_it_has_ended(self) -> None:
        completed = [
            replace(make.completed(f"p/j{n}"), attempts=(make.over(1, key=f"p/j{n}", host="b"),)) for n in (0, 1)
        ]
        project = make.project(*jobs(2), placements=(A, B))
        assert not planned(project, *completed, views=self.BOOTS).settled
        assert planned(project, *completed, views={**self.BOOTS, "a": {"boot_id": "boot-a"}}).settled

    def test_nor_for_the_one_that_runs(self) -> None:
        live = make.attempt(1, "p/j0", host="b")
        result = self.look(make.record(live), b={"attempts": {live.path: make.running()}})
        assert ActionKind.ADOPT not in {action.kind for action in result.actions}
        assert result.states["p/j0"].status is JobStatus.RUNNING and len(result.unknown) == 1

    def test_a_machine_with_two_names_has_it_once(self) -> None:
        live = make.attempt(1, "p/j0", host="b")
        facts = {"boot_id": "boot-a", "strays": ("p/j0/1",), "attempts": {live.path: make.running()}}
        assert self.look(make.record(live), a=facts, b=facts).unknown == ()


@pytest.mark.parametrize(("host", "unfollowed"), [("a", False), ("b", True)])
def test_what_only_a_full_look_sees(host: str, unfollowed: bool) -> None:
    ledger = make.ledger(make.record(make.attempt(1, "p/a", host="a")))
    assert runs_unfollowed(ledger, replace(make.view(strays=("p/a/1",)), host=host)) is unfollowed
    assert runs_unfollowed(ledger, make.view(strays=("p/b/1",)))
    assert not runs_unfollowed(ledger, make.view())
