"""Small worlds with a known good end, each chosen for one kind of trouble."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.enums import JobStatus

if TYPE_CHECKING:
    from tests.sim.run import Run

Happening = Callable[["Run"], None]

USER_LOOKS_EVERY_S = 5.0
USER_LOOKS_UNTIL_S = 300.0

HEAD = "project: {name}\ncwd: /sim\ngpus: {gpus}\nmax_parallel: {slots}\n"
ONE_TRY, TWO_TRIES = "max_attempts: 1", "max_attempts: 2"
POLICY = "oom_retry: {delay: 5s, max_attempts: 3}\nfailure_retry: {delay: 2s, max_attempts: 1}\nlinger: 20s\n"


def spec(name: str, jobs: dict[str, str], *, gpus: str = "none", slots: int = 2, outputs: str = "") -> str:
    """A spec of plain jobs: `{id: "KIND SECONDS [NUMBER]"}`, each with the output `<project>.<id>.out`."""
    head = HEAD.format(name=name, gpus=gpus, slots=slots)
    return head + POLICY + "jobs:\n" + job_lines(outputs or name, jobs)


def job_lines(name: str, jobs: dict[str, str], indent: str = "  ") -> str:
    """The entries of a list of jobs."""
    return "".join(_entry(name, job, what, indent) for job, what in jobs.items())


def _entry(name: str, job: str, what: str, indent: str) -> str:
    kind, seconds, *number = what.split()
    output = f"{name}.{job}.out"
    command = " ".join(["sim", kind, seconds, output, *number])
    text = f"{indent}- id: {job}\n{indent}  cmd: {command}\n"
    return text + (f"{indent}  expected_output: {output}\n" if kind not in ("fail", "calm") else "")


@dataclass(frozen=True, slots=True)
class Host:
    """A further machine. `ahead_s`: how far its clock is ahead of the loop's."""

    name: str
    gpus: int = 0
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """`specs` by folder and file name; `happenings` by seconds from the start. `states`: one loop each."""

    name: str
    about: str
    specs: dict[str, str]
    gpus: int = 0
    states: tuple[str, ...] = ("/home/u/.local/state/exq",)
    happenings: tuple[tuple[float, Happening], ...] = ()
    sticky_screens: int = 0
    foreign: tuple[tuple[int, int], ...] = ()
    """GPU index and MiB of a colleague's processes, there from the start."""
    folders: tuple[str, ...] = ("/sim/specs",)
    """The specs folder of each loop."""
    racy: tuple[str, ...] = ()
    """Jobs of which it is chance whether they start before they are taken out of the specs."""
    more: dict[str, str] = field(default_factory=dict)
    """What the files of the second folder hold, where that differs."""
    hosts: tuple[Host, ...] = ()
    """Machines besides the first."""
    loops: tuple[str, ...] = ()
    """The machine of each loop, where it is not the first."""
    mixed: bool = False
    """Random acts happen in it."""


def _replace(path: str, text: str) -> Happening:
    def happen(run: Run) -> None:
        run.edit(path, text)

    return happen


def _delete(path: str) -> Happening:
    def happen(run: Run) -> None:
        run.delete(path)

    return happen


def _reboot(run: Run) -> None:
    run.reboot(power=False)


def _leave(run: Run) -> None:
    run.colleagues_leave()


def _request(kind: str, target: str) -> Happening:
    def happen(run: Run) -> None:
        run.request(kind, target)

    return happen


def _retry_once_stuck(target: str) -> Happening:
    """The user looks from time to time, and asks for another try when nothing happens by itself any more."""

    def happen(run: Run) -> None:
        snapshots = [daemon.snapshot for daemon in run.daemons if daemon.snapshot is not None]
        states = [snapshot.plan.states.get(target) for snapshot in snapshots]
        if any(state is not None and state.status is JobStatus.STUCK for state in states):
            run.request("retry", target)
        elif run.elapsed < USER_LOOKS_UNTIL_S:
            insort(run.happenings, (run.elapsed + USER_LOOKS_EVERY_S, happen), key=lambda entry: entry[0])

    return happen


def _jump(seconds: float) -> Happening:
    def happen(run: Run) -> None:
        run.machine.offset += seconds
        run.machine.set_time(0.0)

    return happen


def _full(full: bool) -> Happening:
    def happen(run: Run) -> None:
        run.machine.disk.full = full

    return happen


def _lose_ledger(run: Run) -> None:
    run.lose_ledger()


def _cut(host: str, seconds: float) -> Happening:
    def happen(run: Run) -> None:
        run.fleet.cut[host] = run.machine.true + seconds

    return happen


