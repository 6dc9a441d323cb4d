"""A host in memory and a loop without I/O, for properties of the planner alone.

The host keeps its own truth (what really runs); the loop sees of it what `needs` asks for and no probe hides, and
updates the ledger through the same transitions as the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconciler.model.facts import (
    AttemptFacts,
    Exited,
    Gpu,
    GpuProcess,
    HostView,
    Observed,
    OutputFacts,
    PreconditionFacts,
    ProcessId,
    Session,
    SessionState,
    Started,
    Unknown,
)
from reconciler.model.ledger import AttemptRecord, JobRecord, Ledger, ProjectRun, Request, was_set_up_in_vain
from reconciler.model.needs import Needs
from reconciler.model.plan import Kill, Launch, Plan, Settle
from reconciler.model.spec import Desired, Job
from reconciler.planner.needs import needs
from reconciler.planner.plan import plan
from reconciler.planner.requests import with_requests
from reconciler.planner.transitions import (
    mark_kill,
    mark_kill_intended,
    mark_launched,
    mark_released,
    settle,
    with_attempt,
)

HOST = "local"
OOM = "torch.OutOfMemoryError: CUDA out of memory.\n"
PROBES = ("host", "gpus", "sessions", "outputs", "attempts", "preconditions")


@dataclass
class Run:
    """An attempt as it really is."""

    record: AttemptRecord
    boot: int
    claimed: bool = False
    revoked: bool = False
    started_at: float | None = None
    payload: bool = False
    stragglers: bool = False
    stubborn: bool = False
    """What lives of it ignores SIGTERM."""
    session: bool = False
    exited: Exited | None = None
    wrote: bool = False
    """It wrote its output."""
    log_at: float = 0.0
    log: str = ""

    @property
    def alive(self) -> bool:
        return self.payload or self.stragglers


@dataclass
class MiniHost:
    """Processes, screens, GPUs and files."""

    gpu_count: int = 2
    now: float = 1_000_000.0
    boot: int = 1
    runs: dict[str, Run] = field(default_factory=dict)
    outputs: dict[str, tuple[str, float]] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    """Probes that fail."""
    writes: int = 0

    # what payloads do

    def live(self) -> list[Run]:
        return [run for run in self.runs.values() if run.payload]

    def write_output(self, run: Run) -> None:
        self.writes += 1
        run.wrote = True
        self.outputs[run.record.job] = (f"print-{self.writes}", self.now)
        run.log_at = self.now

    def exit(self, run: Run, code: int, *, oom: bool = False, stragglers: bool = False, stale: bool = False) -> None:
        run.payload, run.stragglers, run.session = False, stragglers, stale and run.session
        run.exited = Exited(code, self.now)
        run.log, run.log_at = (OOM if oom else "", self.now)

    def vanish(self, run: Run) -> None:
        run.payload = run.session = False

    def reboot(self) -> None:
        self.boot += 1
        for run in self.runs.values():
            run.payload = run.stragglers = run.session = False

    # what the loop does to it

    def launch(self, record: AttemptRecord) -> None:
        """Start it, as far as the claim and the locks let it."""
        run = self.runs.setdefault(record.path, Run(record, self.boot))
        if run.claimed or run.revoked:
            return
        run.claimed, run.boot, run.session = True, self.boot, record.session is not None
        lock = self._lock_in_use(record)
        if lock is not None:
            run.session = False
            run.exited = Exited(75, self.now, lock_held=lock)
            return
        run.started_at, run.payload, run.log_at = self.now, True, self.now

    def _lock_in_use(self, record: AttemptRecord) -> str | None:
        for other in self.runs.values():
            if other.alive and other.record.job == record.job:
                return "job"
            if other.alive and set(other.record.gpus) & set(record.gpus):
                return f"gpu:{record.gpus[0]}"
        return None

    def revoke(self, record: AttemptRecord) -> bool:
        run = self.runs.setdefault(record.path, Run(record, self.boot))
        run.revoked = run.revoked or not run.claimed
        return run.revoked

    def kill(self, action: Kill) -> None:
        run = self.runs[action.path]
        if action.sessions:
            run.session = False
        if run.alive and (action.force or not run.stubborn):
            if run.payload:
                self.exit(run, 137 if action.force else 143)
            run.stragglers = False

    # what can be seen

    def view(self, wanted: Needs, desired: Desired) -> HostView | Unknown:
        if "host" in self.hidden:
            return Unknown("no answer")
        return HostView(
            HOST,
            self.now,
            f"boot-{self.boot}",
            screen_installed=True,
            sessions=self._sessions() if wanted.sessions else None,
            gpus=self._gpus() if wanted.gpus else (),
            attempts={need.path: self._facts(need.path) for need in wanted.attempts},
            outputs={key: self._outputs(job) for key, job in wanted.outputs.items()},
            preconditions={key: self._preconditions(job) for key, job in wanted.preconditions.items()},
            asked=frozenset(wanted.outputs) | frozenset(wanted.preconditions),
        )

    def _sessions(self) -> tuple[Session, ...] | Unknown:
        if "sessions" in self.hidden:
            return Unknown("wrong SCREENDIR")
        names = [run.record.session for run in self.runs.values() if run.session]
        return tuple(Session(n, name, SessionState.DETACHED) for n, name in enumerate(names) if name)

    def _gpus(self) -> tuple[Gpu, ...] | Unknown:
        if "gpus" in self.hidden:
            return Unknown("nvidia-smi timed out")
        return tuple(self._gpu(index) for index in range(self.gpu_count))

    def _gpu(self, index: int) -> Gpu:
        users = [r for r in self.runs.values() if r.alive and f"GPU-{index}" in r.record.gpus]
        ours = tuple(GpuProcess(n, 4_000, "me", attempt=r.record.path) for n, r in enumerate(users))
        others = (GpuProcess(999, 9_000, "alice"),) if index in self.foreign else ()
        used = sum(p.used_mib or 0 for p in (*ours, *others))
        return Gpu(index, f"GPU-{index}", "H100", used, 80_000, 0, (*ours, *others))

    def _facts(self, path: str) -> AttemptFacts | Unknown:
        if "attempts" in self.hidden:
            return Unknown("EIO")
        run = self.runs.get(path)
        if run is None:
            return AttemptFacts(exists=False)
        who = ProcessId(f"boot-{run.boot}", 7, 7)
        started = Started(who, who, run.started_at) if run.started_at is not None else None
        return AttemptFacts(
            exists=True,
            claimed=run.claimed,
            revoked=run.revoked,
            started=started,
            exited=run.exited,
            payload_alive=run.payload,
            shim_alive=run.payload,
            tree_alive=run.alive,
            log_at=run.log_at or None,
            log_tail=run.log,
        )

    def _outputs(self, job: Job) -> OutputFacts | Unknown:
        if "outputs" in self.hidden:
            return Unknown("stale file handle")
        print_, at = self.outputs.get(job.key, ("", None))
        return OutputFacts((print_,), at)

    def _preconditions(self, job: Job) -> tuple[PreconditionFacts | Unknown, ...]:
        if "preconditions" in self.hidden:
            return tuple(Unknown("timed out") for _ in job.preconditions)
        return tuple(PreconditionFacts(c.subject in self.outputs, c.subject) for c in job.preconditions)


@dataclass
class MiniLoop:
    """What the real loop does between a look and the next, without files."""

    host: MiniHost
    desired: Desired
    check: Callable[[Plan, HostView | Unknown, Ledger], None]
    ledger: Ledger = field(default_factory=Ledger)
    memory: Observed | None = None
    wanted: tuple[str, ...] = ()
    turn: int = 0
    inbox: list[Request] = field(default_factory=list)

    def tick(self, *, full: bool = True, crash_after: int | None = None) -> Plan:
        """Look and act. `crash_after`: carry out so many effects of the plan, then lose the daemon and its memory."""
        self.ledger = with_requests(self.ledger, self.inbox)
        self.inbox.clear()
        view = self._observe(full)
        result = plan(self.desired, Observed({HOST: view}), self.ledger, self.host.now)
        assert result == plan(self.desired, Observed({HOST: view}), self.ledger, self.host.now)
        self.check(result, view, self.ledger)
        self.wanted = result.wanted
        self._carry_out(result, crash_after)
        if crash_after is not None:
            self.memory, self.wanted = None, ()
        return result

    def _observe(self, full: bool) -> HostView | Unknown:
        previous = self.memory.hosts[HOST] if self.memory is not None else None
        asked = needs(self.desired, self.ledger, self.memory, HOST, full=full, turn=self.turn, wanted=self.wanted)
        view = self.host.view(asked, self.desired)
        if isinstance(view, HostView) and isinstance(previous, HostView):
            view = _with_last_known(view, asked, previous)
        self.memory = Observed({HOST: view})
        self.turn += full
        return view

    def _carry_out(self, result: Plan, crash_after: int | None) -> None:
        for milestone in result.milestones:
            self._milestone(milestone.project, milestone.settled)
        actions = [a for a in result.actions if not (isinstance(a, Settle) and a.revoke and not self._revoke(a))]
        for action in actions:
            record = self.ledger.jobs.get(action.job)
            if isinstance(action, Launch):
                assert action.record is not None
                self._put(with_attempt(record, action.record))
            elif isinstance(action, Settle):
                self._put(settle(record, action))
            elif isinstance(action, Kill):
                assert record is not None
                self._put(mark_kill_intended(record, action.attempt, self.host.now, action.reason))
        for path in result.released:
            job, _, number = path.rpartition("/")
            self._put(mark_released(self.ledger.jobs[job], int(number)))
        for done, action in enumerate(actions):
            if crash_after is not None and done >= crash_after:
                return
            self._enact(action)

    def _enact(self, action: object) -> None:
        if isinstance(action, Launch):
            assert action.record is not None
            self.host.launch(action.record)
            record = self.ledger.jobs[action.job]
            self._put(mark_launched(record, action.attempt, action.record.launcher, action.record.session))
        elif isinstance(action, Kill):
            self.host.kill(action)
            self._put(mark_kill(self.ledger.jobs[action.job], action.attempt, self.host.now, action.reason))

    def _revoke(self, action: Settle) -> bool:
        return self.host.revoke(self.ledger.open_attempts[action.path])

    def _milestone(self, project: str, settled: bool) -> None:
        before = self.ledger.runs.get(project)
        run = ProjectRun(project, (before.number if before else 0) + 1, self.host.now, "/x")
        if settled:
            assert before is not None
            run = replace(before, settled_at=self.host.now)
        self.ledger = replace(self.ledger, runs={**self.ledger.runs, project: run})

    def _put(self, record: JobRecord) -> None:
        jobs = {**self.ledger.jobs, record.key: record}
        still_open = {a.path: a for r in jobs.values() for a in r.attempts if a.verdict is None or not a.released}
        in_vain = {r.key: None for r in jobs.values() if was_set_up_in_vain(r)}
        version = self.ledger.version + 1
        self.ledger = replace(self.ledger, jobs=jobs, open_attempts=still_open, set_up_in_vain=in_vain, version=version)


def _with_last_known(view: HostView, asked: Needs, previous: HostView) -> HostView:
    """What was not asked for keeps its last value, as in the real loop."""
    sessions = view.sessions
    if not asked.sessions:
        sessions = previous.sessions if isinstance(previous.sessions, Unknown) else None
    return replace(
        view,
        sessions=sessions,
        gpus=view.gpus if asked.gpus else previous.gpus,
        attempts=view.attempts if asked.strays else {**previous.attempts, **view.attempts},
        outputs={**previous.outputs, **view.outputs},
        preconditions={**previous.preconditions, **view.preconditions},
    )
