"""Judges what a host told `exq doctor` about itself; `doctor_jobs` and `doctor_gpus` judge its jobs and GPUs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from reconciler.model.connection import Trouble, TroubleKind
from reconciler.model.doctor import Check, CheckStatus, FolderFacts, InotifyFacts, MachineFacts, Patient
from reconciler.model.enums import LauncherKind
from reconciler.model.facts import HostView, Unknown
from reconciler.planner.limits import DISK_FREE_MIN_MIB

OK, WARNING, ERROR = CheckStatus.OK, CheckStatus.WARNING, CheckStatus.ERROR

LITTLE_DISK_MIB = 1024
CLOCK_DOUBT_S = 2.0
FEW_WATCHES = 1024
FEW_INSTANCES = 8
"""A loop opens a few, and an agent one more for each connection."""
ROOMY_WATCHES = 65536
ROOMY_INSTANCES = 512

_SHARED_DISKS = ("nfs", "cifs", "smb", "fuse", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "virtiofs")
_DISKS_IN_MEMORY = ("tmpfs", "ramfs")
_KEY_TROUBLES = (TroubleKind.UNKNOWN_KEY, TroubleKind.CHANGED_KEY, TroubleKind.REVOKED_KEY)


def there(patient: Patient, command: str, *, root: bool = False) -> str:
    """A command as it is typed on the loop's machine to run on a host."""
    command = f"sudo {command}" if root else command
    if patient.local:
        return command
    return f"{patient.ssh} {'-t ' if root else ''}{shlex.quote(patient.host)} {shlex.quote(command)}"


def quoted_path(text: str) -> str:
    """Quoted for a shell, with a leading `~` left to it."""
    return f"~/{shlex.quote(text[2:])}" if text.startswith("~/") else shlex.quote(text)


def silent(patient: Patient, message: str, trouble: Trouble | None) -> Check:
    """The host gave no answer."""
    if patient.local:
        return Check(patient.host, "agent", ERROR, message)
    if trouble is None:
        return Check(patient.host, "ssh", ERROR, message, f"{patient.ssh} {shlex.quote(patient.host)} true")
    name = "host key" if trouble.kind in _KEY_TROUBLES else "ssh"
    return Check(patient.host, name, ERROR, trouble.message, trouble.mend)


def machine_checks(patient: Patient, view: HostView, facts: MachineFacts) -> Iterator[Check]:
    """A line for everything but the GPUs and the jobs."""
    yield from _entry(patient, view, facts)
    yield _programs(patient, facts)
    yield _state_folder(patient, facts)
    yield _disk(patient, view)
    yield _screen(patient, view, facts)
    yield _login(patient, facts)
    yield _inotify(patient, facts.inotify)


def not_known(patient: Patient, name: str, why: Unknown) -> Check:
    """A check that could not be made."""
    return Check(patient.host, name, WARNING, f"not known: {why.message}")


def _entry(patient: Patient, view: HostView, facts: MachineFacts) -> Iterator[Check]:
    """What only a host behind SSH has; of this machine, Python is told with exq itself."""
    host = patient.host
    if patient.local:
        return
    yield Check(host, "ssh", OK, f"it lets us in as {view.user}")
    yield Check(host, "host key", OK, "it is the known one")
    yield Check(host, "python", OK, f"Python {facts.python}")
    ahead_s = view.clock_ahead_s
    if abs(ahead_s) <= CLOCK_DOUBT_S:
        yield Check(host, "clock", OK, "it shows the same time as here")
        return
    way = "ahead of" if ahead_s > 0 else "behind"
    message = f"it is {abs(ahead_s):,.0f} s {way} the clock here; exq allows for it, your file times will not"
    yield Check(host, "clock", WARNING, message, there(patient, "timedatectl set-ntp true", root=True))


def _programs(patient: Patient, facts: MachineFacts) -> Check:
    missing = facts.missing_programs
    if not missing:
        return Check(patient.host, "programs", OK, "bash, flock and setsid are there")
    mend = there(patient, "apt-get install bash util-linux", root=True)
    if missing == ("bash",):
        return Check(patient.host, "programs", WARNING, "there is no bash, so jobs run in sh", mend)
    return Check(patient.host, "programs", ERROR, f"no job can start without {' and '.join(missing)}", mend)


def _state_folder(patient: Patient, facts: MachineFacts) -> Check:
    host, name, found = patient.host, "state folder", facts.state_folder
    if isinstance(found, Unknown):
        return not_known(patient, name, found)
    refused = _access(patient, found) if found.exists else None
    if refused is not None:
        return refused
    if found.disk.startswith(_SHARED_DISKS):
        message = f"{found.path} is on {found.disk} (mounted at {found.mount}), where locks and fsync may not hold"
        return Check(host, name, WARNING, message, _elsewhere(patient))
    if found.disk in _DISKS_IN_MEMORY:
        message = f"{found.path} is in memory ({found.disk} at {found.mount}): a reboot forgets every attempt"
        return Check(host, name, WARNING, message, _elsewhere(patient))
    state = f"mode {found.mode & 0o777:03o}" if found.exists else "made when it is needed"
    return Check(host, name, OK, f"{found.path}, {state}, on {found.disk or 'a disk of its own'}")


def _access(patient: Patient, found: FolderFacts) -> Check | None:
    """Who else may use the folder, where somebody may."""
    if not found.mine:
        message = f"{found.path} belongs to {found.owner}: what is in it runs as you"
        return Check(patient.host, "state folder", ERROR, message, _elsewhere(patient))
    if not found.mode & 0o077:
        return None
    mend = there(patient, f"chmod 700 {shlex.quote(found.path)}")
    may = "write to" if found.mode & 0o022 else "look into"
    message = f"{found.path} has mode {found.mode & 0o777:03o}: others may {may} it"
    return Check(patient.host, "state folder", ERROR if found.mode & 0o022 else WARNING, message, mend)


