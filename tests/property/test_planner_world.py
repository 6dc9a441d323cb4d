"""Edits, requests, endings, crashes, blind probes and clock jumps in any order: the planner keeps its promises.

S1 one live attempt a job, S3 nothing destructive unseen, S10 no GPU twice or unreleased, S11 completed stays, S12 only
completed needs open a phase, L1 it comes to rest, L4 every job says why it is where it is.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.model.enums import JobStatus, LauncherKind, Reason, RequestKind, SuccessRule, Waves
from reconciler.model.facts import AttemptFacts, HostView, OutputFacts, Unknown
from reconciler.model.ledger import Ledger, Request
from reconciler.model.plan import Kill, Launch, Plan, Settle
from reconciler.model.spec import Desired, GpuPool, Job, Project, RetryPolicy
from reconciler.planner.backoff import INFRA_REASONS, counted_attempts
from tests.property.mini_world import HOST, PROBES, MiniHost, MiniLoop, Run
from tests.unit import factories as make

OOM_TRIES, OTHER_TRIES = 3, 2
THRESHOLD_MIB = 500
LINGER_S = 300.0


def gpu_spec(waves: Waves, success: SuccessRule, launcher: LauncherKind) -> Project:
    def job(job_id: str, gpus: int = 1, *needed: str) -> Job:
        needs = tuple(make.needs_file(f"g/{name}") for name in needed)
        return make.job(job_id, "g", outputs=(f"{job_id}.json",), gpus=gpus, preconditions=needs)

    phases = (
        make.phase("teachers", [job("t1"), job("t2", 2)]),
        make.phase("students", [job("s1", 1, "t1"), job("s2", 1, "t1", "t2"), job("s3", 2, "t2")], "teachers"),
    )
    return make.project(
        name="g",
        phases=phases,
        gpu_pool=GpuPool(None),
        max_parallel=None,
        gpu_free_threshold_mib=THRESHOLD_MIB,
        oom_retry=RetryPolicy(120.0, OOM_TRIES),
        failure_retry=RetryPolicy(30.0, OTHER_TRIES),
        waves=waves,
        success=success,
        launcher=launcher,
    )


def cpu_spec() -> Project:
    jobs = [make.job(f"c{n}", "c", outputs=(f"c{n}.json",) if n % 2 else ()) for n in range(4)]
    return make.project(*jobs, name="c", max_parallel=2, oom_retry=RetryPolicy(120.0, OOM_TRIES))


JOBS = st.sampled_from(["g/t1", "g/t2", "g/s1", "g/s2", "g/s3", "c/c0", "c/c1", "c/c2", "c/c3"])
WHICH = st.integers(0, 7)


class PlannerWorld(RuleBasedStateMachine):
    @initialize(
        waves=st.sampled_from(Waves),
        success=st.sampled_from(SuccessRule),
        launcher=st.sampled_from([LauncherKind.AUTO, LauncherKind.PROCESS]),
    )
    def begin(self, waves: Waves, success: SuccessRule, launcher: LauncherKind) -> None:
        self.full_spec = make.desired(gpu_spec(waves, success, launcher), cpu_spec())
        self.host = MiniHost()
        self.loop = MiniLoop(self.host, self.full_spec, self.check)
        self.asked = 0
        self.completed: set[tuple[str, str]] = set()

    # --- the loop

    @rule(full=st.booleans())
    def tick(self, full: bool) -> None:
        self.loop.tick(full=full)

    @rule(effects=st.integers(0, 2))
    def tick_and_crash(self, effects: int) -> None:
        self.loop.tick(crash_after=effects)

    @rule()
    def follow_the_clock_of_the_plan(self) -> None:
        """Look as often as the plan asks for at this very time: that has to come to an end."""
        for _ in range(8):
            result = self.loop.tick(full=False)
            if result.wake_at is None or result.wake_at > self.host.now:
                return
        raise AssertionError(f"the plan asks to be looked at again and again: {result}")

    # --- time and the host

    @rule(seconds=st.sampled_from([0.3, 3.0, 16.0, 130.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.host.now += seconds

    @rule(seconds=st.sampled_from([-86_400.0, -60.0, 3_600.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.host.now += seconds

    @rule(probe=st.sampled_from(PROBES))
    def probe_fails_or_works_again(self, probe: str) -> None:
        self.host.hidden ^= {probe}

    @rule(index=st.integers(0, 1))
    def someone_else_comes_or_goes(self, index: int) -> None:
        self.host.foreign ^= {index}

    @rule()
    def host_reboots(self) -> None:
        self.host.reboot()

    # --- payloads

    def pick(self, which: int) -> Run:
        live = self.host.live()
        return live[which % len(live)]

    def something_lives(self) -> bool:
        return hasattr(self, "host") and bool(self.host.live())

    @precondition(something_lives)
    @rule(which=WHICH, stragglers=st.booleans(), stale=st.booleans())
    def payload_succeeds(self, which: int, stragglers: bool, stale: bool) -> None:
        run = self.pick(which)
        self.host.write_output(run)
        self.host.exit(run, 0, stragglers=stragglers, stale=stale)

    @precondition(something_lives)
    @rule(which=WHICH, code=st.sampled_from([0, 1, 139]), oom=st.booleans(), stale=st.booleans())
    def payload_fails(self, which: int, code: int, oom: bool, stale: bool) -> None:
        self.host.exit(self.pick(which), code, oom=oom and code != 0, stale=stale)

    @precondition(something_lives)
    @rule(which=WHICH)
    def payload_writes_its_output_and_goes_on(self, which: int) -> None:
        self.host.write_output(self.pick(which))

    @precondition(something_lives)
    @rule(which=WHICH)
    def payload_vanishes(self, which: int) -> None:
        self.host.vanish(self.pick(which))

    @precondition(something_lives)
    @rule(which=WHICH)
    def payload_turns_stubborn(self, which: int) -> None:
        self.pick(which).stubborn = True

    @rule(key=JOBS)
    def an_output_is_deleted(self, key: str) -> None:
        self.host.outputs.pop(key, None)

    # --- the user

    @rule(kind=st.sampled_from(RequestKind), about=st.one_of(JOBS, st.sampled_from(["g", "c"])))
    def ask(self, kind: RequestKind, about: str) -> None:
        self.asked += 1
        self.loop.inbox.append(Request(str(self.asked), kind, about, "ann", self.host.now))

    @rule(key=JOBS)
    def edit_command(self, key: str) -> None:
        self.change(lambda job: replace(job, generation=job.generation + "'") if job.key == key else job)
        if key in self.full_spec.index:
            self.full_spec = self.merged(self.loop.desired)

    @rule(key=JOBS)
    def delete_job(self, key: str) -> None:
        self.change(lambda job: None if job.key == key else job)

    @rule()
    def restore_jobs(self) -> None:
        self.loop.desired = self.full_spec

    def change(self, edit) -> None:  # type: ignore[no-untyped-def]
        self.loop.desired = self.edited(self.loop.desired, edit)

    @staticmethod
    def edited(desired: Desired, edit) -> Desired:  # type: ignore[no-untyped-def]
        projects = [
            replace(
                p,
                phases=tuple(
                    replace(ph, jobs=tuple(new for new in map(edit, ph.jobs) if new is not None)) for ph in p.phases
                ),
            )
            for p in desired.projects.values()
        ]
        return make.desired(*projects, version=desired.version + ".")

    def merged(self, desired: Desired) -> Desired:
        return self.edited(self.full_spec, lambda job: desired.index.get(job.key, job))

    # --- promises

    def check(self, plan: Plan, view: HostView | Unknown, ledger: Ledger) -> None:
        self.every_job_says_why(plan)
        if isinstance(view, Unknown):
            assert (plan.actions, plan.released) == ((), ())
            return
        for action in plan.actions:
            if isinstance(action, Launch):
                self.launch_is_right(action, plan, view, ledger)
            elif isinstance(action, Kill):
                self.kill_is_right(action, view)
            elif isinstance(action, Settle):
                self.verdict_is_right(action, view)
        launched = [a.job for a in plan.actions if isinstance(a, Launch)]
        given = [uuid for a in plan.actions if isinstance(a, Launch) for uuid in a.gpus]
        assert len(set(launched)) == len(launched)
        assert len(set(given)) == len(given)

    def every_job_says_why(self, plan: Plan) -> None:
        assert list(plan.states)[: len(self.loop.desired.index)] == list(self.loop.desired.index)
        assert all(state.message for state in plan.states.values())

    def launch_is_right(self, action: Launch, plan: Plan, view: HostView, ledger: Ledger) -> None:
        job = self.loop.desired.index[action.job]
        assert (action.job, job.generation) not in self.completed, "S11"
        record = ledger.jobs.get(action.job)
        assert action.attempt > max((a.number for a in record.attempts), default=0) if record else True
        alive = [run for run in self.host.runs.values() if run.alive]
        assert all(run.record.job != action.job for run in alive), "S1"
        assert all(not set(run.record.gpus) & set(action.gpus) for run in alive), "S10"
        assert isinstance(view.gpus, tuple) or not action.gpus, "S3"
        for gpu in view.gpus if isinstance(view.gpus, tuple) else ():
            assert gpu.uuid not in action.gpus or (gpu.used_mib or 0) <= THRESHOLD_MIB, "S10"
        assert len(action.gpus) == job.gpus
        assert action.record is not None
        if job.outputs:
            assert action.record.outputs_before == (self.host.outputs.get(job.key, ("", 0.0))[0],), "an old look"
        assert all(check.subject in self.host.outputs for check in job.preconditions), "a precondition is not met"
        project = self.loop.desired.projects[job.project]
        (phase,) = [p for p in project.phases if p.name == job.phase]
        for needed in (j for p in project.phases if p.name in phase.depends_on for j in p.jobs):
            assert plan.states[needed.key].status is JobStatus.COMPLETED, "S12"

    def kill_is_right(self, action: Kill, view: HostView) -> None:
        facts = view.attempts.get(action.path)
        assert isinstance(facts, AttemptFacts), "S3"
        if action.sessions:
            assert isinstance(view.sessions, tuple), "S3"
            assert not self.host.runs[action.path].payload, "a screen is quit while its payload lives"
        if action.reason is Reason.HUNG_TAIL:
            assert isinstance(view.outputs[action.job], OutputFacts), "S3"
            assert action.job in self.loop.desired.index, "an orphan is left alone"
            assert not action.gpus or isinstance(view.gpus, tuple), "S3"
        if action.reason is Reason.HUNG_TAIL and self.loop.ledger.open_attempts[action.path].kill_at is None:
            silent_since = max(self.host.runs[action.path].log_at, self.host.outputs[action.job][1])
            assert self.host.now - silent_since >= LINGER_S, "it was not silent for so long"

    def verdict_is_right(self, action: Settle, view: HostView) -> None:
        assert action.verdict is not None
        if action.attempt:
            assert isinstance(view.attempts.get(action.path), AttemptFacts), "S3"
            run = self.host.runs.get(action.path)
            assert run is None or not run.payload, "a verdict on a live payload"
            job = self.loop.desired.index.get(action.job)
            if action.verdict.status is JobStatus.COMPLETED and job is not None and job.outputs:
                assert run is not None
                assert run.wrote, "completed by what was there before"
        if action.verdict.status is JobStatus.COMPLETED:
            self.completed.add((action.job, action.generation))

    @invariant()
    def no_job_lives_twice(self) -> None:
        if hasattr(self, "host"):
            alive = [run.record.job for run in self.host.runs.values() if run.alive]
            assert len(set(alive)) == len(alive), "S1"

    @invariant()
    def tries_are_bounded(self) -> None:
        for key, job in self.loop.desired.index.items() if hasattr(self, "loop") else ():
            counted = counted_attempts(self.loop.ledger.jobs.get(key), job.generation)
            real = [a for a in counted if a.verdict is None or a.verdict.reason not in INFRA_REASONS]
            assert len(real) <= OOM_TRIES + OTHER_TRIES

    # --- rest

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self.host.hidden.clear()
        self.host.foreign.clear()
        self.loop.tick()
        for _ in range(400):
            self.payloads_end()
            result = self.loop.tick()
            idle = not (result.actions or result.milestones or result.released)
            if idle and result.wake_at is None:
                break
            # after a clock was set back a day, a paused job has a wait that ends far in the future
            far_off = idle and result.wake_at is not None and result.wake_at > self.host.now + 3600
            latest = result.wake_at if far_off else self.host.now + 15.0
            self.host.now = max(self.host.now + 0.05, min(result.wake_at or 1e18, latest or 1e18))
        else:
            raise AssertionError(f"it does not come to rest: {result}")
        self.at_rest(result)

    def payloads_end(self) -> None:
        for run in self.host.live():
            self.host.write_output(run)
            self.host.exit(run, 0, stragglers=run.stubborn, stale=run.stubborn)

    def at_rest(self, result: Plan) -> None:
        assert self.loop.ledger.open_attempts == {}
        assert not any(run.alive or run.session for run in self.host.runs.values())
        waits = {s.reason for s in result.states.values() if s.status not in (JobStatus.COMPLETED, JobStatus.STUCK)}
        allowed = {Reason.PAUSED, Reason.NEEDS_STUCK, Reason.PHASE_NOT_READY, Reason.PRECONDITION_NOT_MET}
        assert waits <= allowed, waits
        assert result.settled is not bool(waits - {Reason.NEEDS_STUCK})
        assert isinstance(self.loop.memory and self.loop.memory.hosts[HOST], HostView)
        assert self.loop.tick(full=False).actions == ()


TestPlannerWorld = PlannerWorld.TestCase
TestPlannerWorld.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
