from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.model.enums import RequestKind
from reconciler.model.facts import AttemptFacts, Exited, Observed, OutputFacts
from reconciler.model.spec import SpecFile
from reconciler.view.diff import render_diff
from reconciler.view.status import render_status, status_json
from reconciler.view.style import Style
from reconciler.view.why import why_json
from tests.unit.view import factories as f
from tests.unit.view.scenarios import distillation

STYLE = Style()


def test_the_whole_page() -> None:
    daemon = {"pid": 93534, "host": "gpu-box", "since": f.at("11:01")}
    assert (
        render_status(distillation(teacher_runs=True), STYLE, daemon)
        == """\
distill: 1/26 completed, 1 running, 24 waiting
  train_teachers    [##########..........]  1/2   1 running, about 21 min left
  distill_students  [....................]  0/24  waits for train_teachers (1 of 2 completed)

sweep: 12/16 completed, 2 running, 1 waiting, 1 stuck, about 19 min left
  [###############.....] 12/16

running
    distill/t_N512   GPU 3  3 min 11 s  pid 2801, about 21 min left
    sweep/s200_N64   GPU 0  11 min      pid 2701, about 9 min left
    sweep/s200_N128  GPU 1  11 min      pid 2702, about 9 min left

waiting
  . 24 jobs        distill / distill_students  phase not open
  . sweep/s42_N64  sweep                       GPU out of memory on GPU 1, attempt 2 of 3, elsewhere
                                               (GpuOutOfMemory); again at 12:03:11

stuck
  ! sweep/s42_N128  exit 1 (CodeError); exq logs s42_N128, exq retry s42_N128

GPUs, local observed 0.4 s ago
    0  NVIDIA A100  30,112 of 40,960 MiB  sweep/s200_N64/1
    1  NVIDIA A100  30,112 of 40,960 MiB  sweep/s200_N128/1
    2  NVIDIA A100  14,850 of 40,960 MiB  alice pid 2797307
    3  NVIDIA A100  30,112 of 40,960 MiB  distill/t_N512/1

The loop runs on gpu-box since 11:01 (pid 93534).
"""
    )


def small(**changes: object) -> f.Snapshot:
    wanted = f.desired(f.project("sweep", {"main": ["a", "b"]}))
    states = [
        f.state("sweep/a", "pending", "Paused", "sweep is paused; exq resume sweep lifts that"),
        f.state("sweep/b", "running", "ScreenGone", "running; its screen is gone, the log goes on", attempt=2),
    ]
    known = f.ledger(f.record(f.attempt("sweep/b", 2)), paused=frozenset({"sweep", "sweep/a"}))
    made = f.plan(wanted, states, unknown=("local: screen -ls did not answer; nothing is launched in screens",))
    request = f.Request("r1", RequestKind.STOP, "sweep/b", "alice@box", f.at("12:01"))
    return replace(f.snapshot(wanted, made, known, requests=[request]), **changes)  # type: ignore[arg-type]


def test_what_is_odd_is_said() -> None:
    assert (
        render_status(small(), STYLE, {})
        == """\
? local: screen -ls did not answer; nothing is launched in screens

sweep: 0/2 completed, 1 running, 1 waiting  (paused; exq resume sweep)
  [....................] 0/2

running
    b    starting  attempt 2, running; its screen is gone, the log goes on (ScreenGone)

waiting
  . a  sweep  sweep is paused; exq resume sweep lifts that

stop sweep/b: asked by alice@box at 12:01, not carried out yet
paused: sweep/a (exq resume sweep/a)
No loop is running. exq run starts one.
"""
    )


def test_the_line_about_the_loop_is_left_out_when_nobody_asked() -> None:
    assert "loop" not in render_status(small(), STYLE)


def test_mistakes_are_told_in_the_words_of_diff() -> None:
    snapshot = small()
    broken = (SpecFile("specs/a.yaml", "d", broken=True, last_good=True), SpecFile("specs/b.yaml", "d", broken=True))
    errors = tuple(f.SpecError(file.path, 1, 1, "odd") for file in broken)
    wanted = replace(snapshot.desired, files=broken, errors=errors)
    assert render_status(replace(snapshot, desired=wanted), STYLE).splitlines()[1:4] == [
        "! 2 mistakes in the specs (exq validate)",
        "specs/a.yaml has mistakes: its last version without any stays in force.",
        "specs/b.yaml has mistakes: nothing is changed for its jobs until it loads.",
    ]


def test_an_empty_folder_is_no_mistake_of_a_file() -> None:
    wanted = f.desired(errors=[f.SpecError("specs", 0, 0, "there is no spec in this folder")])
    text = render_status(f.snapshot(wanted, f.plan(wanted, [])), STYLE)
    assert text == "! specs: there is no spec in this folder\n\nThe specs ask for no job.\n"


def test_alerts_are_shown() -> None:
    snapshot = small()
    snapshot = replace(snapshot, plan=replace(snapshot.plan, alerts=("sweep: the specs ask for GPU 7",)))
    assert "\n! sweep: the specs ask for GPU 7\n" in render_status(snapshot, STYLE)


