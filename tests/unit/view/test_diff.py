from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.spec import SpecError, SpecFile
from reconciler.view.diff import diff_json, next_step, render_diff
from reconciler.view.sort import sort_plan
from reconciler.view.style import Style
from tests.unit.view import factories as f
from tests.unit.view.scenarios import distillation

STYLE = Style()


def test_the_design_example() -> None:
    assert (
        render_diff(distillation(teacher_runs=False), STYLE)
        == """\
specs at 3f2c1d9 (2 files, 42 jobs), local observed 0.4 s ago

distill / train_teachers                       1 of 2 completed
  + t_N512         launch on GPU 3             new in spec
distill / distill_students                     waits for train_teachers (1 of 2 completed)
  . 24 jobs        pending                     phase not open
sweep                                          12 of 16 completed
  ~ s42_N64        requeue at 12:03:11         GPU out of memory on GPU 1, attempt 2 of 3, elsewhere
  ! s42_N128       stuck                       exit 1 (CodeError); exq logs s42_N128

Plan: 1 to launch, 1 to requeue, 0 to kill; 24 waiting, 1 stuck, 15 unchanged. (p1a2n3)
"""
    )


def test_every_job_is_counted_exactly_once() -> None:
    summary = diff_json(distillation(teacher_runs=False))["summary"]
    assert summary == {
        "launch": 1, "requeue": 1, "kill": 0, "complete": 0, "adopt": 0, "fail": 0,
        "waiting": 24, "stuck": 1, "unchanged": 15, "running": 2, "completed": 13,
    }  # fmt: skip
    jobs = sum(summary[word] for word in ("launch", "requeue", "waiting", "stuck", "unchanged"))
    assert jobs == 42


def test_json() -> None:
    shown = json.loads(json.dumps(diff_json(distillation(teacher_runs=False))))
    assert {key: shown[key] for key in ("schema", "as_of", "plan_id", "specs_rev", "unknown", "errors")} == {
        "schema": "exq.diff/v1",
        "as_of": "2026-04-17T12:01:11Z",
        "plan_id": "p1a2n3",
        "specs_rev": "3f2c1d9",
        "unknown": [],
        "errors": [],
    }
    assert shown["actions"] == [
        {
            "action": "requeue",
            "job": "sweep/s42_N64",
            "reason": "GpuOutOfMemory",
            "message": "GPU out of memory on GPU 1, attempt 2 of 3, elsewhere",
            "host": "local",
            "gpus": [],
            "attempt": 2,
            "revision": "3f2c1d9",
            "retry_at": "2026-04-17T12:03:11Z",
        },
        {
            "action": "launch",
            "job": "distill/t_N512",
            "reason": "NewInSpec",
            "message": "new in spec",
            "host": "local",
            "gpus": [3],
            "attempt": 1,
            "revision": "3f2c1d9",
        },
    ]
    held = {hold["job"]: hold for hold in shown["holds"]}
    assert len(held) == 26
    assert held["sweep/s42_N64"] == {
        "job": "sweep/s42_N64",
        "status": "failed_oom",
        "reason": "GpuOutOfMemory",
        "message": "GPU out of memory on GPU 1, attempt 2 of 3, elsewhere",
        "until": "2026-04-17T12:03:11Z",
    }
    assert held["sweep/s42_N128"]["until"] is None


def sweep(**states: tuple[str, str, str]) -> tuple[f.Desired, list[Any]]:
    """A project `sweep` with these jobs: id to status, reason, message."""
    wanted = f.desired(f.project("sweep", {"main": list(states)}))
    return wanted, [f.state(f"sweep/{i}", *words, attempt=1) for i, words in states.items()]


DONE = ("completed", "Succeeded", "exit 0")
RUNS = ("running", "Running", "running")


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ({}, "Nothing to do: the specs ask for no job.\n"),
        ({"a": DONE}, "Nothing to do: the one job is completed.\n"),
        ({"a": DONE, "b": DONE}, "Nothing to do: all 2 jobs are completed.\n"),
        ({"a": DONE, "b": RUNS}, "Nothing to do now: 1 running, 1 completed.\n"),
    ],
)
def test_nothing_to_do_is_one_line(states: dict[str, tuple[str, str, str]], text: str) -> None:
    wanted, listed = sweep(**states)
    head, _, rest = render_diff(f.snapshot(wanted, f.plan(wanted, listed)), STYLE).partition("\n\n")
    assert head.startswith("specs at 3f2c1d9 (1 file, ")
    assert rest == text


