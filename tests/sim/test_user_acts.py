"""What a user does, in any order, with the promises checked after each act (Hypothesis; docs/reliability.md).

A failure ends with the steps that led to it: put into a test, `state = UserActs()` and what follows replays it. The
same examples come each time; a soak has new ones, as many as asked for, and begins with what failed the last time:

    EXQ_USER_ACTS=100000 pytest tests/sim/test_user_acts.py -k soak
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.sim import oracles
from tests.sim.acts import DAY_S
from tests.sim.campaign import ALL_KINDS
from tests.sim.drafts import Draft
from tests.sim.mutants import MUTANTS, applied
from tests.sim.user_acts import Lab

SOAK = int(os.environ.get("EXQ_USER_ACTS", "0"))
"""How many examples a soak tries; without any there is none."""
STEPS = 30
CI = settings(
    max_examples=250,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

WHICH = st.integers(0, 5)
KINDS = st.sampled_from(
    ["ok", "ok", "early", "calm", "fail", "flaky", "oom", "noout", "stain", "hang", "deaf", "orphan"]
)
WHATS = st.builds("{} {} {}".format, KINDS, st.sampled_from([0, 1, 6, 25]), st.sampled_from([1, 2, 40]))
PROJECTS = st.sampled_from(["p", "q", "r"])
JOBS = st.sampled_from(["a", "a1", "b", "c"])
FILES = st.sampled_from(["one.yaml", "two.yaml", "three.yml"])
DRAFTS = st.builds(
    Draft,
    PROJECTS,
    st.dictionaries(JOBS, WHATS, min_size=1),
    gpus=st.sampled_from(["none", "all"]),
    slots=st.integers(1, 3),
    tries=st.integers(1, 2),
    gated=st.booleans(),
)
ENDS = st.sampled_from(["finishes", "crashes", "runs out of memory", "is killed"])
MISHAPS = st.sampled_from(
    [
        "kill-screen",
        "remove-socket",
        "kill-shim",
        "full",
        "room",
        "colleague",
        "colleagues-leave",
        "lose-gpu",
        "mend-gpus",
        "remove-folder",
        "lose-ledger",
    ]
)


AFTER = st.sampled_from([0.0, 0.1, 0.5, 1.3, 3.0, 8.0, 30.0])


def act(**given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule that lets some seconds pass before it does what it does."""

    def decorated(method: Callable[..., None]) -> Any:
        @wraps(method)
        def acted(self: UserActs, *, after_s: float, **chosen: Any) -> None:
            self.lab.wait(after_s)
            method(self, **chosen)

        return rule(after_s=AFTER, **given)(acted)

    return decorated