def _forget(host: str) -> Happening:
    def happen(run: Run) -> None:
        run.forget(host)

    return happen


def _host_clock(host: str, seconds: float) -> Happening:
    def happen(run: Run) -> None:
        machine = run.fleet.machines[host]
        machine.offset += seconds
        machine.set_time(0.0)

    return happen


def _done_meanwhile(project: str) -> Happening:
    """A host that is cut off holds nobody up."""

    def happen(run: Run) -> None:
        run.expect_completed(project)

    return happen


def _started_on(host: str, job: str) -> Happening:
    """What a user has given up is started elsewhere."""

    def happen(run: Run) -> None:
        run.expect_started(host, job)

    return happen


def _few_setups(most: int) -> Happening:
    """Jobs whose environment is broken are not all tried."""

    def happen(run: Run) -> None:
        # what a fault makes exq forget, or an edit makes another job of, is found out again: at most a wave of two
        acts = len(run.scenario.happenings) - len(ALL[run.scenario.name].happenings)
        if run.machine.vain_setups > most + 2 * (len(run.plan.hit) + acts):
            run.machine.wrong(f"S6: {run.machine.vain_setups} attempts could not be set up, {most} are enough")

    return happen


PLAIN = spec("plain", {"a": "ok 2", "b": "ok 3", "c": "fail 1"})
PHASES = (
    HEAD.format(name="two", gpus="none", slots=2)
    + POLICY
    + "phases:\n  - name: teach\n    jobs:\n"
    + job_lines("two", {"t1": "ok 2", "t2": "early 3"}, "      ")
    + "  - name: learn\n    depends_on: teach\n    jobs:\n"
    + job_lines("two", {"s1": "ok 1", "s2": "ok 1"}, "      ")
)
EDITED = spec("edit", {"a": "ok 6", "b": "ok 2", "d": "ok 1"})
TWO_HOSTS = "hosts: [{name: a, max_parallel: 1}, {name: b, max_parallel: 1}]\n"
FETCH = (
    HEAD.format(name="apart", gpus="none", slots=2)
    + TWO_HOSTS
    + POLICY
    + "phases:\n  - name: teach\n    hosts: a\n    jobs:\n"
    + job_lines("apart", {"t": "ok 1"}, "      ")
    + "  - name: learn\n    hosts: b\n    depends_on: teach\n    fetch: true\n    jobs:\n"
    + job_lines("apart", {"s": "needs 1 apart.t.out"}, "      ")
)


def _on(hosts: str, text: str) -> str:
    """A spec whose jobs run elsewhere."""
    return text.replace("cwd: /sim\n", f"cwd: /sim\n{hosts}")


