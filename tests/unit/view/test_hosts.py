"""What the views say where a project has several hosts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.model.facts import DiskFacts, Observed, PreconditionFacts
from reconciler.model.ledger import COLLECTED
from reconciler.view import look
from reconciler.view.diff import diff_json, next_step, render_diff
from reconciler.view.estimate import _slots
from reconciler.view.hosts import render_hosts
from reconciler.view.hosts_json import hosts_json
from reconciler.view.status import render_status, status_json
from reconciler.view.style import Style
from reconciler.view.tick import render_tick
from reconciler.view.why import render_why, why_json
from reconciler.view.words import host_once
from tests.unit.view import factories as f
from tests.unit.view.fleets import SILENT, bring, fleet, view, wanted

STYLE = Style()
WIDE = Style(width=110)


def test_diff() -> None:
    assert (
        render_diff(fleet(), WIDE)
        == """\
specs at 3f2c1d9 (1 file, 5 jobs), a observed 0.4 s ago, b could not be observed (last heard of 3 min 9 s
  ago), c observed 0.4 s ago

not known now: nothing that depends on it is launched, requeued or killed
  ? b (10.0.0.7) did not answer within 10 s; is it up? try it by hand: `ssh b true`; its jobs are left as
    they are

fleet / train                                  1 of 4 completed
  + t3             launch on a, GPU 1          new in spec
  . t4             pending                     b (10.0.0.7) did not answer within 10 s; is it up? try it by
                                               hand: `ssh b true`; a: 0 of 2 GPUs free
fleet / test                                   waits for train (1 of 4 completed)
  . last           pending                     phase not open
outputs to bring
  > 1 job          from a to c                 t1

Plan: 1 to launch, 0 to requeue, 0 to kill, outputs of 1 job to bring; 2 waiting, 2 unchanged. (p1a2n3)
"""
    )


def test_diff_json() -> None:
    shown = json.loads(json.dumps(diff_json(fleet(transfers=(bring("fleet/t1", "a", COLLECTED),)))))
    assert shown["transfers"] == [
        {"job": "fleet/t1", "attempt": 1, "source": "a", "place": "collected", "patterns": ["out/t1.json"]}
    ]
    assert [action["host"] for action in shown["actions"]] == ["a"]
    assert len(shown["unknown"]) == 2


def test_outputs_alone_are_something_to_do() -> None:
    acting = fleet(unknown=(), transfers=(bring("fleet/t1", "a", COLLECTED),))
    snapshot = replace(acting, plan=replace(acting.plan, actions=()))
    text = render_diff(snapshot, WIDE)
    assert "  > 1 job          from a                      collect into /home/me/collected/fleet: t1\n" in text
    assert "Nothing to do" not in text
    assert next_step(snapshot) == "Next: exq run"
    assert next_step(snapshot, {"pid": 7}) == "The loop (pid 7) will carry it out."


def test_one_host_goes_without_saying() -> None:
    desired = f.desired(replace(wanted(), placements=(f.Placement("a"),), phases=wanted().phases[:1]))
    made = f.plan(desired, [], [replace(f.launch("fleet/t3", gpus=[1]), host="a")])
    snapshot = f.snapshot(desired, made, seen={"local": f.host(), "a": view("a")})
    assert "  + t3             launch on GPU 1" in render_diff(snapshot, STYLE)
    assert "launched on GPU 1 (attempt 1)" in render_tick(snapshot, made.actions, STYLE)
    assert "local" not in render_diff(snapshot, STYLE)


def test_the_loop_says_where_it_launched() -> None:
    snapshot = fleet()
    assert "launched on a, GPU 1 (attempt 1)" in render_tick(snapshot, snapshot.plan.actions, STYLE)


def test_status() -> None:
    text = render_status(fleet(), WIDE)
    assert "\nrunning\n    t2  b, GPU 0  since 11:40  b (10.0.0.7)" in text
    assert "\nGPUs, a observed 0.4 s ago\n" in text
    assert "local" not in text
    assert text.count("did not answer") == 3  # the note, the running job and the one that waits


def test_status_with_hosts() -> None:
    text = render_status(fleet(), WIDE, hosts=True)
    assert "\nGPUs, a" not in text
    assert text.endswith(f"\n\nhosts\n{render_hosts(fleet(), WIDE, ['a', 'b', 'c'])}")


def test_many_gpus_are_a_line_a_host() -> None:
    snapshot = fleet()
    several = {name: view(name, gpus=tuple(f.gpu(i) for i in range(16))) for name in ("a", "b", "c")}
    shown = render_status(replace(snapshot, observed=Observed(several)), STYLE)
    assert "    a  16 of 16 free\n    b  15 of 16 free\n    c  16 of 16 free\n" in shown
    assert "NVIDIA" not in shown


def test_status_json_says_where_jobs_are() -> None:
    shown = json.loads(json.dumps(status_json(fleet())))
    hosts = {job["id"]: job["host"] for job in shown["jobs"]}
    assert hosts == {"t1": "a", "t2": "b", "t3": None, "t4": None, "last": "c"}
    assert [host["name"] for host in shown["hosts"]] == ["a", "b", "c"]


def test_hosts() -> None:
    assert (
        render_hosts(fleet(), WIDE, ["a", "b", "c"])
        == """\
  = a  1.2 ms     me  2 GPUs, 1 free (1): GPU 0 alice pid 27 (14,850 of 40,960 MiB); no job; 812 GiB of disk
                      free
  ! b  no answer      b (10.0.0.7) did not answer within 10 s; is it up? try it by hand: `ssh b true`
                      last heard of at 11:58:02 (3 min 9 s ago)
                      may still run there: fleet/t2 (since 11:40); exq forget-host b gives it up
  = c  1.2 ms     me  no job; 812 GiB of disk free