class UserActs(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 99),
        gpus=st.integers(1, 2),
        drafts=st.dictionaries(FILES, DRAFTS, min_size=1, max_size=2),
        sticky=st.integers(0, 3),
    )
    def begin(self, seed: int, gpus: int, drafts: dict[str, Draft], sticky: int) -> None:
        self.lab = Lab(seed, gpus, drafts, sticky)

    # --- specs

    def some(self, which: int) -> tuple[str, Draft] | None:
        names = self.lab.names()
        return (names[which % len(names)], self.lab.drafts[names[which % len(names)]]) if names else None

    def change(self, which: int, job: int, what: str | None = None, lr: int | None = None) -> None:
        found = self.some(which)
        if found is None:
            return
        name, draft = found
        key = list(draft.jobs)[job % len(draft.jobs)]
        if lr is not None:
            self.lab.draft(name, replace(draft, lrs={**draft.lrs, key: lr}))
        if what is not None:
            self.lab.draft(name, draft.with_job(key, what))

    @act(which=WHICH, job=WHICH, what=WHATS)
    def edit_a_command(self, which: int, job: int, what: str) -> None:
        self.change(which, job, what=what)

    @act(which=WHICH, job=WHICH, lr=st.integers(1, 3))
    def edit_a_parameter(self, which: int, job: int, lr: int) -> None:
        self.change(which, job, lr=lr)

    @act(which=WHICH, slots=st.integers(1, 3), tries=st.integers(1, 2), gated=st.booleans(), gpus=st.booleans())
    def edit_the_head(self, which: int, slots: int, tries: int, gated: bool, gpus: bool) -> None:
        found = self.some(which)
        if found is not None:
            words = "all" if gpus else "none"
            self.lab.draft(found[0], replace(found[1], slots=slots, tries=tries, gated=gated, gpus=words))

    @act(which=WHICH, job=JOBS, what=WHATS)
    def add_a_job(self, which: int, job: str, what: str) -> None:
        found = self.some(which)
        if found is not None:
            self.lab.draft(found[0], found[1].with_job(job, what))

    @act(which=WHICH, job=WHICH, goal=st.sampled_from([None, "z", "a2"]))
    def remove_or_rename_a_job(self, which: int, job: int, goal: str | None) -> None:
        found = self.some(which)
        if found is None or (goal is None and len(found[1].jobs) == 1):
            return
        key = list(found[1].jobs)[job % len(found[1].jobs)]
        without = found[1].without_job(key)
        self.lab.draft(found[0], without if goal is None else without.with_job(goal, found[1].jobs[key]))

    @act(name=FILES, draft=DRAFTS)
    def write_a_new_spec(self, name: str, draft: Draft) -> None:
        self.lab.draft(name, draft)

    @act(which=WHICH)
    def delete_a_spec(self, which: int) -> None:
        found = self.some(which)
        if found is not None:
            self.lab.remove(found[0])

    @act(which=WHICH, goal=FILES, between_s=st.sampled_from([None, 0.1, 3.0]))
    def rename_a_spec(self, which: int, goal: str, between_s: float | None) -> None:
        found = self.some(which)
        if found is not None:
            self.lab.remove(found[0])
            if between_s:
                self.lab.wait(between_s)
            self.lab.draft(goal, found[1])

    @act(which=WHICH, project=PROJECTS)
    def rename_a_project(self, which: int, project: str) -> None:
        found = self.some(which)
        if found is not None:
            self.lab.draft(found[0], replace(found[1], project=project))

    @act(version=st.integers(0, 30))
    def revert_to_an_earlier_text(self, version: int) -> None:
        name, draft = self.lab.versions[version % len(self.lab.versions)]
        self.lab.draft(name, draft)

    @act(which=WHICH, how=st.sampled_from(["cut", "bracket", "empty", "binary", "number"]), at=st.integers(1, 9))
    def break_a_spec(self, which: int, how: str, at: int) -> None:
        found = self.some(which)
        if found is not None:
            text = found[1].text()
            broken = {
                "cut": text[: len(text) * at // 10],
                "bracket": text.replace("jobs:", "jobs: [", 1),
                "empty": "",
                "binary": "\0\0\1",
                "number": text.replace("max_parallel: ", "max_parallel: x"),
            }
            self.lab.put(found[0], broken[how])

    @act(which=WHICH)
    def mend_a_spec(self, which: int) -> None:
        found = self.some(which)
        if found is not None:
            self.lab.put(found[0], found[1].text())

    # --- payloads, hosts and clocks

    @act(which=WHICH, how=ENDS)
    def a_payload_ends(self, which: int, how: str) -> None:
        self.lab.end_payload(which, how)

    @act(power=st.booleans())
    def reboot(self, power: bool) -> None:
        self.lab.reboot(power=power)

    @act(seconds=st.sampled_from([DAY_S, -DAY_S, 600.0, -600.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.lab.jump(seconds)

    @act(name=MISHAPS)
    def mishap(self, name: str) -> None:
        self.lab.happen(name)

    # --- exq

    @act(kind=st.sampled_from(["stop", "retry", "pause", "resume"]), which=WHICH, whole_project=st.booleans())
    def ask(self, kind: str, which: int, whole_project: bool) -> None:
        keys = self.lab.keys()
        if keys:
            key = keys[which % len(keys)]
            project = whole_project and kind in ("pause", "resume")
            self.lab.ask(kind, key.partition("/")[0] if project else key)

    @act(down_s=st.sampled_from([0.0, 4.0, 90.0]))
    def kill_the_loop(self, down_s: float) -> None:
        self.lab.kill_loop(down_s)

    @act(after=st.integers(1, 60), kind=st.sampled_from(ALL_KINDS), times=st.sampled_from([1, 1, 4, 20]))
    def trouble_soon(self, after: int, kind: str, times: int) -> None:
        self.lab.trouble(after, kind, times)

    @act(share=st.sampled_from([0.0, 1.0]))
    def events_get_lost(self, share: float) -> None:
        self.lab.lost_events = share

    @act()
    def tick(self) -> None:
        self.lab.tick()

    @act(seconds=st.sampled_from([0.1, 2.0, 25.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.lab.wait(seconds)

    # --- the promises

    @invariant()
    def all_promises_are_kept(self) -> None:
        if hasattr(self, "lab"):
            oracles.check_diff(self.lab.daemon)
            assert not self.lab.machine.violations, self.lab.machine.violations

    def teardown(self) -> None:
        if hasattr(self, "lab") and not self.lab.machine.violations:
            self.lab.settle()
            assert not self.lab.machine.violations, self.lab.machine.violations


@pytest.mark.timeout(600)
def test_a_users_acts_break_no_promise() -> None:
    run_state_machine_as_test(UserActs, settings=CI)


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [
        ("stuck counts as completed", "S12"),
        ("launches before the journal", "S9"),
        ("the boot is not part of identity", "S2"),
        ("a broken spec asks for nothing", "S7"),
        ("requeued before the delay", "S6"),
    ],
)
def test_a_mistake_in_the_product_shows(mutant: str, promise: str) -> None:
    with applied(MUTANTS[mutant]), pytest.raises(AssertionError, match=promise):
        run_state_machine_as_test(UserActs, settings=settings(CI, phases=[Phase.generate], report_multiple_bugs=False))


def test_what_it_prints_replays() -> None:
    """Steps as Hypothesis prints them, typed in again."""
    state = UserActs()
    state.begin(seed=3, gpus=1, drafts={"one.yaml": Draft("p", {"a": "ok 6 1", "b": "fail 0 1"})}, sticky=0)
    state.reboot(after_s=3.0, power=False)
    state.break_a_spec(after_s=0.5, which=0, how="cut", at=5)
    state.all_promises_are_kept()
    state.teardown()
    assert {start.attempt for start in state.lab.machine.starts} >= {"p/a/1", "p/a/2", "p/b/1"}


if SOAK:

    @pytest.mark.timeout(0)
    def test_a_soak_of_acts_breaks_no_promise() -> None:
        soak = settings(CI, max_examples=SOAK, derandomize=False, database=settings.default.database)
        run_state_machine_as_test(UserActs, settings=soak)
