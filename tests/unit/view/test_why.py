from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.model.enums import PreconditionKind
from reconciler.model.facts import CodeFacts, PreconditionFacts
from reconciler.model.ledger import JobRecord, Ledger
from reconciler.model.needs import code_key
from reconciler.planner.pins import pin_for
from reconciler.view.style import Style
from reconciler.view.why import render_why, why_json
from tests.unit.view import factories as f
from tests.unit.view.scenarios import distillation

STYLE = Style(width=110)
WORLD = distillation(teacher_runs=True)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "distill/d_N512_s42",
            """\
distill/d_N512_s42 is pending: PhaseNotReady
  needs train_teachers: t_N384 completed 11:40, t_N512 running on GPU 3 since 11:58 (about 21 min left)
  then a free GPU: 0 of 4 now (GPU 0-1 ours, GPU 2 14,850 MiB by alice pid 2797307, GPU 3 ours)
""",
        ),
        (
            "sweep/s42_N128",
            """\
sweep/s42_N128 is stuck: CodeError
  exit 1
  its log: attempts/sweep/s42_N128/1/log in the state folder, or exq logs s42_N128
  attempts:
    1  11:00:00  1m 00s    failed_other: exit 1 (CodeError)
  next: exq logs s42_N128, exq retry s42_N128
""",
        ),
        (
            "distill/t_N512",
            """\
distill/t_N512 is running: Running
  attempt 1 on local, GPU 3, pid 2801, screen exq.distill.t_N512.1
  since 11:58:00 (3 min 11 s), about 21 min left
  attempts:
    1  11:58:00    GPU 3  not over
  next: exq logs -f t_N512
""",
        ),
        (
            "distill/t_N384",
            """\
distill/t_N384 is completed: Succeeded
  completed at 11:40:00: exit 0
  attempts:
    1  11:16:00  24m  GPU 1  completed: exit 0 (Succeeded)
""",
        ),
    ],
)
def test_the_chain(key: str, text: str) -> None:
    assert render_why(WORLD, key, STYLE) == text


def test_an_unknown_job_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        render_why(WORLD, "sweep/nonsense", STYLE)


def test_retry_delay() -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a", "b"]}))
    tries = [
        f.ended("sweep/a", "11:40", "11:41", "failed_oom", "HostOutOfMemory", "MemoryError", number=1),
        f.ended("sweep/a", "11:50", "11:51", "failed_oom", "HostOutOfMemory", "MemoryError", number=2),
    ]
    message = "MemoryError (attempt 2); it is tried again after a delay"
    states = [
        f.state("sweep/a", "failed_oom", "HostOutOfMemory", message, until=f.at("12:03:11"), attempt=2),
        f.state("sweep/b", "running", "Running", "running", attempt=1),
    ]
    snapshot = f.snapshot(wanted, f.plan(wanted, states), f.ledger(f.record(*tries)))
    assert (
        render_why(snapshot, "sweep/a", STYLE)
        == """\
sweep/a is failed_oom: HostOutOfMemory
  MemoryError (attempt 2); it is tried again after a delay
  next try at 12:03:11 (in 2 min); 2 of 3 attempts used
  then a free slot: 1 of 2 now (b running)
  attempts:
    1  11:40:00  1m 00s    failed_oom: MemoryError (HostOutOfMemory)
    2  11:50:00  1m 00s    failed_oom: MemoryError (HostOutOfMemory)
"""
    )


def waiting(reason: str, message: str, **known: object) -> f.Snapshot:
    wanted = f.desired(f.project("sweep", {"main": ["a", "b", "c"]}, max_parallel=1))
    states = [
        f.state("sweep/a", "running", "Running", "running", attempt=1),
        f.state("sweep/b", "pending", reason, message),
        f.state("sweep/c", "pending", reason, message),
    ]
    return f.snapshot(wanted, f.plan(wanted, states), f.ledger(f.record(f.attempt("sweep/a")), **known))


