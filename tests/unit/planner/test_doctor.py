"""What `exq doctor` makes of a host's answers: a table for each check, ok, warning and error."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model.connection import Trouble, TroubleKind
from reconciler.model.doctor import Check, FolderFacts, InotifyFacts, LoginFacts, MachineFacts, Patient
from reconciler.model.enums import LauncherKind, PreconditionKind
from reconciler.model.facts import (
    CodeFacts,
    DiskFacts,
    Gpu,
    GpuProcess,
    HostView,
    OutputFacts,
    PreconditionFacts,
    Unknown,
)
from reconciler.model.needs import code_key
from reconciler.model.spec import LOCAL_HOST, GpuPool, Job, Placement, Precondition, Project
from reconciler.planner.doctor import machine_checks, silent, there
from reconciler.planner.doctor_gpus import gpu_checks
from reconciler.planner.doctor_jobs import job_checks
from tests.unit.view.factories import project

STATE = FolderFacts("/home/me/.local/state/exq", True, 0o700, True, "me", "ext4", "/home")
SCREENS = FolderFacts("/run/screen/S-me", True, 0o700, True, "me", "tmpfs", "/run")
LOGIN = LoginFacts(systemd=True, linger=True, ends_processes=False)
MACHINE = MachineFacts("3.8.10", STATE, SCREENS, InotifyFacts(65536, 128, 3), LOGIN, nvidia_smi_s=0.04)
VIEW = HostView("gpu1", 1000.0, "boot", user="me", state=STATE.path, screen_installed=True)
HERE = Patient(LOCAL_HOST, local=True)
FAR = Patient("gpu1", local=False)


def only(name: str, checks: Iterable[Check]) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, found
    return found[0]


def machine(name: str, patient: Patient = FAR, view: HostView = VIEW, facts: MachineFacts = MACHINE) -> Check:
    return only(name, machine_checks(patient, view, facts))


def with_screen(launcher: LauncherKind) -> Patient:
    spec = project("p", {"main": ["a"]}, launcher=launcher)
    return replace(FAR, projects=((spec, Placement("gpu1")),))


def test_a_fit_host_has_nothing_but_ok() -> None:
    assert {str(check.status) for check in machine_checks(FAR, VIEW, MACHINE)} == {"ok"}
    assert [check.mend for check in machine_checks(FAR, VIEW, MACHINE) if check.mend] == []


def test_a_fit_host_tells_what_was_looked_at() -> None:
    names = [check.name for check in machine_checks(FAR, VIEW, MACHINE)]
    assert names == [
        "ssh",
        "host key",
        "python",
        "clock",
        "programs",
        "state folder",
        "disk",
        "screen",
        "linger",
        "inotify",
    ]
    here = [check.name for check in machine_checks(HERE, VIEW, MACHINE)]
    assert here == names[4:]


@pytest.mark.parametrize(
    ("changes", "status", "said", "mend"),
    [
        ({"exists": False}, "ok", "made when it is needed", ""),
        ({"disk": "nfs4", "mount": "/home"}, "warning", "nfs4", "export EXQ_REMOTE_STATE=/path/on/a/local/disk"),
        ({"disk": "fuse.sshfs"}, "warning", "fuse.sshfs", "export EXQ_REMOTE_STATE=/path/on/a/local/disk"),
        ({"disk": "cifs"}, "warning", "cifs", "export EXQ_REMOTE_STATE=/path/on/a/local/disk"),
        ({"disk": "tmpfs"}, "warning", "reboot", "export EXQ_REMOTE_STATE=/path/on/a/local/disk"),
        ({"mode": 0o755}, "warning", "look into", "ssh gpu1 'chmod 700 /home/me/.local/state/exq'"),
        ({"mode": 0o770}, "error", "write to", "ssh gpu1 'chmod 700 /home/me/.local/state/exq'"),
        ({"mine": False, "owner": "bob"}, "error", "belongs to bob", "export EXQ_REMOTE_STATE=/path/on/a/local/disk"),
        ({"exists": False, "mode": 0o777, "mine": False}, "ok", "made when", ""),
    ],
)
def test_the_state_folder(changes: dict[str, Any], status: str, said: str, mend: str) -> None:
    found = machine("state folder", facts=replace(MACHINE, state_folder=replace(STATE, **changes)))
    assert (str(found.status), found.mend) == (status, mend)
    assert said in found.message


@pytest.mark.parametrize(
    ("disk", "status", "said"),
    [
        (DiskFacts(80 * 1024), "ok", "80 GiB"),
        (DiskFacts(500), "warning", "only 500 MiB"),
        (DiskFacts(3), "error", "3 MiB free"),
        (DiskFacts(5000, writable=False, message="it is read-only"), "error", "it is read-only"),
        (Unknown("it hangs"), "warning", "not known: it hangs"),
    ],
)
def test_the_disk(disk: DiskFacts | Unknown, status: str, said: str) -> None:
    found = machine("disk", view=replace(VIEW, disk=disk))
    assert str(found.status) == status
    assert said in found.message


@pytest.mark.parametrize(
    ("folder", "status", "said", "mend"),
    [
        (SCREENS, "ok", "/run/screen/S-me", ""),
        (replace(SCREENS, mode=0o755), "error", "mode 755", "ssh gpu1 'chmod 700 /run/screen/S-me'"),
        (replace(SCREENS, exists=False), "error", "not there", "ssh gpu1 'mkdir -p -m 700 /run/screen/S-me'"),
        (replace(SCREENS, mine=False, owner="bob"), "error", "belongs to bob", "SCREENDIR"),
        (Unknown("it is gone"), "warning", "not known", ""),
        (None, "warning", "not known", ""),
    ],
)
def test_the_socket_folder(folder: FolderFacts | Unknown | None, status: str, said: str, mend: str) -> None:
    found = machine("screen", facts=replace(MACHINE, screen_folder=folder))
    assert str(found.status) == status
    assert said in found.message
    assert mend in found.mend


@pytest.mark.parametrize(("launcher", "status"), [("auto", "warning"), ("process", "warning"), ("screen", "error")])
def test_no_screen_is_worse_where_a_spec_asks_for_it(launcher: str, status: str) -> None:
    view = replace(VIEW, screen_installed=False)
    found = machine("screen", with_screen(LauncherKind(launcher)), view)
    assert str(found.status) == status
    assert found.mend == "ssh -t gpu1 'sudo apt-get install screen'"


@pytest.mark.parametrize(
    ("sessions", "mend"),
    [
        (
            Unknown("screen refuses its socket folder: run `chmod 700 /run/x` on the host"),
            "ssh gpu1 'chmod 700 /run/x'",
        ),
        (Unknown("`screen -ls` did not answer in time"), "ssh gpu1 'screen -ls'"),
    ],
)
def test_screens_that_cannot_be_listed(sessions: Unknown, mend: str) -> None:
    found = machine("screen", view=replace(VIEW, sessions=sessions))
    assert (str(found.status), found.message, found.mend) == ("error", sessions.message, mend)


def test_a_socket_path_that_is_too_long() -> None:
    found = machine("screen", HERE, facts=replace(MACHINE, session_problem="the path is too long"))
    assert (str(found.status), found.mend) == ("error", "mkdir -p -m 700 ~/.screen && export SCREENDIR=~/.screen")


@pytest.mark.parametrize(
    ("login", "local", "status", "said"),
    [
        (LoginFacts(False), False, "ok", "no systemd"),
        (LoginFacts(True, True, False), True, "ok", "services too"),
        (LoginFacts(True, False, False), False, "ok", "go on after you log out"),
        (LoginFacts(True, False, False), True, "warning", "Linger=no"),
        (LoginFacts(True, True, True), False, "warning", "KillUserProcesses=yes"),
        (LoginFacts(True, False, True), False, "error", "your jobs end"),
        (LoginFacts(True, None, True), False, "warning", "not known"),
        (LoginFacts(True, True, None), False, "warning", "not known"),
        (Unknown("it hangs"), False, "warning", "not known: it hangs"),
    ],
)
def test_what_a_logout_ends(login: LoginFacts | Unknown, local: bool, status: str, said: str) -> None:
    found = machine("linger", HERE if local else FAR, facts=replace(MACHINE, login=login))
    assert str(found.status) == status
    assert said in found.message


@pytest.mark.parametrize(
    ("facts", "status", "mend"),
    [
        (InotifyFacts(65536, 128, 100), "ok", ""),
        (InotifyFacts(65536, 128, 125), "warning", "sudo sysctl fs.inotify.max_user_instances=512"),
        (InotifyFacts(65536, 512, 510), "warning", "sudo sysctl fs.inotify.max_user_instances=1020"),
        (InotifyFacts(100, 128, 0), "warning", "sudo sysctl fs.inotify.max_user_watches=65536"),
        (Unknown("no such file"), "warning", ""),
    ],
)
def test_inotify(facts: InotifyFacts | Unknown, status: str, mend: str) -> None:
    found = machine("inotify", HERE, facts=replace(MACHINE, inotify=facts))
    assert (str(found.status), found.mend) == (status, mend)


@pytest.mark.parametrize(
    ("missing", "status"), [((), "ok"), (("bash",), "warning"), (("flock",), "error"), (("bash", "setsid"), "error")]
)
def test_programs(missing: tuple[str, ...], status: str) -> None:
    assert str(machine("programs", facts=replace(MACHINE, missing_programs=missing)).status) == status


@pytest.mark.parametrize(
    ("ahead_s", "status", "said"), [(0.5, "ok", "same"), (90, "warning", "90 s ahead"), (-90, "warning", "90 s behind")]
)
def test_the_clock(ahead_s: float, status: str, said: str) -> None:
    found = machine("clock", view=replace(VIEW, clock_ahead_s=ahead_s))
    assert str(found.status) == status
    assert said in found.message


@pytest.mark.parametrize(
    ("patient", "trouble", "name", "mend"),
    [
        (FAR, Trouble(TroubleKind.UNKNOWN_KEY, "m", "ssh-keyscan"), "host key", "ssh-keyscan"),
        (FAR, Trouble(TroubleKind.CHANGED_KEY, "m", "ssh-keygen"), "host key", "ssh-keygen"),
        (FAR, Trouble(TroubleKind.AUTH, "m", "ssh-copy-id"), "ssh", "ssh-copy-id"),
        (FAR, None, "ssh", "ssh gpu1 true"),
        (HERE, None, "agent", ""),
    ],
)
def test_a_silent_host(patient: Patient, trouble: Trouble | None, name: str, mend: str) -> None:
    found = silent(patient, "m", trouble)
    assert (found.name, str(found.status), found.message, found.mend) == (name, "error", "m", mend)


def test_a_command_is_quoted_for_the_other_side() -> None:
    assert there(HERE, "ls 'a b'") == "ls 'a b'"
    assert there(replace(FAR, ssh="ssh -F lab"), "ls") == "ssh -F lab gpu1 ls"
    assert silent(replace(FAR, ssh="ssh -F lab"), "it is down", None).mend == "ssh -F lab gpu1 true"
    assert there(Patient("me@gpu 1", False), "ls 'a b'") == "ssh 'me@gpu 1' 'ls '\"'\"'a b'\"'\"''"


# --- GPUs


def gpus(*used_mib: int | None, attempt: str | None = None) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(i, f"GPU-{i}", "L40S", used, 46068, 0, (GpuProcess(7, used, "alice", "train", attempt),) if used else ())
        for i, used in enumerate(used_mib)
    )


def wanting(
    jobs: int = 4, ids: tuple[str, ...] | None = None, max_parallel: int | None = None, each: int = 1
) -> Patient:
    names = [f"j{i}" for i in range(jobs)]
    spec = project(
        "p",
        {"main": names},
        gpu_pool=GpuPool(ids),
        max_parallel=max_parallel,
        job_changes={n: {"gpus": each} for n in names},
    )
    return replace(FAR, projects=((spec, Placement("gpu1")),), jobs=tuple(spec.jobs()))


@pytest.mark.parametrize(
    ("found", "took_s", "wants", "status", "said"),
    [
        (gpus(0, 0), 0.04, True, "ok", "2 GPUs, in 0.04 s"),
        (gpus(0), 3.21, True, "warning", "3.2 s"),
        (gpus(0), None, True, "warning", "not known"),
        (Unknown("nvidia-smi did not answer in time"), None, True, "error", "did not answer"),
        (Unknown("nvidia-smi is not installed"), None, False, "ok", "no spec wants one"),
    ],
)
def test_nvidia_smi(
    found: tuple[Gpu, ...] | Unknown, took_s: float | None, wants: bool, status: str, said: str
) -> None:
    checks = list(
        gpu_checks(wanting() if wants else FAR, replace(VIEW, gpus=found), replace(MACHINE, nvidia_smi_s=took_s))
    )
    check = only("nvidia-smi", checks)
    assert str(check.status) == status
    assert said in check.message
    assert isinstance(found, tuple) or len(checks) == 1


@pytest.mark.parametrize(
    ("patient", "found", "status", "said"),
    [
        (wanting(), gpus(0, 0), "ok", "2 of 2 free or ours, 2 wanted"),
        (wanting(jobs=1, max_parallel=2), gpus(0, 9000), "ok", "1 of 2 free or ours, 1 wanted"),
        (wanting(max_parallel=2), gpus(0, 9000), "warning", "alice"),
        (wanting(max_parallel=2), gpus(0, None), "warning", "does not report"),
        (wanting(max_parallel=2), gpus(0, 9000, attempt="p/x/1"), "ok", "2 of 2 free or ours"),
        (replace(wanting(max_parallel=2), held=frozenset({"GPU-1"})), gpus(0, 9000), "ok", "2 of 2 free or ours"),
        (wanting(max_parallel=4), gpus(0, 0), "warning", "4 jobs at a time want 4 GPUs"),
        (wanting(each=4), gpus(0, 0), "error", "a job wants 4 GPUs"),
        (wanting(ids=("0", "7")), gpus(0, 0), "error", "no GPU 7; there are 0, 1"),
        (wanting(each=2, max_parallel=1), gpus(0, 0, 9000), "ok", "2 wanted at a time"),
    ],
)
def test_enough_gpus(patient: Patient, found: tuple[Gpu, ...], status: str, said: str) -> None:
    check = only("GPUs for p", gpu_checks(patient, replace(VIEW, gpus=found), MACHINE))
    assert str(check.status) == status
    assert said in check.message


def test_the_limit_of_a_host_counts_before_that_of_the_project() -> None:
    patient = wanting(max_parallel=4)
    spec, _ = patient.projects[0]
    limited = replace(patient, projects=((spec, Placement("gpu1", max_parallel=1)),))
    check = only("GPUs for p", gpu_checks(limited, replace(VIEW, gpus=gpus(0, 0)), MACHINE))
    assert check.message.endswith("1 wanted at a time")


# --- jobs

CHECKPOINT = (Precondition(PreconditionKind.CHECKPOINT_EXISTS, "t.pt"),)
LACKS = PreconditionFacts(False, "t.pt does not exist")


def jobs(*ids: str, **changes: Any) -> tuple[Project, tuple[Job, ...]]:
    spec = project("p", {"main": list(ids)}, job_changes=dict.fromkeys(ids, changes))
    return spec, tuple(spec.jobs())


def patient_of(*ids: str, later: bool = False, fetched: bool = False, **changes: Any) -> Patient:
    spec, made = jobs(*ids, **changes)
    keys = frozenset(job.key for job in made) if fetched else frozenset[str]()
    both = ((), made) if later else (made, ())
    return replace(FAR, projects=((spec, Placement("gpu1")),), jobs=both[0], later=both[1], fetched=keys)


def told(patient: Patient, view: HostView = VIEW, **changes: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    facts = replace(MACHINE, **{"folders": {"/home/me/exp": ""}, **changes})
    checks = job_checks(patient, view, facts)
    return [(check.name, str(check.status), check.message, check.jobs) for check in checks]


def unmet(*keys: str) -> HostView:
    return replace(VIEW, preconditions=dict.fromkeys(keys, (LACKS,)))


def test_no_job_is_said() -> None:
    assert told(FAR) == [("jobs", "ok", "no job waits to run here", ())]


def test_a_folder_that_is_there() -> None:
    assert told(patient_of("a", "b")) == [("cwd", "ok", "/home/me/exp", ())]


def test_a_missing_folder_names_its_jobs_and_how_to_make_it() -> None:
    patient = patient_of("a", "b", cwd="~/my exp")
    facts = replace(MACHINE, folders={"~/my exp": "there is no folder /home/me/my exp"})
    (found,) = job_checks(patient, VIEW, facts)
    assert (str(found.status), found.jobs) == ("error", ("p/a", "p/b"))
    assert found.mend == "ssh gpu1 'mkdir -p ~/'\"'\"'my exp'\"'\"''"


def test_a_folder_of_which_nothing_is_said() -> None:
    assert told(patient_of("a"), folders={})[0][:2] == ("cwd", "warning")


@pytest.mark.parametrize(
    ("said", "status", "mend"),
    [
        ("", "ok", ""),
        (Unknown("it took too long"), "warning", ""),
        (
            "the conda environment torch cannot be activated: EnvironmentNameNotFound",
            "error",
            "conda create --name torch",
        ),
        ("conda was not found (conda): install it, or set conda_hook in the spec", "error", "conda_hook"),
        ("setting it up ended with exit code 3: oh", "error", ""),
    ],
)
def test_environments(said: str | Unknown, status: str, mend: str) -> None:
    patient = patient_of("a", "b", conda="torch")
    facts = replace(MACHINE, folders={"/home/me/exp": ""}, environments={"p/a": said, "p/b": said})
    found = only("environment", job_checks(patient, VIEW, facts))
    assert str(found.status) == status
    assert mend in found.mend
    assert bool(found.mend) == bool(mend)
    assert found.jobs == (() if status == "ok" else ("p/a", "p/b"))


@pytest.mark.parametrize(
    ("venv", "said", "mend"),
    [
        (".venv", "the virtual environment .venv is not there", "python3 -m venv /home/me/exp/.venv"),
        ("~/my env", "the virtual environment ~/my env is not there", "python3 -m venv ~/'my env'"),
        ("/v", "the virtual environment /v is broken: its python is a link to /x", "python3 -m venv --clear /v"),
        ("/v", "the runner uv was not found: install it, or name it with its path", ""),
    ],
)
def test_a_virtual_environment(venv: str, said: str, mend: str) -> None:
    patient = patient_of("a", venv=venv, runner="uv run")
    facts = replace(MACHINE, folders={"/home/me/exp": ""}, environments={"p/a": said})
    found = only("environment", job_checks(patient, VIEW, facts)).mend
    assert found == (f"ssh gpu1 {shlex.quote(mend)}" if mend else "")
    sound = only("environment", job_checks(patient, VIEW, replace(facts, environments={"p/a": ""})))
    assert sound.message == f"{venv}, uv run can be set up"


def test_an_environment_is_not_blamed_for_its_folder() -> None:
    found = told(patient_of("a", conda="torch"), folders={"/home/me/exp": "gone"}, environments={"p/a": "gone"})
    assert [name for name, *_ in found] == ["cwd"]


def test_blocked_jobs_are_grouped_by_what_they_lack() -> None:
    view = replace(unmet("p/a", "p/c"), preconditions={
        "p/a": (LACKS,), "p/b": (PreconditionFacts(True),), "p/c": (LACKS, Unknown("x")), "p/d": (Unknown("it hangs"),),
        "p/e": (PreconditionFacts(True), PreconditionFacts(False, "`test` exited with 1")),
    })  # fmt: skip
    found = told(patient_of("a", "b", "c", "d", "e", preconditions=CHECKPOINT), view)
    assert found[1:] == [
        ("preconditions", "warning", "not known: it hangs", ("p/d",)),
        ("preconditions", "error", "t.pt does not exist", ("p/a", "p/c")),
        ("preconditions", "error", "`test` exited with 1", ("p/e",)),
        ("preconditions", "ok", "all are met for 1 job", ()),
    ]


def test_what_an_earlier_phase_makes_is_not_missing() -> None:
    found = told(patient_of("a", later=True, preconditions=CHECKPOINT), unmet("p/a"))
    assert [row[:2] for row in found] == [("cwd", "ok"), ("preconditions", "ok")]
    assert found[1][3] == ("p/a",)


def test_what_exq_brings_is_not_missing() -> None:
    found = told(patient_of("a", fetched=True, preconditions=CHECKPOINT), unmet("p/a"))
    assert found[1][:2] == ("preconditions", "ok")


def test_a_job_whose_outputs_are_there_needs_nothing() -> None:
    view = replace(unmet("p/a"), outputs={"p/a": OutputFacts(("f",))})
    assert [row[0] for row in told(patient_of("a", preconditions=CHECKPOINT), view)] == ["cwd"]


def test_preconditions_of_which_nothing_is_said() -> None:
    found = told(patient_of("a", preconditions=CHECKPOINT))
    assert found[1] == ("preconditions", "warning", "not known: the host has not said", ("p/a",))


SNAPSHOT_OK = CodeFacts("/r", "a" * 40)


@pytest.mark.parametrize(
    ("ref", "code", "status", "said", "mend"),
    [
        (None, None, None, "", ""),
        ("", SNAPSHOT_OK, "ok", "new jobs run from commit aaaaaaaaaaaa of /r", ""),
        ("", replace(SNAPSHOT_OK, changes=("x.py",)), "warning", "(x.py)", "ssh gpu1 'git -C /r commit -a'"),
        ("HEAD", replace(SNAPSHOT_OK, changes=("x.py",)), "ok", "new jobs run from commit", ""),
        (
            "nosuch",
            CodeFacts(problem="`nosuch` is no commit in /r"),
            "error",
            "`nosuch`",
            "name a commit, branch or tag",
        ),
        ("", CodeFacts(problem="/w is in no git repository"), "error", "in no git", "leave `snapshot` out of"),
        ("", Unknown("git hangs"), "warning", "not known: git hangs", ""),
        ("", None, "warning", "the host has not said", ""),
    ],
)
def test_the_commit_of_a_snapshot(
    ref: str | None, code: CodeFacts | Unknown | None, status: str | None, said: str, mend: str
) -> None:
    spec = replace(project("p", {"main": ["a", "b"]}), snapshot=ref, placements=(Placement("gpu1"),))
    jobs = tuple(spec.jobs())
    patient = replace(FAR, projects=((spec, Placement("gpu1")),), jobs=jobs)
    view = replace(VIEW, code={code_key(ref or "", jobs[0].cwd): code} if code is not None else {})
    facts = replace(MACHINE, folders={jobs[0].cwd: ""})
    found = [check for check in job_checks(patient, view, facts) if check.name == "snapshot"]
    assert [str(check.status) for check in found] == ([status] if status else []), "one line for all alike"
    for check in found:
        assert said in check.message
        assert mend in check.mend and bool(mend) == bool(check.mend)


def test_a_folder_that_is_missing_is_said_once() -> None:
    spec = replace(project("p", {"main": ["a"]}), snapshot="", placements=(Placement("gpu1"),))
    job = next(iter(spec.jobs()))
    patient = replace(FAR, projects=((spec, Placement("gpu1")),), jobs=(job,))
    view = replace(VIEW, code={code_key("", job.cwd): CodeFacts(problem="it does not exist")})
    checks = job_checks(patient, view, replace(MACHINE, folders={job.cwd: "it does not exist"}))
    assert [check.name for check in checks if str(check.status) == "error"] == ["cwd"]