"""
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clock_ahead_s": 302.0}, "its clock is 5 min 2 s ahead"),
        ({"clock_ahead_s": -86400.0}, "its clock is 1 d behind"),
        ({"round_trip_s": 0.0301}, "= a 30 ms me"),
        ({"booted_at": f.NOW - 7200}, "up 2 h"),
        ({"disk": DiskFacts(7)}, "only 7 MiB of disk free"),
        ({"disk": DiskFacts(0, False, "the state folder cannot be written: quota")}, "cannot be written: quota"),
        ({"disk": f.Unknown("df hangs")}, "disk not known (df hangs)"),
        ({"gpus": f.Unknown("nvidia-smi hangs")}, "GPUs not known (nvidia-smi hangs)"),
        ({"sessions": f.Unknown("screen hangs")}, "screens not known (screen hangs)"),
        ({"gpus": (f.gpu(0, 900),)}, "1 GPU, 0 free: GPU 0 900 of 40,960 MiB, by whom cannot be seen"),
    ],
)
def test_what_is_told_of_a_host(changes: dict[str, object], words: str) -> None:
    snapshot = replace(fleet(), observed=Observed({"a": view("a", **changes)}))
    assert words in " ".join(render_hosts(snapshot, WIDE, ["a"]).split())


def test_small_differences_of_clocks_are_not_told() -> None:
    snapshot = replace(fleet(), observed=Observed({"a": view("a", clock_ahead_s=1.9)}))
    assert "clock" not in render_hosts(snapshot, WIDE, ["a"])


def test_jobs_on_a_host() -> None:
    snapshot = fleet()
    attempts = [
        f.attempt("fleet/t3", host="a", gpu_indices=(1,)),
        f.attempt("fleet/t4", host="a"),
        replace(f.ended("fleet/t1", "11:00", "11:30", host="a"), released=False),
    ]
    crowded = replace(snapshot, ledger=f.ledger(*map(f.record, attempts)))
    text = " ".join(render_hosts(crowded, WIDE, ["a"]).split())
    assert "GPU 1 fleet/t3 (3 of 40,960 MiB)" in text
    assert "2 jobs running (fleet/t4); 1 attempt ended and not let go of yet (fleet/t1/1)" in text
    (host,) = hosts_json(crowded, ["a"])["hosts"]
    assert (host["running"], host["unreleased"]) == (["fleet/t3/1", "fleet/t4/1"], ["fleet/t1/1"])


def test_hosts_json() -> None:
    shown = json.loads(json.dumps(hosts_json(fleet(), ["a", "b"])))
    assert shown["schema"] == "exq.hosts/v1"
    a, b = shown["hosts"]
    assert a.items() >= {"name": "a", "reachable": True, "message": None, "user": "me", "round_trip_s": 0.0012}.items()
    assert b.items() >= {"name": "b", "reachable": False, "message": SILENT, "running": ["fleet/t2/1"]}.items()
    assert b["last_answer_at"] == "2026-04-17T11:58:02Z"
    assert set(a) == set(b)


def test_why_a_job_on_a_silent_host_is_left_alone() -> None:
    assert (
        render_why(fleet(), "fleet/t2", WIDE)
        == """\