def test_every_kind_of_action() -> None:
    ids = ["adopted", "asked", "forced", "stale", "done", "again", "lost", "given_up"]
    wanted, states = sweep(**dict.fromkeys(ids, RUNS))
    actions = [
        replace(f.launch("sweep/adopted", reason="Adopted", message="it runs on the host"), kind=f.ActionKind.ADOPT),
        f.kill("sweep/asked", "StoppedByUser", "stopped by alice@box"),
        f.kill("sweep/forced", "StoppedByUser", "asked to end before, still there", 2, force=True),
        f.kill("sweep/stale", "StaleScreen", "its payload is gone, its screen 4200.exq.sweep.stale.1 is still there"),
        f.settle("complete", "sweep/done", "Succeeded", "exit 0"),
        f.settle("requeue", "sweep/again", "GpuOutOfMemory", "CUDA out of memory", retry_at=f.at("12:03:11")),
        f.settle("requeue", "sweep/lost", "LaunchLost", "the launch did not take place", retry_at=f.NOW),
        f.settle("fail", "sweep/given_up", "CodeError", "exit 2"),
    ]
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states, actions)), Style(width=110))
    assert (
        text
        == """\
specs at 3f2c1d9 (1 file, 8 jobs), local observed 0.4 s ago

sweep                                          0 of 8 completed
  ~ adopted        adopt                       it runs on the host
  - asked          kill attempt 1              stopped by alice@box
  - forced         kill attempt 2 by force     asked to end before, still there
  - stale          kill its stale screen       its payload is gone, its screen 4200.exq.sweep.stale.1 is still
                                               there
  ~ done           complete                    exit 0
  ~ again          requeue at 12:03:11         CUDA out of memory
  ~ lost           requeue                     the launch did not take place
  ! given_up       give up                     exit 2 (CodeError)

Plan: 0 to launch, 2 to requeue, 3 to kill, 1 to complete, 1 to adopt, 1 to fail; 0 unchanged. (p1a2n3)
"""
    )


def test_what_is_left_alone_is_said() -> None:
    wanted, states = sweep(a=DONE, b=RUNS)
    states = [replace(state, drift=True) for state in states]
    states.append(f.state("sweep/old", "running", "Orphan", "no spec asks for it", phase="", attempt=1))
    known = f.ledger(f.record(f.attempt("sweep/old", gpu_indices=(1,))))
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states), known), STYLE)
    assert (
        text
        == """\
specs at 3f2c1d9 (1 file, 2 jobs), local observed 0.4 s ago

sweep                                          1 of 2 completed
  ~ a              completed                   command changed since it ran; left alone
  ~ b              running                     command changed since it started; left alone
not in the specs
  ~ sweep/old      running on GPU 1            no spec asks for it; left alone (exq stop ends it)

Nothing to do now: 1 running, 1 completed.
"""
    )


def test_unknown_probes_say_what_is_not_done() -> None:
    wanted, states = sweep(
        a=("pending", "GpuUnknown", "nvidia-smi did not answer within 10 s"),
        b=("pending", "GpuUnknown", "nvidia-smi did not answer within 10 s"),
        c=("pending", "ScreenUnknown", "the socket folder has the wrong mode"),
    )
    unknown = ("local: nvidia-smi did not answer within 10 s; nothing is launched on its GPUs",)
    made = f.plan(wanted, [replace(s, attempt=0) for s in states], unknown=unknown)
    text = render_diff(f.snapshot(wanted, made, seen=f.Unknown("no answer")), STYLE)
    assert (
        text
        == """\
specs at 3f2c1d9 (1 file, 3 jobs), local could not be observed

not known now: nothing that depends on it is launched, requeued or killed
  ? local: nvidia-smi did not answer within 10 s; nothing is launched on its GPUs
  held because of it: 2 jobs (GpuUnknown), 1 job (ScreenUnknown)

sweep                                          0 of 3 completed
  . 2 jobs         pending                     nvidia-smi did not answer within 10 s
  . c              pending                     the socket folder has the wrong mode

Nothing to do now: 3 waiting.
"""
    )