def test_many_stuck_jobs_are_one_row_and_no_retry_helps_one_without_a_command() -> None:
    ids = [f"j{i}" for i in range(8)]
    wanted = f.desired(f.project("big", {"main": ids}))
    states = [f.state(f"big/{i}", "stuck", "NoCommand", "no command: add cmd") for i in ids[:4]]
    states += [f.state(f"big/{i}", "stuck", "CodeError", "exit 1", attempt=1) for i in ids[4:]]
    text = render_status(f.snapshot(wanted, f.plan(wanted, states)), STYLE)
    assert text.split("stuck\n")[-1].splitlines() == [
        "  ! 4 jobs  no command: add cmd (NoCommand); exq why j0",
        "  ! 4 jobs  exit 1 (CodeError); exq logs j4, exq retry big",
    ]


def test_without_a_loop_and_with_nothing_running_there_is_no_estimate() -> None:
    wanted = f.desired(f.project("p", {"main": ["a", "b"]}))
    states = [f.state("p/a", "completed", "Succeeded"), f.state("p/b", "pending", "NewInSpec")]
    snapshot = f.snapshot(wanted, f.plan(wanted, states), f.ledger(f.record(f.ended("p/a", "10:00", "10:10"))))
    assert "about 10 min left" in render_status(snapshot, STYLE, {"pid": 1})
    assert "left" not in render_status(snapshot, STYLE, {})
    assert status_json(snapshot, {"pid": 1})["phases"][0]["eta_s"] == 600
    assert status_json(snapshot, None)["phases"][0]["eta_s"] is None


def test_no_job() -> None:
    wanted = f.desired()
    assert render_status(f.snapshot(wanted, f.plan(wanted, [])), STYLE) == "The specs ask for no job.\n"


@pytest.mark.parametrize(
    ("status", "words"), [("running", "left alone; exq stop ends it"), ("completed", "it has ended")]
)
def test_what_no_spec_asks_for(status: str, words: str) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    states = [f.state("sweep/old", status, "Orphan", "no spec asks for it any more", phase="", attempt=1)]
    shown = render_status(f.snapshot(wanted, f.plan(wanted, states)), STYLE)
    assert f"not in the specs any more\n  ~ sweep/old  {status}  {words}\n" in shown


def test_json_of_a_running_job() -> None:
    shown = json.loads(json.dumps(status_json(distillation(teacher_runs=True))))
    assert shown["schema"] == "exq.status/v1"
    assert shown["as_of"] == "2026-04-17T12:01:11Z"
    jobs = {job["key"]: job for job in shown["jobs"]}
    assert len(jobs) == 42
    assert jobs["distill/t_N512"] == {
        "key": "distill/t_N512",
        "id": "t_N512",
        "project": "distill",
        "phase": "train_teachers",
        "status": "running",
        "reason": "Running",
        "message": "running",
        "until": None,
        "drift": False,
        "attempts": 1,
        "host": "local",
        "gpus": [3],
        "session": "exq.distill.t_N512.1",
        "pid": 2801,
        "started": "2026-04-17T11:58:00Z",
        "ended": None,
        "completed": None,
        "exit_code": None,
        "output": [],
    }
    assert jobs["distill/d_N512_s42"]["host"] == "local"


def test_json_of_a_completed_job() -> None:
    snapshot = distillation(teacher_runs=True)
    view = f.host(outputs={"distill/t_N384": OutputFacts(("x",), 1.0, ("ckpt/t_N384.pt",))})
    snapshot = replace(snapshot, observed=replace(snapshot.observed, hosts={"local": view}))
    jobs = {job["key"]: job for job in status_json(snapshot)["jobs"]}
    done = jobs["distill/t_N384"]
    wanted = {
        "status": "completed",
        "attempts": 1,
        "session": None,
        "pid": None,
        "gpus": [1],
        "exit_code": 0,
        "started": "2026-04-17T11:16:00Z",
        "completed": "2026-04-17T11:40:00Z",
        "output": ["ckpt/t_N384.pt"],
    }
    assert {key: done[key] for key in wanted} == wanted


def test_json_of_phases_and_hosts() -> None:
    shown = status_json(distillation(teacher_runs=True))
    assert shown["phases"][1] == {
        "project": "distill",
        "name": "distill_students",
        "depends_on": ["train_teachers"],
        "open": False,
        "counts": {"pending": 24, "running": 0, "completed": 0, "failed_oom": 0, "failed_other": 0, "stuck": 0},
        "total": 24,
        "waiting_on": "waits for train_teachers (1 of 2 completed)",
        "eta_s": None,
    }
    assert shown["phases"][0]["eta_s"] == 24 * 60 - 191
    box = shown["hosts"][0]
    assert (box["name"], box["reachable"], box["sessions"], box["unknown"]) == ("local", True, 0, [])
    assert box["gpus"][2] == {
        "index": 2,
        "uuid": "GPU-2",
        "name": "NVIDIA A100",
        "used_mib": 14850,
        "total_mib": 40960,
        "utilization_percent": 0,
        "users": [{"user": "alice", "pid": 2797307, "used_mib": 14847, "command": "python"}],
    }
    assert box["gpus"][3]["users"] == [{"attempt": "distill/t_N512/1"}]


