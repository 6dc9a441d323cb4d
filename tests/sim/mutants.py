"""Known mistakes, put into the product one at a time: the simulation has to notice each of them.

A mutant changes one function or constant of the product (`where`: the real module, or the module as it is loaded for
the simulation), or one step of the simulated shim, where the promise is kept by the shell script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import getattr_static
from types import SimpleNamespace
from typing import Any

from reconciler.host import enact
from reconciler.host.reply import Reply
from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import AttemptFacts, HostView, OutputFacts, Unknown
from reconciler.model.ledger import AttemptRecord
from tests.sim import payloads, product, shim
from tests.sim.explore import attempt, fault_free, single_faults

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`patches` are (module or class, name, mutant). `scenarios` are where it shows."""

    name: str
    where: str
    patches: Callable[[], list[Patch]]
    scenarios: tuple[str, ...]


def module(name: str) -> Any:
    """A module of the product; by name, as some packages export a function of the same name."""
    return import_module(f"reconciler.{name}")


def _unknown_attempts_are_gone() -> list[Patch]:
    parse = module("parse.host")
    real = parse.parse_attempt

    def parse_attempt(raw: Any) -> Any:
        found = real(raw)
        return AttemptFacts(exists=True, claimed=True) if isinstance(found, Unknown) else found

    return [(parse, "parse_attempt", parse_attempt)]


def _unknown_screens_are_none() -> list[Patch]:
    parse = module("parse.host")
    real = parse.parse_sessions

    def parse_sessions(raw: Any) -> Any:
        found = real(raw)
        return () if isinstance(found, Unknown) else found

    return [(parse, "parse_sessions", parse_sessions)]


def _silent_gpus_are_free() -> list[Patch]:
    parse = module("parse.host")
    real = parse.parse_gpus
    last: list[Any] = [()]

    def parse_gpus(raw: Any) -> Any:
        found = real(raw)
        if isinstance(found, Unknown):
            return tuple(replace(gpu, used_mib=0, processes=()) for gpu in last[0])
        last[0] = found
        return found

    return [(parse, "parse_gpus", parse_gpus)]


def _unreported_memory_is_free() -> list[Patch]:
    placement = module("planner.placement")
    return [(placement, "is_free", lambda gpu, threshold: (gpu.used_mib or 0) <= threshold)]


def _outputs_before_life() -> list[Patch]:
    """The agent reads exit records first, and signs of life after."""
    agent = product.agent
    real = agent.Agent._probe

    def probe(self: Any, request: Any) -> Any:
        early = {
            need["path"]: agent.read_record(f"{self._folder(need['path'])}/exit.json") for need in request["attempts"]
        }
        reply = real(self, request)
        for path, facts in reply["attempts"].items():
            exited = early[path]
            if "unknown" not in facts:
                facts["exited"] = dict(exited[0], at=exited[1]) if exited else None
        return reply

    return [(agent.Agent, "_probe", probe)]


def _screens_by_name() -> list[Patch]:
    def quit_screen(self: Any, path: str, address: str) -> None:
        argv = [self._screen.program, "-S", address.partition(".")[2], "-X", "quit"]
        product.agent.subprocess.Popen(argv)

    return [(product.agent.Agent, "_quit_screen", quit_screen)]


def _screens_of_others() -> list[Patch]:
    return [(product.agent.Agent, "_is_of_others", lambda self, address: False)]


def _believe_the_ledger() -> list[Patch]:
    """What was launched and has no exit record runs."""
    review = module("planner.review")
    outcome = module("planner.outcome")
    real = review.read_attempt

    def read_attempt(record: AttemptRecord, view: Any, job: Any, success: Any, now: float) -> Any:
        found = real(record, view, job, success, now)
        facts = view.attempts.get(record.path)
        if record.launched and isinstance(facts, AttemptFacts) and facts.exited is None:
            return outcome.Live(Reason.RUNNING, "running", now + 15)
        return found

    return [(review, "read_attempt", read_attempt)]