def test_spec_mistakes_come_first() -> None:
    wanted, states = sweep(a=DONE)
    wanted = replace(
        wanted,
        files=(
            SpecFile("specs/a.yaml", "d", broken=True, last_good=True),
            SpecFile("specs/b.yaml", "d", broken=True),
            SpecFile("specs/c.yaml", "d", unsettled=True),
        ),
        errors=(
            SpecError("specs/a.yaml", 3, 5, "unknown key gird (did you mean grid?)"),
            SpecError("specs/b.yaml", 0, 0, "the file is empty"),
            SpecError("specs/c.yaml", 7, 1, "no command", warning=True),
        ),
    )
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states)), STYLE)
    assert (
        text.split("\n\n")[1]
        == """\
specs/a.yaml:3:5: unknown key gird (did you mean grid?)
specs/b.yaml: the file is empty
specs/c.yaml:7:1: warning: no command
specs/a.yaml has mistakes: its last version without any stays in force.
specs/b.yaml has mistakes: nothing is changed for its jobs until it loads.
specs/c.yaml is being written, or git is at work: it is taken when that is over."""
    )
    told = diff_json(f.snapshot(wanted, f.plan(wanted, states)))["errors"]
    assert (told[1]["path"], told[1]["line"], told[1]["column"]) == ("specs/b.yaml", None, None)
    assert told[0] == {
        "path": "specs/a.yaml",
        "line": 3,
        "column": 5,
        "message": "unknown key gird (did you mean grid?)",
        "warning": False,
    }


def many(
    number: int, message: Callable[[int], str], status: str = "pending", reason: str = "PreconditionNotMet"
) -> f.Snapshot:
    wanted, states = sweep(**{f"j{i}": (status, reason, message(i)) for i in range(number)})
    return f.snapshot(wanted, f.plan(wanted, states))


def test_equal_holds_fold_and_unequal_ones_are_cut_off() -> None:
    folded = render_diff(many(50, lambda _: "teacher.pt is missing"), STYLE)
    assert "  . 50 jobs        pending                     teacher.pt is missing\n" in folded
    cut = render_diff(many(50, lambda i: f"t{i}.pt is missing"), STYLE)
    assert cut.count("is missing") == 12
    assert "    ... and 38 more (exq diff --all)\n" in cut


def test_verbose_leaves_nothing_out() -> None:
    text = render_diff(many(50, lambda _: "teacher.pt is missing"), STYLE, verbose=True)
    assert text.count("teacher.pt is missing") == 50
    assert "more" not in text


def test_stuck_jobs_are_named_up_to_three_then_folded() -> None:
    few = render_diff(many(3, lambda _: "exit 1", "stuck", "CodeError"), STYLE)
    assert few.count("  ! j") == 3
    four = many(4, lambda _: "exit 1", "stuck", "CodeError")
    more = render_diff(four, STYLE)
    assert "  ! 4 jobs         stuck                       exit 1 (CodeError); exq logs j0\n" in more
    assert next_step(four) == "Next: exq why j0, exq logs j0, exq retry sweep"


def test_same_id_in_two_projects_is_named_in_full() -> None:
    wanted = f.desired(f.project("one", {"main": ["a"]}), f.project("two", {"main": ["a"]}))
    states = [f.state("one/a", *DONE), f.state("two/a", "stuck", "CodeError", "exit 1", attempt=1)]
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states)), STYLE)
    assert "exit 1 (CodeError); exq logs two/a\n" in text