def test_no_free_slot_says_who_holds_it_and_who_comes_first() -> None:
    text = render_why(waiting("NoFreeSlot", "the one slot is in use (max_parallel)"), "sweep/c", STYLE)
    assert (
        text
        == """\
sweep/c is pending: NoFreeSlot
  the one slot is in use (max_parallel): a
  1 job that waits for the same comes first
"""
    )


def test_paused() -> None:
    snapshot = waiting("Paused", "sweep is paused", paused=frozenset({"sweep"}))
    assert render_why(snapshot, "sweep/b", STYLE).endswith("  sweep is paused\n  next: exq resume sweep\n")


def test_unknown_facts() -> None:
    snapshot = waiting("ScreenUnknown", "screen -ls did not answer")
    unknown = (
        "local: screen -ls did not answer; nothing is launched in screens",
        "far: no route; its jobs are left as they are",
        "sweep/c: it is not launched",
    )
    noted = replace(snapshot.plan, unknown=unknown)
    assert (
        render_why(replace(snapshot, plan=noted), "sweep/b", STYLE)
        == """\
sweep/b is pending: ScreenUnknown
  local: screen -ls did not answer; nothing is launched in screens
"""
    )
    unnoted = replace(snapshot.plan, unknown=())
    assert why_json(replace(snapshot, plan=unnoted), "sweep/b")["chain"] == [
        "screen -ls did not answer",
        "nothing is done about it until that is known again",
    ]


def test_an_attempt_that_ended_and_is_not_let_go_of_is_told() -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    known = f.ledger(f.record(replace(f.ended("sweep/a", "11:50", "12:00:11"), released=False)))
    facts = replace(f.running_facts(9858, f.at("11:50")), payload_alive=False, shim_alive=False)
    made = f.plan(wanted, [f.state("sweep/a", "completed", "Succeeded", "exit 0", attempt=1)])
    snapshot = f.snapshot(wanted, made, known, f.host(attempts={"sweep/a/1": facts}))
    words = "attempt 1 has ended, pid 9858 of it is left (ended in 4 min)"
    assert why_json(snapshot, "sweep/a")["chain"] == ["completed at 12:00:11: exit 0", words]
    message = "the one slot is in use (max_parallel); sweep/a has ended, pid 9858 of it is left (ended in 4 min)"
    again = f.plan(wanted, [f.state("sweep/a", "pending", "NoFreeSlot", message, attempt=1)])
    assert why_json(replace(snapshot, plan=again), "sweep/a")["chain"] == [message]
    gone = replace(snapshot, plan=replace(made, released=("sweep/a/1",)))
    assert why_json(gone, "sweep/a")["chain"] == ["completed at 12:00:11: exit 0"]


@pytest.mark.parametrize(
    ("reason", "message", "commands"),
    [
        ("NoFreeGpu", "0 of 1 GPUs free: GPU 0 runs x/y", ["exq status"]),
        ("NoCommand", "no command: add cmd", ["write its cmd in specs/sweep.yaml:3:5"]),
    ],
)
def test_what_to_do_next(reason: str, message: str, commands: list[str]) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    status = "stuck" if reason == "NoCommand" else "pending"
    shown = why_json(f.snapshot(wanted, f.plan(wanted, [f.state("sweep/a", status, reason, message)])), "sweep/a")
    assert shown["next"] == commands


@pytest.mark.parametrize(
    ("ref", "code", "commands"),
    [
        ("", CodeFacts("/r x", "a" * 40, ("x.py",)), ["git -C '/r x' commit -a"]),
        ("", CodeFacts(problem="/w is in no git repository"), ["exq doctor"]),
        (
            "v1",
            CodeFacts(problem="`v1` is no commit in /r"),
            ["name a commit, branch or tag in `snapshot` of", "exq doc"],
        ),
        ("", None, ["exq doctor", "exq retry a"]),
    ],
)
def test_what_gives_a_job_a_commit(ref: str, code: CodeFacts | None, commands: list[str]) -> None:
    wanted = f.desired(replace(f.project("sweep", {"main": ["a"]}), snapshot=ref))
    job = wanted.index["sweep/a"]
    host = replace(f.host(), code={code_key(ref, job.cwd): code} if code else {})
    made = f.plan(wanted, [f.state("sweep/a", "stuck", "SnapshotNotReady", "there is no commit to run from: x")])
    shown = why_json(f.snapshot(wanted, made, None, host), "sweep/a")
    assert shown["chain"] == ["there is no commit to run from: x"], "it has no log"
    assert [said.startswith(start) for said, start in zip(shown["next"], commands, strict=True)] == [True] * len(
        commands
    )