def _no_claim() -> list[Patch]:
    """The shim runs whether the attempt is claimed or not."""

    def create(self: Any, name: str) -> Any:
        return self.machine.disk.entries.get(f"{self.folder}/{name}") or real(self, name)

    real = shim.Shim._create
    return [(shim.Shim, "_create", create), (shim.Shim, "is_claimed", lambda self: False)]


def _no_gpu_lock() -> list[Patch]:
    real = shim.Shim.__init__

    def init(self: Any, machine: Any, argv: list[str], in_screen: bool) -> None:
        real(self, machine, argv, in_screen)
        self.gpu_locks = []

    return [(shim.Shim, "__init__", init)]


def _no_job_lock() -> list[Patch]:
    def lock(self: Any, path: str) -> Any:
        if path == self.job_lock:
            yield 0.0
            return 0
        return (yield from real(self, path))

    real = shim.Shim._lock
    table = product.agent.ProcessTable
    return [(shim.Shim, "_lock", lock), (table, "attempt_of", lambda self, pid: None)]


def _locks_end_with_the_shim() -> list[Patch]:
    """The payload does not inherit the locks."""
    real = payloads.start_payload

    def start_payload(machine: Any, parent: Any, *rest: Any) -> Any:
        kept, parent.locks = parent.locks, []
        try:
            return real(machine, parent, *rest)
        finally:
            parent.locks = kept

    return [(shim, "start_payload", start_payload)]


def _stuck_counts_as_completed() -> list[Patch]:
    phases = module("planner.phases")
    real = phases.counts_of

    def counts_of(states: Any, jobs: Any) -> Any:
        counts = dict(real(states, jobs))
        counts[JobStatus.COMPLETED] = counts.get(JobStatus.COMPLETED, 0) + counts.pop(JobStatus.STUCK, 0)
        return counts

    return [(phases, "counts_of", counts_of)]


def _retry_without_bound() -> list[Patch]:
    review = module("planner.review")
    return [(review, "retry_at", lambda path, verdict, earlier, oom, failure: verdict.at + failure.delay_s)]


def _failures_are_reboots() -> list[Patch]:
    """A job's own failure does not use up a try."""
    backoff = module("planner.backoff")
    mild = backoff.INFRA_REASONS | {Reason.CODE_ERROR, Reason.GPU_OUT_OF_MEMORY}
    return [(backoff, "INFRA_REASONS", mild)]


def _revoke_without_claim() -> list[Patch]:
    done = enact.Effect(Reply({"revoked": True}), lambda _reply: enact.Outcome(ok=True))
    return [(enact, "revoke", lambda agent, path: done)]


def _launch_without_journal() -> list[Patch]:
    tick = module("loop.tick")
    return [(tick, "_commit_intent", lambda world, journal, releases: None)]


def _ignore_boot() -> list[Patch]:
    """A process with that pid and start time is the payload, whatever the boot."""
    agent = product.agent
    real = agent.Agent._life

    def life(self: Any, path: str, table: Any) -> Any:
        found = real(self, path, table)
        started = found.started
        if started is not None and found.payload is None:
            stat = agent.process_stat(started["pid"])
            if stat is not None and stat.start_ticks == started["start_ticks"]:
                return found._replace(payload=stat, tree_alive=True, tree=[stat])
        return found

    return [(agent.Agent, "_life", life)]


def _pid_is_identity() -> list[Patch]:
    """A signal goes to whatever has the pid now."""
    agent = product.agent

    def tree(self: Any, path: str, started: Any, payload: Any, table: Any) -> list[Any]:
        stat = agent.process_stat(started["pid"]) if started else None
        return [stat] if stat is not None else []

    return [(agent.Agent, "_tree", tree)]


