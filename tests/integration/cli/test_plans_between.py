"""Between the check of a saved plan and the deed: what was compared is what is done, whatever happens."""

from __future__ import annotations

import pytest

from reconciler import loop
from reconciler.cli.context import Context
from reconciler.cli.saving import load, specs_of
from reconciler.cli.verbs.apply import Check
from reconciler.cli.verbs.run import look_when_specs_are_whole
from reconciler.loop.apply import apply as loop_apply
from reconciler.model.saved import SavedPlan
from reconciler.model.snapshot import Snapshot
from tests.integration.cli.box import Box
from tests.integration.cli.test_plans import QUICK, audit, save


def saved(box: Box, monkeypatch: pytest.MonkeyPatch) -> tuple[Context, SavedPlan]:
    monkeypatch.setenv("XDG_STATE_HOME", box.environment()["XDG_STATE_HOME"])
    box.spec(QUICK)
    save(box)
    context = Context(box.folder / "specs", box.state, json=True, color=False, env=box.environment())
    return context, load(context, str(box.folder / "plan.json"))


def test_an_edit_after_the_look_is_for_the_next_plan(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    context, plan = saved(box, monkeypatch)
    check = Check(plan, specs_of(plan))

    def agreed(snapshot: Snapshot) -> bool:
        box.spec(QUICK.replace("echo two", "echo another"))
        return check.holds(snapshot)

    with loop.open_world(context.specs, context.state, writable=True, env=context.env) as world:
        look_when_specs_are_whole(world)
        after, done = loop_apply(world, agreed, by="ann", note="a test")
    assert after.plan.plan_id == plan.plan_id
    assert [(item.action.job, item.ok) for item in done] == [("demo/one", True), ("demo/two", True)]
    script = (box.state / "attempts" / "demo" / "two" / "1" / "job.sh").read_text()
    assert ("echo two" in script, "echo another" in script) == (True, False)
    assert {r["plan_id"] for r in audit(box) if r["event"] in ("action", "apply", "tick")} == {plan.plan_id}
    (box.folder / "go").touch()


def test_what_moved_after_the_question_is_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    context, plan = saved(box, monkeypatch)
    check = Check(plan, specs_of(plan))
    with loop.open_world(context.specs, context.state, writable=True, env=context.env) as world:
        before = look_when_specs_are_whole(world)
        assert check.holds(before)
        assert box.exq("stop", "two").code == 0
        after, done = loop_apply(world, check.holds, by="ann", note="a test")
    assert done == ()
    assert ("gone", "demo/two") in [fact[:2] for fact in check.facts]
    assert after.plan.plan_id != plan.plan_id
    assert not (box.state / "attempts" / "demo").exists()
    assert {record["event"] for record in audit(box)} == {"request"}, "only what the user asked for is taken down"