def test_alike_completions_fold_but_launches_are_told_one_by_one() -> None:
    ids = [f"j{i}" for i in range(20)]
    wanted, states = sweep(**dict.fromkeys(ids, RUNS))
    settled = [f.settle("complete", f"sweep/{i}", "OutputExists", "there already", 0) for i in ids]
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states, settled)), STYLE)
    assert "  ~ 20 jobs        complete                    there already\n" in text
    own = [f.settle("complete", f"sweep/{i}", "OutputExists", f"its outputs were there: {i}", 0) for i in ids]
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states, own)), STYLE)
    assert "  ~ 20 jobs        complete                    its outputs were there already\n" in text
    launches = [f.launch(f"sweep/{i}") for i in ids]
    text = render_diff(f.snapshot(wanted, f.plan(wanted, states, launches)), STYLE)
    assert text.count("  + j") == 12
    assert "    ... and 8 more (exq diff --all)\n" in text


def test_no_line_is_wider_than_the_terminal_unless_a_word_is() -> None:
    snapshot = distillation(teacher_runs=False)
    for width in (60, 72, 90, 200):
        text = render_diff(snapshot, Style(width=width))
        rows = [line for line in text.splitlines() if line.startswith("  ")]
        assert max(map(len, rows)) <= min(width, 110)


def test_sorting_keeps_every_job() -> None:
    snapshot = many(500, lambda i: f"message {i % 7}")
    found = sort_plan(snapshot)
    assert len(found.holds) == 7
    assert sum(map(len, found.holds)) == found.summary["waiting"] == 500


def test_actions_on_what_is_not_in_the_specs_stand_there() -> None:
    wanted, states = sweep(a=DONE)
    states.append(f.state("sweep/old", "completed", "Succeeded", "exit 0", phase="", attempt=1))
    states.append(f.state("sweep/done", "completed", "Succeeded", "exit 0", phase="", attempt=1))
    plan = f.plan(wanted, states, [f.settle("complete", "sweep/old", "Succeeded", "exit 0")])
    assert (
        render_diff(f.snapshot(wanted, plan), STYLE)
        == """\
specs at 3f2c1d9 (1 file, 1 job), local observed 0.4 s ago

not in the specs
  ~ sweep/old      complete                    exit 0
  ~ sweep/done     completed                   no spec asks for it; it has ended

Plan: 0 to launch, 0 to requeue, 0 to kill, 1 to complete; 1 unchanged. (p1a2n3)
"""
    )


def test_a_saved_plan_without_an_action() -> None:
    wanted, states = sweep(a=DONE)
    assert next_step(f.snapshot(wanted, f.plan(wanted, states)), {}, "p.json") == (
        "p.json has no action in it: there is nothing to apply."
    )
    assert next_step(f.snapshot(wanted, f.plan(wanted, states)), {"pid": 7}, "p.json").startswith("p.json has no")
    waits, states = sweep(a=("stuck", "CodeError", "exit 1"))
    assert next_step(f.snapshot(waits, f.plan(waits, states)), {}, "p.json").endswith(
        "nothing to apply.\nNext: exq why a, exq logs a, exq retry a"
    )
    assert next_step(distillation(teacher_runs=False), {}, "p.json") == "Next: exq apply p.json"


def test_where_there_are_no_specs() -> None:
    wanted = replace(f.desired(), revision="none")
    first = render_diff(f.snapshot(wanted, f.plan(wanted, [])), STYLE).splitlines()[0]
    assert first == "no specs, local observed 0.4 s ago"


@pytest.mark.parametrize(
    ("daemon", "hint"),
    [({}, "Next: exq run"), ({"pid": 7}, "The loop (pid 7) will carry it out."), ({"pid": None}, "The loop will")],
)
def test_the_hint_knows_the_loop(daemon: dict[str, object], hint: str) -> None:
    assert next_step(distillation(teacher_runs=False), daemon).startswith(hint)


def test_alerts_are_shown_but_for_what_an_action_says() -> None:
    wanted, states = sweep(a=RUNS)
    alerts = ("sweep/a is stuck: exit 1", "sweep: the specs ask for GPU 0, 7, local has 0")
    made = f.plan(wanted, states, [f.settle("fail", "sweep/a", "CodeError", "exit 1")], alerts=alerts)
    blocks = render_diff(f.snapshot(wanted, made), STYLE).split("\n\n")
    assert blocks[1] == "! sweep: the specs ask for GPU 0, 7, local has 0"
    assert "is stuck" not in "".join(blocks)