def _release_at_exit() -> list[Patch]:
    """The GPUs and the job are free as soon as the payload has ended."""
    review = module("planner.review")

    def release(draft: Any, record: AttemptRecord, view: Any, ended_at: float) -> None:
        draft.released.append(record.path)

    return [(review, "release", release)]


def _no_gpu_threshold() -> list[Patch]:
    placement = module("planner.placement")
    return [(placement, "is_free", lambda gpu, threshold: True)]


def _requeue_before_delay() -> list[Patch]:
    jobs = module("planner.jobs")
    return [(jobs, "_longest_delay_s", lambda project, verdict: -1.0)]


def _broken_spec_is_empty() -> list[Patch]:
    return [(product.specs.Intake, "good", lambda self, name: ("", None))]


def _old_outputs_count() -> list[Patch]:
    outcome = module("planner.outcome")
    return [(outcome, "fresh", lambda record, outputs: outputs.complete)]


def _exit_code_is_enough() -> list[Patch]:
    outcome = module("planner.outcome")
    real = outcome._exited

    def exited(record: Any, facts: Any, view: Any, job: Any, success: Any, now: float) -> Any:
        if facts.exited.code == 0:
            return outcome._completed(record, 0, facts.exited.at)
        return real(record, facts, view, job, success, now)

    return [(outcome, "_exited", exited)]


def _keep_the_last_plan() -> list[Patch]:
    look = module("loop.look")
    return [(look, "_holds", lambda last, *rest: not last.plan.actions and not last.plan.wanted)]


def _kill_never_forces() -> list[Patch]:
    reap = module("planner.reap")
    return [(reap, "_grace_is_over", lambda record, now: False)]


def _verdicts_are_not_repeated() -> list[Patch]:
    tick = module("loop.tick")
    return [(tick, "repeat_verdicts", lambda world: None)]


def _silent_host_is_empty() -> list[Patch]:
    """A host that gives no answer has nothing: neither attempts nor screens."""
    look = module("loop.look")
    real = look._answer

    def answer(world: Any, desired: Any, host: str, until: Any) -> Any:
        found = real(world, desired, host, until)
        if not isinstance(found, Unknown) or found.quiet:
            return found
        mine = [record for record in world.ledger.ledger().open_attempts.values() if record.host == host]
        gone = {record.path: AttemptFacts(exists=False) for record in mine}
        outputs = {record.job: OutputFacts(("",)) for record in mine}
        return HostView(host, world.clock(), attempts=gone, outputs=outputs)

    return [(look, "_answer", answer)]


def _elsewhere_at_once() -> list[Patch]:
    """The jobs of a host that cannot be reached are started on another."""
    review = module("planner.review")
    real = review._on_unknown_host

    def on_unknown_host(draft: Any, record: AttemptRecord, view: Any) -> None:
        if view.quiet or record.verdict is not None:
            real(draft, record, view)
            return
        facts = AttemptFacts(exists=True, claimed=True, scanned=True)
        empty = HostView(record.host, draft.now, attempts={record.path: facts}, sessions=())
        review._review(draft, record, empty)

    return [(review, "_on_unknown_host", on_unknown_host)]


def _silent_host_holds_up() -> list[Patch]:
    """Nothing starts anywhere while some host does not answer."""
    launch = module("planner.launch")
    real = launch._paused

    def paused(draft: Any, project: Any, job: Any) -> Any:
        if any(isinstance(view, Unknown) and not view.quiet for view in draft.observed.hosts.values()):
            return launch.Refusal(Reason.HOST_UNKNOWN, "a host does not answer")
        return real(draft, project, job)

    return [(launch, "_paused", paused)]


def _exists_is_ignored() -> list[Patch]:
    """An attempt of another controller that stands in the way is taken for one's own launch."""
    tick = module("loop.tick")
    real = tick._launched

    def launched(world: Any, action: Any, journal: Any, effect: Any, patience: Any) -> Any:
        outcome = replace(effect.outcome(patience.left_s()), ok=True, kind="")
        return real(world, action, journal, SimpleNamespace(outcome=lambda _patience_s: outcome), patience)

    agent = product.agent.Agent
    return [(tick, "_launched", launched), (agent, "_is_another", staticmethod(lambda folder, intent: False))]