def _elsewhere(patient: Patient) -> str:
    return f"export {'EXQ_STATE' if patient.local else 'EXQ_REMOTE_STATE'}=/path/on/a/local/disk"


def _disk(patient: Patient, view: HostView) -> Check:
    disk = view.disk
    if isinstance(disk, Unknown):
        return not_known(patient, "disk", disk)
    mend = there(patient, f"du -xh {shlex.quote(view.state)} | sort -h | tail")
    if not disk.writable:
        return Check(patient.host, "disk", ERROR, disk.message or "the state folder cannot be written", mend)
    if disk.free_mib < DISK_FREE_MIN_MIB:
        message = f"{disk.free_mib} MiB free, and nothing is launched with less than {DISK_FREE_MIN_MIB} MiB"
        return Check(patient.host, "disk", ERROR, message, mend)
    if disk.free_mib < LITTLE_DISK_MIB:
        return Check(patient.host, "disk", WARNING, f"only {disk.free_mib:,} MiB free", mend)
    return Check(patient.host, "disk", OK, f"{disk.free_mib / 1024:,.0f} GiB free")


def _screen(patient: Patient, view: HostView, facts: MachineFacts) -> Check:
    host, name = patient.host, "screen"
    asked_for = [project.name for project, _ in patient.projects if project.launcher is LauncherKind.SCREEN]
    if not view.screen_installed:
        mend = there(patient, "apt-get install screen", root=True)
        if asked_for:
            message = f"GNU screen is not installed, and `launcher: screen` asks for it ({', '.join(asked_for)})"
            return Check(host, name, ERROR, message, mend)
        message = "GNU screen is not installed: jobs run as background processes, and `exq attach` has nothing to open"
        return Check(host, name, WARNING, message, mend)
    folder = facts.screen_folder
    if isinstance(folder, FolderFacts):
        wrong = _socket_folder(patient, folder)
        if wrong is not None:
            return wrong
    if facts.session_problem:
        return Check(host, name, ERROR, facts.session_problem, _own_sockets(patient))
    if isinstance(view.sessions, Unknown):
        remedy = re.search("`(chmod [^`]+)`", view.sessions.message)
        mend = there(patient, remedy[1] if remedy else "screen -ls")
        return Check(host, name, ERROR, view.sessions.message, mend)
    if folder is None or isinstance(folder, Unknown):
        return not_known(patient, name, folder or Unknown("screen does not say where its sockets are"))
    return Check(host, name, OK, f"installed, its sockets are in {folder.path} (mode {folder.mode & 0o777:03o})")


def _socket_folder(patient: Patient, folder: FolderFacts) -> Check | None:
    """What screen itself would not say: with a wrong folder it finds no session."""
    if not folder.exists:
        message = f"the socket folder {folder.path} is not there"
        mend = there(patient, f"mkdir -p -m 700 {shlex.quote(folder.path)}")
    elif not folder.mine:
        message = f"the socket folder {folder.path} belongs to {folder.owner}"
        mend = _own_sockets(patient)
    elif folder.mode & 0o777 != 0o700:
        message = f"the socket folder {folder.path} has mode {folder.mode & 0o777:03o}, and screen wants 700"
        mend = there(patient, f"chmod 700 {shlex.quote(folder.path)}")
    else:
        return None
    return Check(patient.host, "screen", ERROR, message, mend)


def _own_sockets(patient: Patient) -> str:
    make = "mkdir -p -m 700 ~/.screen"
    if patient.local:
        return f"{make} && export SCREENDIR=~/.screen"
    return there(patient, f"{make} && echo 'export SCREENDIR=~/.screen' >>~/.profile")


def _login(patient: Patient, facts: MachineFacts) -> Check:
    host, name, login = patient.host, "linger", facts.login
    if isinstance(login, Unknown):
        return not_known(patient, name, login)
    if not login.systemd:
        return Check(host, name, OK, "there is no systemd that could end processes when you log out")
    if login.ends_processes is None or login.linger is None:
        return not_known(patient, name, Unknown("the login manager does not say what becomes of processes"))
    mend = there(patient, "loginctl enable-linger")
    if login.ends_processes and not login.linger:
        return Check(host, name, ERROR, "KillUserProcesses=yes and Linger=no: your jobs end when you log out", mend)
    if login.ends_processes:
        message = "KillUserProcesses=yes: what you start outside a systemd user service ends when you log out"
        return Check(host, name, WARNING, message, "sudo editor /etc/systemd/logind.conf   # KillUserProcesses=no")
    if not login.linger and patient.local:
        return Check(host, name, WARNING, "Linger=no: a loop that runs as a service ends when you log out", mend)
    words = "processes go on after you log out"
    return Check(host, name, OK, f"{words}, services too" if login.linger else words)


def _inotify(patient: Patient, found: InotifyFacts | Unknown) -> Check:
    name = "inotify"
    if isinstance(found, Unknown):
        return not_known(patient, name, found)
    changes = []
    if found.max_watches < FEW_WATCHES:
        changes.append(f"fs.inotify.max_user_watches={ROOMY_WATCHES}")
    if found.max_instances - found.instances < FEW_INSTANCES:
        changes.append(f"fs.inotify.max_user_instances={max(ROOMY_INSTANCES, 2 * found.instances)}")
    words = f"{found.instances} of {found.max_instances} instances in use, {found.max_watches:,} watches allowed"
    if not changes:
        return Check(patient.host, name, OK, words)
    message = f"{words}: without room, changes are noticed a little later"
    return Check(patient.host, name, WARNING, message, there(patient, f"sysctl {' '.join(changes)}", root=True))