fleet/t2 is running: HostUnknown
  b (10.0.0.7) did not answer within 10 s; is it up? try it by hand: `ssh b true`
  attempt 1 on b, GPU 0, screen exq.fleet.t2.1
  b was last heard of at 11:58:02 (3 min 9 s ago)
  it may still run: it is left alone until b answers, or until it is given up (exq forget-host b)
  attempts:
    1  11:40:00    b, GPU 0  not over
  next: exq hosts b
"""
    )


def test_why_says_what_is_free_on_each_host() -> None:
    delayed = f.state("fleet/t4", "failed_oom", "GpuOutOfMemory", "oom", "train", until=f.at("12:03:11"), attempt=1)
    snapshot = fleet()
    states = {**snapshot.plan.states, "fleet/t4": delayed}
    chain = why_json(replace(snapshot, plan=replace(snapshot.plan, states=states)), "fleet/t4")["chain"]
    assert chain[-1] == (
        "then a free GPU: 1 of 2 now (a: GPU 0 14,850 MiB by alice pid 27, GPU 1 free; b: not known now)"
    )


@pytest.mark.parametrize(
    ("limits", "of_project", "words"),
    [
        ((None, None), 4, "a free slot: 3 of 4 now (t2 running)"),
        ((2, 1), None, "a free slot: 2 of 3 now (a: 2 of 2, b: 0 of 1)"),
        ((2, 3), 2, "a free slot: 1 of 2 now (a: 2 of 2, b: 2 of 3)"),
        ((None, None), None, "a free slot: 1 of 2 now (a: 1 of 1, b: 0 of 1)"),
    ],
)
def test_slots_on_several_hosts(limits: tuple[int | None, ...], of_project: int | None, words: str) -> None:
    places = tuple(f.Placement(name, None, limit) for name, limit in zip("ab", limits, strict=True))
    phases = wanted().phases[:1]
    project = replace(wanted(), gpu_pool=None, placements=places, phases=phases, max_parallel=of_project)
    snapshot = replace(fleet(), desired=f.desired(project))
    reason = f.state("fleet/t4", "failed_oom", "HostOutOfMemory", "oom", "train", until=f.at("12:03:11"), attempt=1)
    states = {**snapshot.plan.states, "fleet/t4": reason}
    shown = why_json(replace(snapshot, plan=replace(snapshot.plan, states=states)), "fleet/t4")
    assert shown["chain"][-1] == f"then {words}"


def test_why_says_what_is_on_its_way() -> None:
    message = "outputs of 2 jobs that it needs are being brought from a to c"
    state = f.state("fleet/last", "pending", "InputsElsewhere", message, "test")
    moving = (bring("fleet/t1", "a", "c"), bring("fleet/t2", "a", "c"), bring("fleet/t1", "a", COLLECTED))
    snapshot = fleet(transfers=moving)
    waiting = replace(snapshot.plan, states={**snapshot.plan.states, "fleet/last": state})
    chain = why_json(replace(snapshot, plan=waiting), "fleet/last")["chain"]
    assert chain[0] == "outputs of t1, t2 are brought from a to c"
    assert why_json(replace(snapshot, plan=replace(waiting, transfers=())), "fleet/last")["chain"][0] == message


def test_why_says_where_outputs_go() -> None:
    chain = why_json(fleet(transfers=(bring("fleet/t1", "a", "c"), bring("fleet/t1", "a", COLLECTED))), "fleet/t1")[
        "chain"
    ]
    assert chain == [
        "completed at 11:30:00: exit 0",
        "its outputs are to be brought from a to c",
        "its outputs and log are to be collected from a into /home/me/collected/fleet",
        "its outputs and log are collected in /home/me/collected/fleet (2 files)",
    ]


def test_preconditions_say_where_they_do_not_hold() -> None:
    needs = (f.Precondition(f.PreconditionKind.DIR_EXISTS, "data"), f.Precondition(f.PreconditionKind.COMMAND, "true"))
    project = wanted()
    train = replace(project.phases[0], jobs=(f.job("fleet/t4", "train", preconditions=needs, gpus=1),))
    desired = f.desired(replace(project, phases=(train, project.phases[1])))
    state = f.state("fleet/t4", "pending", "PreconditionNotMet", "no data", "train")
    missing, met = PreconditionFacts(False, "no such folder"), PreconditionFacts(True)
    hosts = {
        "a": view("a", preconditions={"fleet/t4": (missing, met)}),
        "b": view("b", preconditions={"fleet/t4": (missing, f.Unknown("timed out"))}),
    }
    chain = why_json(f.snapshot(desired, f.plan(desired, [state]), seen=hosts), "fleet/t4")["chain"]
    assert chain[:2] == ["dir_exists data: no such folder", "b: command true: not known (timed out)"]


def test_outputs_are_looked_for_where_they_are() -> None:
    found = f.OutputFacts(("1",), paths=("/home/me/exp/out/t1.json",))
    snapshot = replace(fleet(), observed=Observed({"a": view("a", outputs={"fleet/t1": found}), "c": view("c")}))
    facts = look.outputs_of(snapshot, "fleet/t1")
    assert facts is not None
    assert facts.paths == found.paths
    assert look.outputs_of(snapshot, "fleet/t3") is None


def test_how_many_jobs_may_run_at_a_time_counts_all_hosts() -> None:
    snapshot = fleet()
    assert _slots(snapshot, "fleet") == 2  # the GPUs of a; those of b are not known, c has none
    whole = {**snapshot.observed.hosts, "b": view("b", gpus=(f.gpu(0), f.gpu(1)))}
    assert _slots(replace(snapshot, observed=Observed(whole)), "fleet") == 3  # of b only one at a time
    fewer = f.desired(wanted(max_parallel=2))
    assert _slots(replace(snapshot, desired=fewer, observed=Observed(whole)), "fleet") == 2


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("b: b (10.0.0.7) did not answer", "b (10.0.0.7) did not answer"),
        ("a: 0 of 2 GPUs free; b: b did not answer", "a: 0 of 2 GPUs free; b did not answer"),
        ("p/a/1: gpu.b: gpu.b through c cannot be reached", "p/a/1: gpu.b through c cannot be reached"),
        ("b: bb (10.0.0.7) did not answer", "b: bb (10.0.0.7) did not answer"),
        ("a: a live attempt is taken in first", "a: a live attempt is taken in first"),
    ],
)
def test_a_host_is_named_once(text: str, once: str) -> None:
    assert host_once(text) == once