def _far_times_as_they_are() -> list[Patch]:
    observe = module("host.observe")
    return [(observe, "_clock_ahead_s", lambda reply, asked_at, now, previous: 0.0)]


def _forgets_nothing() -> list[Patch]:
    requests = module("planner.requests")
    return [(requests, "_without_host", lambda jobs, request: {})]


def _lost_launch_is_repeated() -> list[Patch]:
    """Where the answer to a launch is lost, the attempt is not looked for: the next one is started at once."""
    outcome = module("planner.outcome")
    real = outcome._unclaimed

    def unclaimed(record: Any, facts: Any, view: Any, job: Any, now: float) -> Any:
        if not record.launched:
            return outcome.Ended(JobStatus.FAILED_OTHER, Reason.LAUNCH_LOST, "its launch was not answered", now)
        return real(record, facts, view, job, now)

    return [(outcome, "_unclaimed", unclaimed)]


def _inputs_are_there() -> list[Patch]:
    launch = module("planner.launch")
    return [(launch, "inputs_refusal", lambda draft, project, phase, host: None)]


def _far_verdicts_are_not_repeated() -> list[Patch]:
    tick = module("loop.tick")
    return [(tick, "repeat_far_verdicts", lambda world, snapshot: None)]


def _broken_environments_hold_nobody() -> list[Patch]:
    return [(module("planner.launch"), "setups_in_vain", lambda *_args, **_more: {})]


def _a_broken_environment_is_final() -> list[Patch]:
    review = module("planner.review")
    real = review.retry_at

    def retry_at(path: str, verdict: Any, *rest: Any) -> Any:
        return None if verdict.reason is Reason.ENVIRONMENT_BROKEN else real(path, verdict, *rest)

    return [(review, "retry_at", retry_at)]