def test_the_commit_of_a_job_that_waits() -> None:
    project = replace(f.project("sweep", {"main": ["a"]}), snapshot="")
    wanted = f.desired(project)
    made = f.plan(wanted, [f.state("sweep/a", "pending", "Paused", "sweep is paused")])
    pin = pin_for("b" * 40, project, wanted.index["sweep/a"], None)
    chosen = f.snapshot(wanted, replace(made, pins={"sweep/a": pin}))
    assert why_json(chosen, "sweep/a")["chain"][-1] == "it would run from commit bbbbbbbbbbbb"
    known = replace(chosen, ledger=Ledger(1, {"sweep/a": replace(JobRecord("sweep/a"), pin=pin)}), plan=made)
    assert why_json(known, "sweep/a")["chain"][-1] == "it will run from commit bbbbbbbbbbbb"


def test_preconditions_are_told_one_by_one() -> None:
    needs = (
        f.Precondition(PreconditionKind.CHECKPOINT_EXISTS, "ckpt/t.pt"),
        f.Precondition(PreconditionKind.DIR_EXISTS, "data"),
        f.Precondition(PreconditionKind.COMMAND, "test -w out"),
    )
    wanted = f.desired(f.project("sweep", {"main": ["a"]}, job_changes={"a": {"preconditions": needs}}))
    state = f.state("sweep/a", "pending", "PreconditionNotMet", "no file matches ckpt/t.pt")
    facts = (PreconditionFacts(False, "no file matches it"), PreconditionFacts(True), f.Unknown("timed out"))
    snapshot = f.snapshot(wanted, f.plan(wanted, [state]), seen=f.host(preconditions={"sweep/a": facts}))
    assert (
        render_why(snapshot, "sweep/a", STYLE)
        == """\
sweep/a is pending: PreconditionNotMet
  checkpoint_exists ckpt/t.pt: no file matches it
  command test -w out: not known (timed out)
  then a free slot: 2 of 2 now
"""
    )


def test_behind_a_stuck_phase_one_level_further() -> None:
    phases = {"one": ["a"], "two": [f"b{i}" for i in range(9)], "three": ["c"]}
    wanted = f.desired(f.project("p", phases, {"two": ["one"], "three": ["two"]}))
    closed = {"two": "one has a stuck (exit 1)", "three": "two is blocked: one has a stuck (exit 1)"}
    states = [
        f.state("p/a", "stuck", "CodeError", "exit 1", "one", attempt=1),
        *(f.state(f"p/b{i}", "pending", "NeedsStuck", closed["two"], "two") for i in range(9)),
        f.state("p/c", "pending", "NeedsStuck", closed["three"], "three"),
    ]
    snapshot = f.snapshot(wanted, f.plan(wanted, states, closed=closed))
    shown = why_json(snapshot, "p/c")
    assert shown["chain"] == [
        "needs two: 0 of 9 completed, "
        + ", ".join(f"b{i} pending (one has a stuck (exit 1))" for i in range(6))
        + ", and 3 more",
        "which needs one: 0 of 1 completed, 1 stuck",
        "then a free slot: 2 of 2 now",
    ]
    assert shown["next"] == ["exq why a", "exq retry a"]


