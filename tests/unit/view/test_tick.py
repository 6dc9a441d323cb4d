from __future__ import annotations

from dataclasses import replace

from reconciler.view.style import Style
from reconciler.view.tick import render_progress_line, render_tick
from tests.unit.view import factories as f
from tests.unit.view.scenarios import distillation


def test_a_line_per_action() -> None:
    snapshot = distillation(teacher_runs=False)
    done = [
        *snapshot.plan.actions,
        f.launch("sweep/s", 2, reason="CommandChanged", message="its command changed after attempt 1"),
        f.kill("sweep/s200_N64", "StoppedByUser", "stopped by alice@box"),
        f.kill("sweep/s200_N64", "StoppedByUser", "asked to end before, still there", force=True),
        f.kill("sweep/s200_N64", "StaleScreen", "its payload is gone"),
        f.settle("complete", "sweep/a", "Succeeded", "exit 0", started_at=f.at("12:00"), ended_at=f.at("12:01:05")),
        f.settle("complete", "sweep/a", "OutputExists", "its outputs were there before any attempt: a.json", 0),
        f.settle("requeue", "sweep/a", "LaunchLost", "the launch did not take place", retry_at=f.NOW),
        f.settle("requeue", "sweep/a", "EnvironmentBroken", "conda was not found", retry_at=f.NOW),
        f.settle("fail", "sweep/s42_N128", "CodeError", "exit 1"),
        replace(f.launch("sweep/x", reason="Adopted", message="it runs on the host"), kind=f.ActionKind.ADOPT),
    ]
    assert (
        render_tick(snapshot, done, Style())
        == """\
12:01:11  ~ sweep/s42_N64  requeued for 12:03:11: GPU out of memory on GPU 1, attempt 2 of 3, elsewhere  [plan p1a2n3]
12:01:11  + distill/t_N512  launched on GPU 3 (attempt 1)
12:01:11  + sweep/s  launched (attempt 2): its command changed after attempt 1
12:01:11  - sweep/s200_N64  attempt 1 asked to end: stopped by alice@box
12:01:11  - sweep/s200_N64  attempt 1 killed: asked to end before, still there
12:01:11  - sweep/s200_N64  stale screen of attempt 1 closed: its payload is gone
12:01:11  ~ sweep/a  completed after 1 min 5 s
12:01:11  ~ sweep/a  completed: its outputs were there before any attempt: a.json
12:01:11  ~ sweep/a  requeued: the launch did not take place
12:01:11  ~ sweep/a  could not be set up: conda was not found
12:01:11  ! sweep/s42_N128  stuck: exit 1 (CodeError); exq logs s42_N128
12:01:11  ~ sweep/x  adopted: it runs on the host
"""
    )


def test_nothing_done_prints_nothing() -> None:
    assert render_tick(distillation(teacher_runs=False), [], Style()) == ""


def test_progress() -> None:
    assert render_progress_line(distillation(teacher_runs=True)) == (
        "distill: 1/26 completed, 1 running, 24 waiting\n"
        "sweep: 12/16 completed, 2 running, 1 waiting, 1 stuck, about 19 min left"
    )