def _the_wave_that_broke_is_followed_by_the_next() -> list[Patch]:
    """What this very plan settles does not count yet."""
    environments = module("planner.environments")
    real = environments._failures

    def failures(draft: Any) -> Any:
        actions, draft.actions = draft.actions, []
        try:
            return real(draft)
        finally:
            draft.actions = actions

    return [(environments, "_failures", failures)]


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant("unknown attempts are gone", "parse", _unknown_attempts_are_gone, ("plain",)),
        Mutant("unknown screens are none", "parse", _unknown_screens_are_none, ("stale", "plain")),
        Mutant("a silent nvidia-smi means free GPUs", "parse", _silent_gpus_are_free, ("shared", "oom")),
        Mutant("unreported GPU memory is free", "planner", _unreported_memory_is_free, ("shared", "oom")),
        Mutant("exit records are read before signs of life", "agent", _outputs_before_life, ("flash",)),
        Mutant("screens are quit by name", "agent", _screens_by_name, ("stale", "names")),
        Mutant("screens of another state folder count", "agent", _screens_of_others, ("names",)),
        Mutant("the ledger is believed over the facts", "planner", _believe_the_ledger, ("plain",)),
        Mutant("the shim makes no exclusive claim", "shim", _no_claim, ("plain", "flash")),
        Mutant("no GPU locks", "shim", _no_gpu_lock, ("states", "projects")),
        Mutant("no job lock and no marks", "shim", _no_job_lock, ("plain", "hang")),
        Mutant("the payload does not inherit the locks", "shim", _locks_end_with_the_shim, ("states", "hang")),
        Mutant("stuck counts as completed", "planner", _stuck_counts_as_completed, ("gate",)),
        Mutant("retries without bound", "planner", _retry_without_bound, ("oom",)),
        Mutant("a job's own failures do not count", "planner", _failures_are_reboots, ("oom",)),
        Mutant("lost launches are not revoked", "loop", _revoke_without_claim, ("plain", "flash")),
        Mutant("launches before the journal", "loop", _launch_without_journal, ("plain",)),
        Mutant("the boot is not part of identity", "agent", _ignore_boot, ("reboot",)),
        Mutant("a pid is identity", "agent", _pid_is_identity, ("reboot", "hang")),
        Mutant("GPUs are free when the payload exits", "planner", _release_at_exit, ("hang",)),
        Mutant("GPU memory in use does not matter", "planner", _no_gpu_threshold, ("shared",)),
        Mutant("requeued before the delay", "planner", _requeue_before_delay, ("oom",)),
        Mutant("a broken spec asks for nothing", "spec", _broken_spec_is_empty, ("edits",)),
        Mutant("leftover outputs count", "planner", _old_outputs_count, ("again",)),
        Mutant("exit code 0 is enough", "planner", _exit_code_is_enough, ("flash",)),
        Mutant("the last plan is kept too long", "loop", _keep_the_last_plan, ("plain",)),
        Mutant("what ignores SIGTERM is never forced", "planner", _kill_never_forces, ("hang",)),
        Mutant("broken environments hold nobody back", "planner", _broken_environments_hold_nobody, ("broken",)),
        Mutant("a broken environment is final", "planner", _a_broken_environment_is_final, ("broken",)),
        Mutant("a broken wave is followed", "planner", _the_wave_that_broke_is_followed_by_the_next, ("broken",)),
        Mutant("verdicts are not repeated after a crash", "loop", _verdicts_are_not_repeated, ("plain",)),
        Mutant("a silent host is an empty one", "loop", _silent_host_is_empty, ("silent",)),
        Mutant("jobs of a silent host are started elsewhere", "planner", _elsewhere_at_once, ("forget",)),
        Mutant("a silent host holds the others up", "planner", _silent_host_holds_up, ("silent",)),
        Mutant("an attempt of another controller is ignored", "loop", _exists_is_ignored, ("controllers",)),
        Mutant("times of a far host are taken as they are", "host", _far_times_as_they_are, ("clock",)),
        Mutant("forgetting a host forgets nothing", "planner", _forgets_nothing, ("forget",)),
        Mutant("a launch without an answer is repeated at once", "planner", _lost_launch_is_repeated, ("two-hosts",)),
        Mutant("inputs are taken for there", "planner", _inputs_are_there, ("fetch",)),
        Mutant("verdicts of far hosts are not repeated", "loop", _far_verdicts_are_not_repeated, ("forget",)),
    )
}


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The product with that mistake in it."""
    patches = mutant.patches()
    kept = [(where, name, getattr_static(where, name, None)) for where, name, _ in patches]
    for where, name, value in patches:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in kept:
            setattr(where, name, value)


def caught(mutant: Mutant, runs_max: int = 3000) -> tuple[str, str, int] | None:
    """How the mutant shows: the replay line, the broken promise, the number of runs. None: it does not.

    The fault-free run first, then single faults spread over the run, so that most show early."""
    for name in mutant.scenarios:
        fault_free(name)  # of the sound product
    runs = 0
    with applied(mutant):
        for name in mutant.scenarios:
            runs += 1
            _, wrong = _try(name, [])
            if wrong:
                return f"{name}", wrong[0], runs
        for name in mutant.scenarios:
            singles = list(single_faults(name))
            for step in range(7):
                for fault in singles[step::7]:
                    runs += 1
                    _, wrong = _try(name, [fault])
                    if wrong:
                        return f"{name} {fault}", wrong[0], runs
                    if runs > runs_max:
                        return None
    return None


def _try(name: str, faults: Any) -> Any:
    try:
        return attempt(name, faults, audit_every=3)
    except AssertionError as error:
        return None, [f"the product's own check: {error}"]