MULTI_A = spec("left", {"a": "ok 2", "b": "oom 2 1"}, gpus="all", slots=2)
MULTI_B = spec("right", {"a": "ok 1", "b": "ok 2"}, gpus="[1]", slots=1)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("plain", "three jobs on two slots, one of them fails", {"plain.yaml": PLAIN}),
        Scenario("tiny", "two jobs on one slot", {"tiny.yaml": spec("tiny", {"a": "ok 1", "b": "early 1"}, slots=1)}),
        Scenario("phases", "a phase that waits for another", {"two.yaml": PHASES}),
        Scenario(
            "oom",
            "out of GPU memory, then retried",
            {"oom.yaml": spec("oom", {"a": "oom 2 1", "b": "oom 1 9", "c": "ok 2"}, gpus="all", slots=2)},
            gpus=2,
        ),
        Scenario(
            "broken",
            "an environment is broken for a while: few find that out, no try is used up, and all run in the end",
            {"broken.yaml": spec("broken", dict.fromkeys("abcdef", "lame 2 40"))},
            # a wave of two, and one more after 30 s
            happenings=((39.0, _few_setups(3)),),
        ),
        Scenario(
            "stale",
            "screens that stay when their job has ended",
            {"stale.yaml": spec("stale", {"a": "ok 2", "a1": "ok 3", "b": "fail 2"})},
            sticky_screens=2,
            happenings=(
                (0.0, lambda run: run.user_screens("exq", "exp1", "exq.stale.a.1-notes")),
                (1.0, lambda run: run.kill_screen("stale/a")),
            ),
        ),
        Scenario(
            "flash",
            "jobs that end between two looks",
            {
                "flash.yaml": spec(
                    "flash",
                    {"a": "ok 0", "b": "ok 0.001", "c": "noout 0", "d": "early 0.1", "e": "calm 0", "f": "calm 0.002"},
                ).replace("max_attempts: 1", "max_attempts: 2")
            },
        ),
        Scenario(
            "hang",
            "jobs that hang with all written, ignore SIGTERM, or leave a process behind",
            {"hang.yaml": spec("hang", {"a": "hang 2", "b": "deaf 2", "c": "orphan 2 45"}, gpus="all", slots=2)},
            gpus=2,
        ),
        Scenario(
            "edits",
            "the spec is edited, broken, deleted, renamed and reverted while jobs run",
            {"edit.yaml": spec("edit", {"a": "ok 6", "b": "ok 4", "c": "ok 30"})},
            racy=("edit/c",),
            happenings=(
                (1.0, _replace("edit.yaml", EDITED)),
                (2.0, _replace("edit.yaml", EDITED.replace("jobs:", "jobs: ["))),
                (3.0, _replace("edit.yaml", EDITED)),
                (3.5, _delete("edit.yaml")),
                (5.0, _replace("renamed.yaml", EDITED)),
                (6.0, _request("stop", "edit/c")),
                (8.0, _delete("renamed.yaml")),
                (8.0, _replace("edit.yaml", EDITED)),
                (9.0, _request("retry", "edit/c")),
            ),
        ),
        Scenario(
            "states",
            "two loops with two state folders share the GPUs and name their jobs alike; memory shows late",
            {"both.yaml": spec("both", {"a": "late 2 2", "b": "late 1 2"}, gpus="all", slots=2)},
            gpus=2,
            states=("/home/u/one", "/home/u/two"),
            folders=("/sim/specs", "/sim/more"),
            more={"both.yaml": spec("both", {"a": "late 2 2", "b": "late 1 2"}, gpus="all", slots=2, outputs="more")},
        ),
        Scenario(
            "names",
            "two loops with two state folders run jobs of one name, one long, one short, without GPUs",
            {"same.yaml": spec("same", {"a": "ok 2", "b": "fail 1"})},
            states=("/home/u/one", "/home/u/two"),
            folders=("/sim/specs", "/sim/more"),
            more={"same.yaml": spec("same", {"a": "ok 25", "b": "ok 9"}, outputs="other")},
            sticky_screens=1,
        ),
        Scenario(
            "twins",
            "two loops on one state folder, because its lock does not work",
            {"twin.yaml": spec("twin", {"a": "ok 2", "b": "ok 1", "c": "fail 1"})},
            states=("/home/u/one", "/home/u/one"),
            folders=("/sim/specs", "/sim/specs"),
        ),
        Scenario(
            "shared",
            "a colleague uses one GPU for a while",
            {"shared.yaml": spec("shared", {"a": "ok 2", "b": "ok 2", "c": "ok 1"}, gpus="all", slots=3)},
            gpus=2,
            foreign=((0, 20_000),),
            happenings=((30.0, _leave),),
        ),
        Scenario(
            "projects",
            "two projects whose GPUs overlap",
            {"left.yaml": MULTI_A, "right.yaml": MULTI_B},
            gpus=2,
        ),
        Scenario(
            "reboot",
            "the host is rebooted while jobs run, and the clock jumps a day both ways",
            {"boot.yaml": spec("boot", {"a": "ok 9", "b": "oom 4 1", "c": "ok 20"}, slots=3)},
            happenings=((3.0, _reboot), (4.0, _jump(86_400)), (8.0, _jump(-2 * 86_400))),
        ),
        Scenario(
            "requests",
            "jobs are stopped, retried, paused and resumed",
            {"ask.yaml": spec("ask", {"a": "ok 8", "b": "ok 2", "c": "flaky 2 1"})},
            happenings=(
                (1.0, _request("stop", "ask/a")),
                (1.5, _request("pause", "ask")),
                (6.0, _request("resume", "ask")),
                (14.0, _request("retry", "ask/a")),
                (40.0, _retry_once_stuck("ask/c")),
            ),
        ),
        Scenario(
            "full",
            "the disk is full for a while",
            {
                "full.yaml": spec("full", {"a": "calm 3", "b": "calm 9", "c": "calm 1", "d": "calm 1"}).replace(
                    "max_attempts: 1", "max_attempts: 2"
                )
            },
            happenings=((2.0, _full(True)), (21.0, _full(False))),
        ),
        Scenario(
            "gate",
            "a phase that never opens, as a job that it needs has failed for good",
            {
                "gate.yaml": HEAD.format(name="gate", gpus="none", slots=2)
                + POLICY
                + "phases:\n  - name: teach\n    jobs:\n"
                + job_lines("gate", {"t1": "ok 1", "t2": "fail 2"}, "      ")
                + "  - name: learn\n    depends_on: teach\n    jobs:\n"
                + job_lines("gate", {"s1": "ok 1"}, "      ")
            },
        ),
        Scenario(
            "again",
            "a failed attempt leaves its output behind, the next one writes none",
            {
                "again.yaml": spec("again", {"a": "stain 1", "b": "flaky 1 1"}).replace(
                    "max_attempts: 1", "max_attempts: 2"
                )
            },
        ),
        Scenario(
            "ledger",
            "the ledger is deleted while no loop runs, and made anew from the attempt folders",
            {"index.yaml": spec("index", {"a": "ok 2", "b": "ok 7", "c": "fail 1", "d": "ok 1"})},
            happenings=((4.0, _lose_ledger),),
        ),
        Scenario(
            "far",
            "one host behind a connection, with a GPU, and a screen that stays",
            {"far.yaml": _on("ssh: a\n", spec("far", {"a": "ok 2", "b": "oom 1 1"}, gpus="all", slots=1))},
            hosts=(Host("a", gpus=1),),
            sticky_screens=1,
        ),
        Scenario(
            "two-hosts",
            "three jobs on two hosts, and the clock of one is set back by days",
            {"pair.yaml": _on(TWO_HOSTS, spec("pair", {"a": "ok 2", "b": "early 3", "c": "flaky 1 1"}))},
            hosts=(Host("a"), Host("b")),
            happenings=((1.5, _host_clock("a", -2 * 86_400.0)),),
        ),
        Scenario(
            "silent",
            "one host cannot be reached for minutes, and another goes on",
            {
                "left.yaml": _on("ssh: a\n", spec("left", {"a": "ok 6"}, slots=1)),
                "right.yaml": _on("ssh: b\n", spec("right", {"a": "ok 3", "b": "ok 2"}, slots=1)),
            },
            hosts=(Host("a"), Host("b")),
            happenings=((2.0, _cut("a", 160.0)), (155.0, _done_meanwhile("right"))),
        ),
        Scenario(
            "fetch",
            "a teacher on one host, a student on another that needs its output",
            {"apart.yaml": FETCH},
            hosts=(Host("a"), Host("b")),
        ),
        Scenario(
            "controllers",
            "two loops on two machines drive one host with the same spec, and one of them loses its ledger",
            {"twice.yaml": _on("ssh: a\n", spec("twice", {"a": "ok 4", "b": "flaky 1 1"}))},
            hosts=(Host("a"), Host("second")),
            states=("/home/u/.local/state/exq", "/home/u/.local/state/exq"),
            loops=("", "second"),
            happenings=((3.0, _lose_ledger),),
        ),
        Scenario(
            "clock",
            "a host whose clock is days off, and is set further ahead while jobs run",
            {"days.yaml": _on("ssh: a\n", spec("days", {"a": "hang 2", "b": "oom 1 1", "c": "ok 140"}, slots=3))},
            hosts=(Host("a", ahead_s=3 * 86_400.0),),
            happenings=((120.0, _host_clock("a", 2 * 86_400.0)),),
        ),
        Scenario(
            "amnesia",
            "the ledger is lost while one of two hosts cannot be reached, and a job runs there",
            {"lost.yaml": _on(TWO_HOSTS, spec("lost", {"a": "calm 180", "b": "ok 3"}).replace(ONE_TRY, TWO_TRIES))},
            hosts=(Host("a"), Host("b")),
            happenings=((3.0, _cut("a", 150.0)), (9.0, _lose_ledger)),
        ),
        Scenario(
            "forget",
            "a host does not answer any more, is given up, and comes back",
            {"gone.yaml": _on(TWO_HOSTS, spec("gone", {"a": "calm 180", "b": "ok 3"}).replace(ONE_TRY, TWO_TRIES))},
            hosts=(Host("a"), Host("b")),
            happenings=((3.0, _cut("a", 150.0)), (20.0, _forget("a")), (145.0, _started_on("b", "gone/a"))),
        ),
    )
}
LARGE = {
    "twenty": Scenario(
        "twenty",
        "twenty jobs on four GPUs, to measure with",
        {
            "twenty.yaml": spec(
                "twenty",
                {f"j{n:02}": ("ok 20", "oom 9 1", "early 13", "flaky 3 1")[n % 4] for n in range(20)},
                gpus="all",
                slots=4,
            )
        },
        gpus=4,
    )
}
ALL = {**SCENARIOS, **LARGE}