def test_json() -> None:
    shown = json.loads(json.dumps(why_json(WORLD, "distill/t_N512")))
    assert shown["schema"] == "exq.why/v1"
    assert (shown["job"], shown["status"], shown["reason"]) == ("distill/t_N512", "running", "Running")
    assert shown["attempts"] == [
        {
            "number": 1,
            "host": "local",
            "gpus": [3],
            "session": "exq.distill.t_N512.1",
            "pid": 2801,
            "started": "2026-04-17T11:58:00Z",
            "ended": None,
            "exit_code": None,
            "status": "running",
            "reason": None,
            "message": "",
        }
    ]


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (f.gpu(0, 500), "GPU 0 free"),
        (f.gpu(0, 501), "GPU 0 501 MiB in use, by whom cannot be seen"),
        (f.gpu(0, None), "GPU 0 memory not reported"),
        (f.gpu(0, 900, [f.GpuProcess(7, 890)]), "GPU 0 900 MiB by another user pid 7"),
        (f.gpu(0, 900, [f.GpuProcess(7, 890, "me", "python", "x/y/1")]), "GPU 0 ours"),
    ],
)
def test_who_holds_a_gpu(gpu: f.Gpu, words: str) -> None:
    wanted = f.desired(f.project("p", {"one": ["a"], "two": ["b"]}, {"two": ["one"]}, gpu_pool=f.GpuPool(("0",))))
    states = [
        f.state("p/a", "pending", "NoFreeGpu", "0 of 1 GPUs free", "one"),
        f.state("p/b", "pending", "PhaseNotReady", "waits for one (0 of 1 completed)", "two"),
    ]
    made = f.plan(wanted, states, closed={"two": "waits for one (0 of 1 completed)"})
    snapshot = f.snapshot(wanted, made, seen=f.host(gpus=(gpu, f.gpu(1))))
    free = 1 if words.endswith("free") else 0
    assert why_json(snapshot, "p/b")["chain"][-1] == f"then a free GPU: {free} of 1 now ({words})"


@pytest.mark.parametrize(
    ("host", "seen", "place"),
    [
        ("local", f.host(state="/home/me/.local/state/exq"), "/home/me/.local/state/exq/attempts/sweep/a/1/log"),
        ("gpu9", f.host(state="/data/exq"), "/data/exq/attempts/sweep/a/1/log on gpu9"),
        ("gpu9", f.Unknown("it is silent"), "attempts/sweep/a/1/log in the state folder on gpu9"),
    ],
)
def test_where_the_log_of_a_stuck_job_is(host: str, seen: f.HostView, place: str) -> None:
    wanted = f.desired(f.project("sweep", {"main": ["a"]}))
    last = f.ended("sweep/a", "11:40", "11:41", "failed_other", "CodeError", "exit 1", host=host)
    made = f.plan(wanted, [f.state("sweep/a", "stuck", "CodeError", "exit 1", attempt=1)])
    text = render_why(f.snapshot(wanted, made, f.ledger(f.record(last)), {host: seen}), "sweep/a", STYLE)
    assert f"  its log: {place}, or exq logs a\n" in text


def test_an_environment_that_is_broken() -> None:
    """Who failed is named to be retried, also by those that only wait for it."""
    wanted = f.desired(f.project("sweep", {"main": ["a", "b"]}))
    said = "the conda environment x cannot be activated: no such environment"
    last = f.ended("sweep/a", "11:40", "11:40:02", "failed_other", "EnvironmentBroken", said)
    wait = {"until": f.at("12:01:40")}
    states = [
        f.state("sweep/a", "pending", "EnvironmentBroken", f"{said} (attempt 1)", **wait),
        f.state("sweep/b", "pending", "EnvironmentBroken", f"{said} (attempt 1 of sweep/a)", **wait),
    ]
    snapshot = f.snapshot(wanted, f.plan(wanted, states), f.ledger(f.record(last)))
    text = render_why(snapshot, "sweep/b", STYLE)
    assert f"  {said} (attempt 1 of sweep/a)\n  next try at 12:01:40 (in 29 s)\n" in text
    assert text.endswith("  next: exq doctor, exq retry a\n")
    assert why_json(snapshot, "sweep/a")["next"] == ["exq doctor", "exq retry a"]