def test_json_says_what_is_unknown() -> None:
    view = f.host(sessions=f.Unknown("screen hangs"), gpus=f.Unknown("driver mismatch"))
    snapshot = small()
    (project,) = snapshot.desired.projects.values()
    wanted = f.desired(replace(project, placements=(f.Placement("local"), f.Placement("far"))))
    far_view = f.Unknown("no route", since=f.at("11:30"))
    seen = replace(snapshot, desired=wanted, observed=Observed({"local": view, "far": far_view}))
    local, far = status_json(seen)["hosts"]
    assert (local["sessions"], local["gpus"], local["unknown"]) == (None, None, ["screen hangs", "driver mismatch"])
    assert far["reachable"] is False
    assert (far["message"], far["unknown"]) == ("no route", ["no route"])
    assert (far["last_answer_at"], far["gpus"]) == ("2026-04-17T11:30:00Z", None)
    assert (local["message"], local["clock_ahead_s"]) == (None, 0.0)
    assert set(far) == set(local)


@pytest.mark.parametrize(("lock", "code"), [(None, 137), ("job", None)])
def test_an_end_that_was_seen_but_is_not_recorded_yet_is_told(lock: str | None, code: int | None) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    made = f.plan(wanted, [f.state("sweep/a", "stuck", "KilledBySignal", "killed")])
    ended = AttemptFacts(exists=True, claimed=True, exited=Exited(137, f.at("11:59"), lock_held=lock))
    ledger = f.ledger(f.record(f.attempt("sweep/a", started_at=f.at("11:58"))))
    snapshot = f.snapshot(wanted, made, ledger)
    snapshot = replace(snapshot, observed=Observed({"local": f.host(attempts={"sweep/a/1": ended})}))
    (job,) = status_json(snapshot)["jobs"]
    assert job["exit_code"] == code
    assert bool(job["ended"]) == (code is not None)
    assert why_json(snapshot, "sweep/a")["attempts"][0]["exit_code"] == code


@pytest.mark.parametrize(
    ("attempts", "count"),
    [
        ([f.ended("sweep/a", "11:00", "11:01", "failed_other", "LaunchLost", "lost", exit_code=None)], 0),
        ([f.ended("sweep/a", "11:00", "11:01", "failed_other", "LockHeld", "held", exit_code=75)], 0),
        ([f.ended("sweep/a", "11:00", "11:01", "failed_other", "CodeError", "exit 1")], 1),
        ([f.attempt("sweep/a")], 0),
        ([f.attempt("sweep/a", started_at=f.at("11:58"))], 1),
    ],
)
def test_only_attempts_that_ran_user_code_count(attempts: list[f.AttemptRecord], count: int) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    made = f.plan(wanted, [f.state("sweep/a", "pending", "NoFreeSlot", "no")])
    shown = status_json(f.snapshot(wanted, made, f.ledger(f.record(*attempts))))
    assert shown["jobs"][0]["attempts"] == count


@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        (f.attempt("sweep/@analyze"), "  analysis started at 11:58; exq logs sweep/@analyze"),
        (f.ended("sweep/@analyze", "11:58", "11:59"), "  analysis 11:59: completed; exq logs sweep/@analyze"),
        (
            f.ended("sweep/@analyze", "11:58", "11:59", "failed_other", "CodeError", "exit 1"),
            "  analysis 11:59: exit 1 (CodeError); exq logs sweep/@analyze",
        ),
    ],
)
def test_the_analysis_is_no_job(attempt: f.AttemptRecord, line: str) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    states = [
        f.state("sweep/a", "completed", "Succeeded", "exit 0", attempt=1),
        f.state("sweep/@analyze", "running", "Orphan", "no spec asks for it any more", phase="", attempt=1),
    ]
    snapshot = f.snapshot(wanted, f.plan(wanted, states), f.ledger(f.record(attempt)))
    assert render_status(snapshot, STYLE) == f"sweep: 1/1 completed\n  [####################] 1/1\n{line}\n"
    assert [job["key"] for job in status_json(snapshot)["jobs"]] == ["sweep/a"]
    assert render_diff(snapshot, STYLE).endswith("\n\nNothing to do: the one job is completed.\n")


def test_why_a_phase_waits_is_wrapped() -> None:
    found = distillation(teacher_runs=True)
    why = "exit 1: RuntimeError: the checkpoint of the teacher has other layers"
    long = f"waits for train_teachers: t_N512 is stuck ({why})"
    phases = tuple(replace(p, waiting_on=long) if p.waiting_on else p for p in found.plan.phases)
    page = render_status(replace(found, plan=replace(found.plan, phases=phases)), STYLE)
    assert (
        """\
  distill_students  [....................]  0/24  waits for train_teachers: t_N512 is stuck (exit 1:
                                                  RuntimeError: the checkpoint of the teacher has
                                                  other layers)
"""
        in page
    )
