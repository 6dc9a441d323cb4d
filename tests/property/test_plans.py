"""For any edits: a comparison is empty exactly when the same is asked for; a saved plan is done as it is or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.comparison import Change
from reconciler.model.facts import Observed
from reconciler.model.saved import SavedPlan, Step
from reconciler.model.snapshot import Snapshot
from reconciler.model.spec import Desired, Project
from reconciler.planner.compare import compare
from reconciler.planner.moved import moved_since
from reconciler.planner.needs import needs
from reconciler.planner.plan import plan
from reconciler.planner.plan_id import id_of_steps, other_steps, step_of
from reconciler.spec.texts import load_texts
from reconciler.store.plan_file import read_plan, write_plan
from reconciler.view.moved import moved_facts
from tests.property.mini_world import HOST, MiniHost, MiniLoop
from tests.unit import factories as make
from tests.unit.planner.test_moved import saved

LINES = {
    "head": ["", "# a comment\n", "\n\n"],
    "gpus": ["gpus: none\n", "gpus: all\n", "gpus: [0, 1]\n"],
    "max_parallel": ["", "max_parallel: 2\n", "max_parallel: 3\n"],
    "policies": ["", "oom_retry: {delay: 2m, max_attempts: 3}\n", "linger: 1m\nwaves: barrier\n"],
    "env": ["", "env: {A: '1'}\n", "env: {A: '1', B: '2'}\n"],
    "conda": ["", "conda: x\n", "cwd: /elsewhere\n"],
    "main": [
        "jobs:\n  - {id: a, cmd: 'true', params: {x: 1}}\n  - {id: b, cmd: 'true'}\n",
        "jobs:\n  - {id: b, cmd: 'true'}\n  - {id: a, cmd: 'true', params: {x: true}}\n",
        "jobs:\n  - {cmd: 'true', id: a, params: {x: 1}}\n\n  - {id: b, cmd: 'true'}\n",
        "grid: {n: [1, 2]}\ntemplate: {id: 's${n}', cmd: 'echo ${n}', output_check: 'o${n}'}\n",
    ],
    "phases": [
        "",
        "phases:\n"
        "  - {name: one, jobs: [{id: p, cmd: 'true'}]}\n"
        "  - {name: two, depends_on: one, jobs: [{id: q, cmd: x}]}\n",
        "phases:\n  - {name: two, jobs: [{id: q, cmd: x}]}\n  - {name: one, jobs: [{id: p, cmd: 'true'}]}\n",
    ],
}
TEXTS = st.tuples(*(st.sampled_from(choices) for choices in LINES.values())).map("".join)
FOLDERS = st.dictionaries(st.sampled_from(["specs/p.yaml", "specs/q.yaml"]), TEXTS, min_size=1)


def asked_for(desired: Desired) -> dict[str, str]:
    """What a spec asks for, without where in the file it stands. As text: 1 and True are equal in Python."""
    return {name: repr(_without_places(project)) for name, project in desired.projects.items()}


def _without_places(project: Project) -> Project:
    phases = tuple(
        replace(phase, jobs=tuple(replace(job, source="") for job in phase.jobs)) for phase in project.phases
    )
    return replace(project, source="", phases=phases)


@given(FOLDERS, FOLDERS)
@settings(max_examples=300, deadline=None)
def test_a_comparison_is_empty_exactly_when_the_same_is_asked_for(
    old_texts: dict[str, str], new_texts: dict[str, str]
) -> None:
    old, new = (load_texts(dict(sorted(texts.items())), "/base", "r") for texts in (old_texts, new_texts))
    assert not any(not error.warning for error in (*old.errors, *new.errors))
    found = compare(old, new)
    assert bool(found.projects) == (asked_for(old) != asked_for(new))
    if old.version == new.version:
        assert found.projects == ()


@given(FOLDERS, FOLDERS)
@settings(max_examples=200, deadline=None)
def test_a_comparison_turned_round_is_the_same_one_turned_round(
    old_texts: dict[str, str], new_texts: dict[str, str]
) -> None:
    old, new = (load_texts(dict(sorted(texts.items())), "/base", "r") for texts in (old_texts, new_texts))
    there, back = compare(old, new), compare(new, old)
    for one, other in (
        (Change.ADDED, Change.REMOVED),
        (Change.REMOVED, Change.ADDED),
        (Change.CHANGED, Change.CHANGED),
    ):
        assert {job.key for job in there.jobs(one)} == {job.key for job in back.jobs(other)}
    changed = {job.key for job in there.jobs(Change.CHANGED) if job.new_generation}
    both = old.index.keys() & new.index.keys()
    assert changed == {key for key in both if old.index[key].generation != new.index[key].generation}


def specs(jobs: list[tuple[str, str]], max_parallel: int) -> Desired:
    named = {job_id: make.job(job_id, cmd=f"run {word}", generation=word) for job_id, word in jobs}
    return make.desired(make.project(*named.values(), max_parallel=max_parallel))


SPECS = st.builds(
    specs,
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["g1", "g2"])), min_size=1, max_size=4),
    st.integers(1, 3),
)
EVENTS = st.lists(st.sampled_from(["tick", "wait", "succeed", "fail", "vanish", "hide", "see"]), max_size=4)


def happen(loop: MiniLoop, events: list[str]) -> None:
    host = loop.host
    for event in events:
        live = host.live()
        if event == "tick":
            loop.tick()
        elif event in ("succeed", "fail") and live:
            host.exit(live[0], 0 if event == "succeed" else 1)
        elif event == "vanish" and live:
            host.vanish(live[0])
        elif event == "hide":
            host.hidden.add("host")
        elif event == "see":
            host.hidden.clear()
        host.now += 1.0


def look(loop: MiniLoop) -> Snapshot:
    """As a program that has just started looks."""
    asked = needs(loop.desired, loop.ledger, None, HOST, full=True, turn=0)
    observed, now = Observed({HOST: loop.host.view(asked, loop.desired)}), loop.host.now
    return Snapshot(now, loop.desired, observed, loop.ledger, plan(loop.desired, observed, loop.ledger, now))


def steps(snapshot: Snapshot) -> set[Step]:
    return {*map(step_of, snapshot.plan.actions), *other_steps(snapshot.plan)}


@given(SPECS, EVENTS, st.none() | SPECS, EVENTS)
@settings(max_examples=400, deadline=None)
def test_a_saved_plan_is_carried_out_as_it_is_or_not_at_all(
    first: Desired, before: list[str], edited: Desired | None, meanwhile: list[str]
) -> None:
    loop = MiniLoop(MiniHost(), first, lambda _plan, _view, _ledger: None)
    happen(loop, before)
    then = look(loop)
    kept = through_a_file(saved(then))
    happen(loop, meanwhile)
    loop.desired = edited or loop.desired
    now = look(loop)
    moved = moved_since(kept, then.desired, now)
    other_specs = asked_for(then.desired) != asked_for(now.desired)
    assert bool(moved) == (other_specs or steps(then) != steps(now))
    assert bool(moved_facts(moved, now)) == bool(moved)
    if moved:
        return
    assert now.plan.plan_id == kept.plan_id == id_of_steps([*(action.step for action in kept.actions), *kept.others])
    numbers = {path for record in loop.ledger.jobs.values() for path in (a.path for a in record.attempts)}
    loop.memory = None
    done = loop.tick()
    launched = {f"{action.job}/{action.attempt}" for action in kept.actions if action.kind == "launch"}
    assert {step_of(action) for action in done.actions} == {action.step for action in kept.actions}
    assert {a.path for record in loop.ledger.jobs.values() for a in record.attempts} - numbers == launched
    if launched:
        assert moved_since(kept, then.desired, look(loop)), "a plan that launches is carried out once"


def through_a_file(plan_: SavedPlan) -> SavedPlan:
    with TemporaryDirectory() as folder:
        write_plan(Path(folder) / "plan.json", plan_)
        assert read_plan(Path(folder) / "plan.json") == plan_
        return read_plan(Path(folder) / "plan.json")
