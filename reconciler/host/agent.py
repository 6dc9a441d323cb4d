"""The part of exq that touches a host: it reports facts and carries out single effects, and decides nothing.

Everything goes through `Agent.handle(request) -> reply`, JSON-able both ways, so that one file serves this host and,
streamed over SSH, any other. It uses the standard library only and runs on Python 3.6.

Two rules hold throughout. A read that failed is {"unknown": "why"}, never "nothing there". And signs of life are read
before signs of completion: in the other order an attempt that ends in between looks lost.

Times are seconds since the epoch on this host. A process is known by boot id, pid and start time in clock ticks.
"""

import bisect
import contextlib
import errno
import fcntl
import fnmatch
import functools
import hashlib
import json
import os
import platform
import pwd
import re
import select
import selectors
import shutil
import signal
import socket
import stat as stat_bits
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

VERSION = 1
LOG_TAIL_BYTES = 64 * 1024
RECORD_MAX_BYTES = 1 << 20
COMMAND_CACHE_S = 10.0
COMMANDS_AT_ONCE = 8
DISK_CHECK_S = 5.0
YOUNG_PROCESS_S = 60.0
PATHS_LIMIT = 100
SOCKET_PATH_MAX_BYTES = 107
LONGEST_PID = "4194304"
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ABSENT_ERRORS = (errno.ENOENT, errno.ENOTDIR)
NO_LOCKS_ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
FILES_LIMIT = 200000
SYNCS_AT_ONCE = 8
PART_NAME = re.compile(r"\.exq-[0-9a-f]{32}\.part\Z")
DAEMON_ONLY = re.compile(
    r"EXQ_(?!CONDA_HOOK$)|(STY|WINDOW|NOTIFY_SOCKET)$|WATCHDOG_|LISTEN_(FDS|PID|FDNAMES)$"
    r"|SSH_(CLIENT|CONNECTION|TTY|ORIGINAL_COMMAND)$"
    r"|(INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID)$|MEMORY_PRESSURE_"
)
GPU_QUERY = ["--query-gpu=index,uuid,name,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits"]
APPS_QUERY = ["--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits"]
TELLING_FILES = frozenset(("intent.json", "claim", "started.json", "exit.json", "verdict.json"))
ATTEMPT_PATH = re.compile(r"(?!\.{1,2}/)[^/\n]+/(?!\.{1,2}/)[^/\n]+/[0-9]{1,9}\Z")
LISTED_PROCESS = re.compile(r"^\s*(\d+)\s*,", re.MULTILINE)
LISTED_SCREEN = re.compile(r"^\t(\d+\.exq\.\S+)\t(?!.*\(Dead)", re.MULTILINE)
NUMBER = re.compile(r"[0-9]{1,20}\Z")
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
FILE_TIME_DOUBT_S = 0.01
"""Files get their times from a clock that goes forward a hundred times a second at the least."""
TOOLS_PATIENCE_S = 60.0
"""Longer than all tools together may take."""
SNAPSHOT_AGAIN_S = 30.0
SNAPSHOT_UNUSED_S = 600.0
CHANGES_SAID_MAX = 5
CODE_PATIENCE_S = 1.0
CODE_DEADLINE_S = 120.0
CODE_LOOKS_AT_ONCE = 4
CODE_KEPT_S = 2.0
CODE_PAUSE = 20
CODE_PAUSE_MAX_S = 60.0
SETUP_FAILED = 96
SNAPSHOT_PROBLEM = "its snapshot cannot be used: "
NOTES_PATIENCE_S = 5.0
NOTES_AGAIN_S = 1.0
PROVENANCE_FILES = ("provenance.json", "environment.json", "code.patch")
IN_SCOPE = ["systemd-run", "--user", "--scope", "--quiet", "--collect"]
SIGNAL_RESET = "env --default-signal=INT,QUIT"

Json = Dict[str, Any]


class Refused(Exception):
    """The request is wrong, or what it asks for may not be done; the message says why."""


class Unreadable(Exception):
    """A fact could not be read; the message says which and why."""


# --- files


def read_file(path: str, limit: int = 1 << 20) -> Optional[Tuple[bytes, float]]:
    """The first `limit` bytes and the modification time; None when there is no such file. Raises Unreadable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(fd, limit), os.fstat(fd).st_mtime
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in ABSENT_ERRORS:
            return None
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error


def read_record(path: str) -> Optional[Tuple[Json, float]]:
    """A JSON record of the shim and its time. One without its final newline was never completed: None."""
    found = read_file(path, RECORD_MAX_BYTES)
    if found is not None and len(found[0]) >= RECORD_MAX_BYTES:
        raise Unreadable(f"{path} is damaged: it is larger than a record can be")
    if found is None or not found[0].endswith(b"\n"):
        return None
    try:
        record = json.loads(found[0].decode("utf-8"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise Unreadable(f"{path} is damaged: it holds no JSON object")
    return record, found[1]


def first_line(text: str, limit: int = 500) -> str:
    """The first line that says something."""
    for line in text.splitlines():
        if line.strip():
            return line.strip()[:limit]
    return ""


def write_whole(path: str, text: str, mode: int = 0o600, durable: bool = False) -> None:
    """Write under a temporary name, then rename: nobody reads half of it. `durable`: nor after a power failure."""
    temporary = f"{path}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(fd, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(fd)
    os.rename(temporary, path)
    if durable:
        sync_folder(os.path.dirname(path))


def existing_folder(path: str) -> str:
    """The folder itself, or the nearest one above it that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def can_be_made(path: str, parent: str) -> bool:
    """A folder at `path` could be made now; `parent` is the nearest folder above it."""
    missing = os.path.relpath(path, parent).split(os.sep)[0]
    return os.access(parent, os.W_OK | os.X_OK) and not os.path.lexists(os.path.join(parent, missing))


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_exclusively(path: str, text: str) -> bool:
    """Create a file that must not exist yet, durably. False when it does."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, text.encode("utf-8"))
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def lock_holder(path: str) -> Optional[str]:
    """Who holds a lock: None for nobody, else the last line of its file (the attempt, as its shim noted it).

    Raises FileNotFoundError when the file was removed, and Unreadable."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(f"the lock {path} cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        lines = os.pread(fd, 4096, max(0, os.fstat(fd).st_size - 4096)).decode("utf-8", "replace").splitlines()
        return lines[-1] if lines else ""
    except OSError as error:
        raise Unreadable(f"the lock {path} cannot be probed: {error.strerror}") from error
    finally:
        os.close(fd)


def folders_in(path: str) -> List[str]:
    """The names of the folders in a folder; none where it is not there. Raises OSError."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def encoded(name: str) -> str:
    """A project or job id as part of a file name that joins several with `%`."""
    return name.replace("%", "%25").replace("/", "%2F")


# --- processes


class Stat(NamedTuple):
    """What /proc/PID/stat says, as far as it matters here."""

    pid: int
    name: bytes
    state: str
    session: int
    threads: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """A zombie is dead, unless only its first thread has ended."""
        return self.state not in ("Z", "X", "x") or self.threads > 1


class Process(NamedTuple):
    """A live process of this user; `attempt` when it carries the marker of an attempt of this state folder."""

    stat: Stat
    attempt: Optional[str]


def read_proc(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty when the process is gone or is not ours to look at."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    except OSError:
        return b""
    try:
        chunks = []
        while True:
            chunk = os.read(fd, 1 << 16)
            chunks.append(chunk)
            if not chunk or name == "stat":
                return b"".join(chunks)
    except OSError:
        return b""
    finally:
        os.close(fd)


def process_stat(pid: int) -> Optional[Stat]:
    """None when there is no such process. The name may hold anything, blanks and brackets too."""
    raw = read_proc(pid, "stat")
    end = raw.rfind(b")")
    if end < 0:
        return None
    fields = raw[end + 2 :].split(None, 20)
    name = raw[raw.find(b"(") + 1 : end]
    return Stat(pid, name, fields[0].decode(), int(fields[3]), int(fields[17]), int(fields[19]))


def is_alive(pid: int, start_ticks: int) -> bool:
    """Whether exactly that process, not a later one with its pid, is alive."""
    stat = process_stat(pid)
    return stat is not None and stat.start_ticks == start_ticks and stat.alive


def owner_of(pid: int) -> Optional[int]:
    """The user id a process runs as; None when it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


@functools.lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """The name of a user; one without is a number. Kept: where accounts come over the network, asking takes long."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def environment_of(pid: int) -> Dict[bytes, bytes]:
    """The environment a process was started with, as far as it can be read."""
    pairs = (entry.partition(b"=") for entry in read_proc(pid, "environ").split(b"\0"))
    return {key: value for key, _, value in pairs}


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def describe_command(pid: int) -> Optional[str]:
    """Name and arguments of a process for people, at most 120 characters."""
    words = read_proc(pid, "cmdline").decode("utf-8", "replace").rstrip("\0").split("\0")
    if words == [""]:
        stat = process_stat(pid)
        return stat.name.decode("utf-8", "replace") if stat else None
    return " ".join([os.path.basename(words[0]), *words[1:]])[:120]


def send_signal(stat: Stat, number: int) -> bool:
    """Signal exactly this process of this user; False when it is gone, is another by now, or is not ours."""
    pidfd = None
    try:
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
            pidfd = os.pidfd_open(stat.pid)
        if owner_of(stat.pid) != os.getuid() or not is_alive(stat.pid, stat.start_ticks):
            return False
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(stat.pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if pidfd is not None:
            os.close(pidfd)


class ProcessTable:
    """The processes of this user and the attempts they belong to; environments are read once a process."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._known: Dict[int, Tuple[int, bytes, bool, Optional[str]]] = {}
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")

    def scan(self) -> List[Process]:
        """All live processes of this user but the agent itself."""
        young_from = (time.clock_gettime(time.CLOCK_MONOTONIC) - YOUNG_PROCESS_S) * self._ticks_per_s
        found, own = [], os.getpid()
        known: Dict[int, Tuple[int, bytes, bool, Optional[str]]] = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            stat = process_stat(int(entry))
            if stat is None or not stat.alive:
                continue
            mine, attempt = self._look_up(stat, young_from)
            known[stat.pid] = (stat.start_ticks, stat.name, mine, attempt)
            if mine and stat.pid != own:
                found.append(Process(stat, attempt))
        self._known = known
        return found

    def _look_up(self, stat: Stat, young_from: float) -> Tuple[bool, Optional[str]]:
        start_ticks, name, mine, attempt = self._known.get(stat.pid, (-1, b"", False, None))
        if (start_ticks, name) == (stat.start_ticks, stat.name) and (attempt or stat.start_ticks < young_from):
            return mine, attempt
        # A process just forked still shows what its parent was started with, so the young are looked at again.
        mine = owner_of(stat.pid) == os.getuid()
        return mine, self.attempt_of(stat.pid) if mine else None

    def attempt_of(self, pid: int) -> Optional[str]:
        """The attempt of this state folder whose marker a process carries."""
        environment = environment_of(pid)
        # EXQ_SHIM tells a run by the shim from a job.sh that someone runs by hand, which is theirs to keep.
        if b"EXQ_SHIM" not in environment or b"EXQ_STATE" not in environment:
            return None
        attempt = os.fsdecode(environment.get(b"EXQ_ATTEMPT", b""))
        state = os.fsdecode(environment[b"EXQ_STATE"])
        return attempt if ATTEMPT_PATH.match(attempt) and os.path.realpath(state) == self._state else None


def holds_open(pid: int, path: str) -> bool:
    """Whether a process has that file open."""
    try:
        wanted = os.stat(path)
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), wanted):
                    return True
            except FileNotFoundError:
                continue
    except OSError:
        return False
    return False


# --- children with a deadline


class Child:
    """A program whose output is awaited for so long and no longer.

    A program in uninterruptible sleep cannot even be killed: it is left behind unreaped, never waited for. A `scout`
    is not waited for at all: it only finds out whether the program ends by itself again."""

    def __init__(
        self, argv: List[str], cwd: Optional[str] = None, env: Optional[Dict[str, str]] = None, *, scout: bool = False
    ) -> None:
        self.output = b""
        self.started_at = time.monotonic()
        self.ended_at: Optional[float] = None
        self.scout = scout
        self.timed_out = scout
        self.missing = False
        self._popen: Optional[subprocess.Popen[bytes]] = None
        try:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if scout else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            self.missing = isinstance(error, FileNotFoundError)
            self.output = f"{argv[0]}: {error.strerror}".encode()

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def stream(self) -> Any:
        return self._popen.stdout if self._popen is not None else None

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def exit_code(self) -> int:
        if self._popen is None:
            return 127
        return -1 if self._popen.returncode is None else self._popen.returncode

    def finish(self, seconds_left: float) -> None:
        """Its output has ended: take its exit code, which is due any moment."""
        if self._popen is None:
            return
        try:
            self._popen.wait(max(0.0, seconds_left))
            self.ended_at = time.monotonic()
        except subprocess.TimeoutExpired:
            self.abandon()

    def abandon(self) -> None:
        """Kill it with all it started, without waiting for that to work."""
        self.timed_out = True
        if self._popen is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.poll()

    def facts(self) -> Json:
        return {"text": self.text, "exit": self.exit_code, "timed_out": self.timed_out, "missing": self.missing}


def read_until(children: Iterable[Child], until: float) -> List[Child]:
    """Read what comes of them; those that have not ended by `until` (monotonic) go on, and can be read further."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            if child.stream is not None and not child.stream.closed:
                selector.register(child.stream, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, until - time.monotonic())):
                chunk = os.read(key.fd, 1 << 16)
                key.data.output += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
                    key.data.stream.close()
                    key.data.finish(max(0.1, until - time.monotonic()))
            if time.monotonic() >= until:
                break
        return [key.data for key in selector.get_map().values()]


def collect(children: Iterable[Child], deadline_s: float) -> None:
    """Read all of them to their end, or until the deadline."""
    for child in read_until(children, time.monotonic() + deadline_s):
        child.stream.close()
        child.abandon()


# --- output patterns


def is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def star_matcher(component: str) -> Callable[[str], bool]:
    """Match a name with nothing but stars in it; much quicker than compiling an expression for each of 10,000."""
    head, middle, tail = component.split("*", 1)[0], component.split("*")[1:-1], component.rsplit("*", 1)[1]

    def matches(name: str) -> bool:
        if len(name) < len(head) + len(tail) or not name.startswith(head) or not name.endswith(tail):
            return False
        at, end = len(head), len(name) - len(tail)
        for piece in middle:
            at = name.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return matches


class Listing:
    """The names in a folder, searchable by their beginning or their end."""

    def __init__(self, folder: str) -> None:
        self.folders: List[str] = []
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    self.folders.append(entry.name)
        self._names = sorted(names)
        self._reversed = sorted(name[::-1] for name in names)

    def matching(self, component: str) -> List[str]:
        """Names that match one component of a pattern; hidden ones only when it starts with a dot."""
        literals = re.split(r"[*?\[\]]", component)
        names = self._between(self._names, literals[0])
        ends = self._between(self._reversed, literals[-1][::-1])
        if len(ends) < len(names):
            names = [name[::-1] for name in ends]
        if "?" in component or "[" in component:
            compiled = re.compile(fnmatch.translate(component))
            return [name for name in names if compiled.match(name) and self._visible(name, component)]
        matches = star_matcher(component)
        return [name for name in names if matches(name) and self._visible(name, component)]

    @staticmethod
    def _visible(name: str, component: str) -> bool:
        return not name.startswith(".") or component.startswith(".")

    @staticmethod
    def _between(ordered: List[str], beginning: str) -> List[str]:
        start = bisect.bisect_left(ordered, beginning)
        return ordered[start : bisect.bisect_right(ordered, beginning + "\U0010ffff", lo=start)]


class Globber:
    """Finds the files of patterns; each folder is listed once in its life, which is one probe."""

    def __init__(self) -> None:
        self._listings: Dict[str, Optional[Listing]] = {}

    def find(self, cwd: str, pattern: str) -> List[Tuple[str, os.stat_result]]:
        """Paths with their stat, sorted. Raises Unreadable where a folder or file may not be looked at."""
        found: List[Tuple[str, os.stat_result]] = []
        wanted = resolve(cwd, pattern)
        plain = not is_pattern(wanted) and "//" not in wanted
        for path in (wanted,) if plain else sorted(set(self._expand("/", wanted.split("/")[1:]))):
            try:
                found.append((path, os.stat(path)))
            except OSError as error:
                if error.errno not in ABSENT_ERRORS:
                    raise Unreadable(f"{path} cannot be looked at: {error.strerror}") from error
        return found

    def _expand(self, folder: str, components: List[str]) -> Iterator[str]:
        for position, component in enumerate(components):
            if not is_pattern(component):
                folder = os.path.join(folder, component)
                continue
            rest = components[position + 1 :] or (["*"] if component == "**" else [])
            matches = self._below(folder) if component == "**" else self._matching(folder, component)
            for path in matches:
                yield from self._expand(path, rest)
            return
        yield folder

    def _matching(self, folder: str, component: str) -> Iterator[str]:
        listing = self._listing(folder)
        for name in listing.matching(component) if listing else ():
            yield os.path.join(folder, name)

    def _below(self, folder: str) -> Iterator[str]:
        yield folder
        listing = self._listing(folder)
        for name in listing.folders if listing else ():
            if not name.startswith("."):
                yield from self._below(os.path.join(folder, name))

    def _listing(self, folder: str) -> Optional[Listing]:
        if folder not in self._listings:
            try:
                self._listings[folder] = Listing(folder)
            except OSError as error:
                if error.errno not in ABSENT_ERRORS:
                    raise Unreadable(f"{folder} cannot be listed: {error.strerror}") from error
                self._listings[folder] = None
        return self._listings[folder]


def resolve(cwd: str, path: str) -> str:
    """An absolute path: `~` is the home, anything relative is from `cwd`, and a relative `cwd` from the home."""
    return os.path.join(os.path.expanduser("~"), os.path.expanduser(cwd), os.path.expanduser(path))


def output_facts(globber: Globber, cwd: str, patterns: Iterable[str]) -> Json:
    """One fingerprint a pattern, which changes whenever one of its files does; empty where nothing matches."""
    fingerprints: List[str] = []
    paths: List[str] = []
    newest_at: Optional[float] = None
    for pattern in patterns:
        found = globber.find(cwd, pattern)
        if not found:
            fingerprints.append("")
            continue
        digest = hashlib.sha256()
        for path, stat in found:
            digest.update(f"{path}\0{stat.st_mtime_ns}\0{stat.st_size}\0{stat.st_ino}\0".encode("utf-8", "replace"))
            newest_at = max(newest_at or 0.0, stat.st_mtime)
            paths.append(path)
        fingerprints.append(digest.hexdigest()[:16])
    return {"fingerprints": fingerprints, "newest_at": newest_at, "paths": paths[:PATHS_LIMIT]}


# --- preconditions


def check_path(globber: Globber, kind: str, cwd: str, subject: str) -> Json:
    """One of checkpoint_exists, file_exists and dir_exists."""
    where = resolve(cwd, subject)
    found = globber.find(cwd, subject)
    folders = [path for path, stat in found if stat_bits.S_ISDIR(stat.st_mode)]
    if kind == "dir_exists":
        return {"met": bool(folders), "message": "" if folders else f"there is no folder {where}"}
    files = [(path, stat) for path, stat in found if not stat_bits.S_ISDIR(stat.st_mode)]
    if kind == "checkpoint_exists":
        # A checkpoint may be a folder of shards; one that is still empty is no checkpoint yet.
        if any(stat.st_size for _, stat in files) or any(os.listdir(path) for path in folders):
            return {"met": True, "message": ""}
        if found:
            return {"met": False, "message": f"{found[0][0]} is empty"}
    elif files:
        return {"met": True, "message": ""}
    elif folders:
        return {"met": False, "message": f"{folders[0]} is a folder, not a file"}
    missing = f"no file matches {where}" if is_pattern(where) else f"{where} does not exist"
    return {"met": False, "message": missing}


class CommandChecks:
    """Preconditions that are commands: run side by side with a deadline, answers kept for a few seconds."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._answers: Dict[str, Tuple[float, Json]] = {}

    def run(self, wanted: List[Tuple[str, Dict[str, str], str]]) -> None:
        """Make sure that there are answers to all of them."""
        now = time.monotonic()
        self._answers = {key: entry for key, entry in self._answers.items() if now - entry[0] < COMMAND_CACHE_S}
        fresh = {}
        for cwd, env, command in wanted:
            key = self._key(cwd, env, command)
            if key not in self._answers:
                fresh[key] = (cwd, env, command)
        until = now + self._deadline_s
        pending = list(fresh.items())
        while pending:
            batch, pending = pending[:COMMANDS_AT_ONCE], pending[COMMANDS_AT_ONCE:]
            self._run_batch(batch, until - time.monotonic())

    def answer(self, cwd: str, env: Dict[str, str], command: str) -> Json:
        return self._answers[self._key(cwd, env, command)][1]

    @staticmethod
    def _key(cwd: str, env: Dict[str, str], command: str) -> str:
        return json.dumps([cwd, sorted(env.items()), command])

    def _run_batch(self, batch: List[Tuple[str, Tuple[str, Dict[str, str], str]]], seconds_left: float) -> None:
        children = {}
        shell = "bash" if shutil.which("bash") else "sh"
        for key, (cwd, env, command) in batch:
            folder = os.path.expanduser(cwd)
            if seconds_left <= 0:
                self._answers[key] = (time.monotonic(), {"unknown": f"no time was left to run `{command}`"})
            elif not os.path.isdir(folder):
                answer = {"met": False, "message": f"the working folder {folder} does not exist"}
                self._answers[key] = (time.monotonic(), answer)
            else:
                children[key] = (command, Child([shell, "-c", command], folder, dict(job_environment(), **env)))
        collect([child for _, child in children.values()], seconds_left)
        for key, (command, child) in children.items():
            self._answers[key] = (time.monotonic(), self._judge(command, child))

    def _judge(self, command: str, child: Child) -> Json:
        if child.timed_out:
            return {"unknown": f"`{command}` gave no answer in {self._deadline_s:g} s"}
        if child.exit_code == 0:
            return {"met": True, "message": ""}
        said = [line.strip() for line in child.text.splitlines() if line.strip()]
        end = f": {said[-1][:2000]}" if said else ""
        return {"met": False, "message": f"`{command}` exited with {child.exit_code}{end}"}


def job_environment() -> Dict[str, str]:
    """The daemon's environment without what belongs to the daemon's own run and would mislead a job."""
    return {name: value for name, value in os.environ.items() if not DAEMON_ONLY.match(name)}


# --- systemd


def own_user_unit() -> str:
    """The unit of the user's own service manager that this process is in; empty when it is in none.

    From a login session that manager could not move what we start without the help of the system's manager."""
    pid = os.environ.get("MANAGERPID", "")
    if not pid.isdigit() or not os.environ.get("XDG_RUNTIME_DIR") or not shutil.which("systemd-run"):
        return ""
    manager, own = cgroups_of(int(pid)), cgroups_of(os.getpid())
    for hierarchy in ("", "name=systemd"):  # in a container the one that its systemd does not use may be seen, too
        top, found, _ = manager.get(hierarchy, "").rpartition("/init.scope")
        if found and own.get(hierarchy, "").startswith(top + "/"):
            return os.path.basename(own[hierarchy])
    return ""


def cgroups_of(pid: int) -> Dict[str, str]:
    """The place of a process in each hierarchy of cgroups, by what that controls."""
    rows = [line.split(":", 2) for line in os.fsdecode(read_proc(pid, "cgroup")).splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3}


class Scopes:
    """Gives each attempt a unit of its own, so that it stays when the unit that the loop runs in is stopped.

    In version 253 systemd began to end a whole scope when the kernel ends one process in it for want of memory: then
    nobody would be left to record the exit. Older versions may not know the setting that forbids it.

    `Before` is of starting, and turned round for stopping: when all is shut down the loop ends first, and does not take
    jobs that are ended with it for failed ones."""

    def __init__(self, state: str, deadline_s: float) -> None:
        self._state = state
        self._deadline_s = deadline_s
        self._prefix: Optional[List[str]] = None

    def forget(self) -> None:
        """Find out anew whether it works: something could not be started."""
        self._prefix = None

    def around(self, path: str, argv: List[str]) -> List[str]:
        """The command in a scope named after the attempt; as it is where there is no user manager to ask."""
        if self._prefix is None:
            self._prefix = self._find_prefix(own_user_unit())
        if not self._prefix:
            return argv
        digest = hashlib.sha256(os.fsencode(f"{self._state}/{path}")).hexdigest()[:12]
        readable = re.sub(r"[^A-Za-z0-9._]", "-", path)[:120]
        return [*self._prefix, f"--unit=exq-{readable}-{digest}.scope", "--", *argv]

    def _find_prefix(self, own_unit: str) -> List[str]:
        if not own_unit:
            return []
        order = [f"--property=Before={own_unit}"]
        for settings in ([*order, "--property=OOMPolicy=continue"], order, []):
            trial = Child([*IN_SCOPE, *settings, "true"])
            collect([trial], self._deadline_s)
            if trial.exit_code == 0:
                return [*IN_SCOPE, *settings]
        return []


# --- GNU screen


class Screen:
    """Lists, starts and quits sessions. A session is only ever addressed by its full `pid.name`."""

    def __init__(self, program: str) -> None:
        self.program = program
        self._seen_folder: Optional[str] = None

    @property
    def installed(self) -> bool:
        return shutil.which(self.program) is not None

    @property
    def folder(self) -> Optional[str]:
        """Where the sockets are; None until a listing has named it."""
        return os.environ.get("SCREENDIR") or self._seen_folder

    def folder_problem(self) -> str:
        """What makes the socket folder unusable: screen calls that "no sessions", too. Empty when nothing does."""
        if self.folder is None:
            return ""
        try:
            stat = os.lstat(self.folder)
        except OSError as error:
            if self._seen_folder != self.folder and error.errno == errno.ENOENT:
                return ""
            return f"the screen socket folder {self.folder} cannot be used: {error.strerror}"
        if not stat_bits.S_ISDIR(os.stat(self.folder).st_mode):
            return f"the screen socket folder {self.folder} is not a folder"
        if stat.st_uid != os.getuid():
            return f"the screen socket folder {self.folder} belongs to another user"
        if stat.st_mode & 0o777 != 0o700:
            return f"the screen socket folder {self.folder} has mode {stat.st_mode & 0o777:03o}, it must be 700"
        return ""

    def is_dead(self, address: str) -> bool:
        """Whether nobody serves the socket of a session, whoever has its pid by now."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.path.join(self.folder or "", address))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def name_problem(self, session: str) -> str:
        """Why a session of this name cannot be started: screen itself would fail without a word."""
        path = os.path.join(self.folder or "", f"{LONGEST_PID}.{session}")
        if len(os.fsencode(path)) > SOCKET_PATH_MAX_BYTES:
            return f"the screen socket path {path} is too long: set SCREENDIR to a shorter folder"
        return ""

    def listing_facts(self, child: Child, problem: str) -> Json:
        """The answer of `screen -ls`; `problem` was read just before, as a listing creates a missing folder."""
        named = re.search(r"\bin (/\S+?)\.?\s*$", child.text)
        if named:
            self._seen_folder = named.group(1)
        elif child.exit_code == 1 and not problem and not child.timed_out:
            problem = first_line(child.text)
        facts = child.facts()
        facts.update({"dir": self.folder, "dir_ok": not problem, "dir_message": problem})
        return facts


# --- scripts beside the agent


class Helpers:
    """Runs exq's own scripts beside the agent, which does not wait for them. They outlive it."""

    def __init__(self, state: str, texts: Optional[Dict[str, str]]) -> None:
        """`texts`: by name; None: they are files beside this one. Without a text nothing is run."""
        self._state = state
        self._texts = texts
        self._running: Dict[Tuple[str, ...], subprocess.Popen[bytes]] = {}

    def has(self, name: str) -> bool:
        return self._texts is None or name in self._texts

    def start(self, name: str, *arguments: str) -> None:
        """Run `name.py STATE ARGUMENTS`, unless it runs already. Raises OSError."""
        self.reap()
        key = (name, *arguments)
        if key in self._running or not self.has(name):
            return
        text = own_file(f"{name}.py") if self._texts is None else self._texts[name]
        script = installed_copy(self._state, name, ".py", text)
        quiet = subprocess.DEVNULL
        self._running[key] = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", script, self._state, *arguments],
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            cwd="/",
            env=job_environment(),
            start_new_session=True,
        )

    def reap(self) -> None:
        self._running = {key: child for key, child in self._running.items() if child.poll() is None}


def own_file(name: str) -> str:
    """The text of a file beside this one."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), encoding="utf-8") as file:
        return file.read()


def installed_copy(state: str, stem: str, ending: str, text: str) -> str:
    """The path of a copy named by its contents: what runs reads its script as it goes, so that must not change."""
    name = f"{stem}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:12]}{ending}"
    path = os.path.join(state, "bin", name)
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_whole(path, text, durable=True)
    return path


# --- commits and their work trees


def repository_of(path: str) -> Optional[str]:
    """The work tree that a folder is in, without asking git."""
    while not os.path.lexists(os.path.join(path, ".git")):
        above = os.path.dirname(path)
        if above == path:
            return None
        path = above
    return path


def git_command(root: str, *arguments: str) -> List[str]:
    return ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", root, *arguments]


def git_environment() -> Dict[str, str]:
    """Looking must not get in the way of the user's own git commands."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return dict(kept, GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C")


class CodeLook:
    """Which commit a name means in a repository, and what is changed besides. It may take longer than a probe."""

    def __init__(self, root: str, ref: str, before: Optional[Json]) -> None:
        """`ref` empty: the newest commit, for which changes matter. `before`: what to say until it has ended."""
        self._root, self._ref = root, ref
        self.begun_at = self.asked_at = time.monotonic()
        self.ended_at: Optional[float] = None
        self.known = before or {"unknown": f"git is still looking at {root}"}
        words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        if not ref:  # the commit and the changes at once, so that they belong together
            words = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no", "--ignore-submodules=none"]
        self.child = Child(git_command(root, *words), "/", git_environment())

    @property
    def has_commit(self) -> bool:
        """It found what jobs can run from."""
        return "commit" in self.known and not self.known["changes"]

    def holds(self, now: float) -> bool:
        """There is no need to look again: a slow repository is looked at the less often, the longer it takes."""
        if self.ended_at is None or self.child.running:
            return True
        pause_s = CODE_PAUSE * (self.ended_at - self.begun_at)
        return not self.has_commit and now - self.ended_at < min(CODE_PAUSE_MAX_S, max(CODE_KEPT_S, pause_s))

    def follow(self, now: float) -> None:
        """Take what it has come to, if it has."""
        if self.ended_at is None and now - self.begun_at > CODE_DEADLINE_S:
            self.child.abandon()
        if self.ended_at is None and (self.child.timed_out or not self.child.running):
            self.ended_at = now
            self.known = self._found()

    def _found(self) -> Json:
        """{"root", "commit", "changes": some of them in words} or {"problem"} or {"unknown"}."""
        if self.child.timed_out:
            return {"unknown": f"git gave no answer about {self._root} in time"}
        if self.child.missing:
            return {"problem": "git is not installed on this host"}
        said = first_line(self.child.text)
        names: List[str] = []
        if self._ref:
            commit = self.child.text.strip().rpartition("\n")[2]  # behind what git may have warned of
            meant = f"`{self._ref}` is no commit in {self._root}"
        else:
            commit, names = changes_in(self.child.output)
            meant = f"{self._root} has no commit yet"
        if self.child.exit_code != 0 or not COMMIT.match(commit):
            return {"problem": f"git: {said}" if self.child.exit_code != 0 and said else meant}
        more = [f"{len(names) - CHANGES_SAID_MAX} more"] if len(names) > CHANGES_SAID_MAX else []
        return {"root": self._root, "commit": commit, "changes": names[:CHANGES_SAID_MAX] + more}


def changes_in(output: bytes) -> Tuple[str, List[str]]:
    """The commit and the changed paths in what `git status --porcelain=v2 --branch -z` says."""
    commit = ""
    names: List[str] = []
    entries = iter(output.split(b"\0"))
    for entry in entries:
        fields = {b"1 ": 8, b"2 ": 9, b"u ": 10}.get(entry[:2])
        if fields is not None:
            names.append(entry.split(b" ", fields)[-1].decode("utf-8", "replace"))
            if entry[:1] == b"2":
                next(entries, None)
        elif b"# branch.oid " in entry:  # behind what git may have warned of
            commit = entry.rpartition(b" ")[2].decode("ascii", "replace")
        elif entry and not entry.startswith(b"# "):
            names.append(first_line(entry.decode("utf-8", "replace")))
    return commit, names


class CodeLooks:
    """One look at each repository for all folders in it, a few at once, and not again at every probe."""

    def __init__(self) -> None:
        self._looks: Dict[Tuple[str, str], CodeLook] = {}

    def facts(self, wanted: Json) -> Json:
        """By key, what is known of [folder, ref]: what is not found out soon is there at a later probe."""
        places = {key: (resolve("", cwd), ref) for key, (cwd, ref) in wanted.items()}
        roots = {folder: self._root(folder) for folder in dict.fromkeys(folder for folder, _ in places.values())}
        self._follow(
            [(root, ref) for root, ref in {(roots[folder], ref): None for folder, ref in places.values()} if root]
        )
        found = {key: self._told(folder, roots[folder], ref) for key, (folder, ref) in places.items()}
        # a commit is chosen once, so the next one who asks wants to know what it is then
        self._looks = {pair: look for pair, look in self._looks.items() if look.ended_at is None or not look.has_commit}
        return found

    @staticmethod
    def _root(folder: str) -> Optional[str]:
        return repository_of(os.path.realpath(folder)) if os.path.isdir(folder) else None

    def _follow(self, pairs: List[Tuple[str, str]]) -> None:
        now = time.monotonic()
        for pair, look in list(self._looks.items()):
            if pair in pairs:
                look.asked_at = now
            elif now - look.asked_at > CODE_PAUSE_MAX_S:  # what it finds would be too old
                look.child.abandon()
                del self._looks[pair]
        until = now + CODE_PATIENCE_S
        due = [pair for pair in pairs if pair not in self._looks or not self._looks[pair].holds(now)]
        while True:
            begun = self._begin(due)
            # one that did not end in the probe that began it is not waited for again
            patience_s = until - now if begun else 0.05
            read_until([look.child for look in self._looks.values() if look.ended_at is None], now + patience_s)
            now = time.monotonic()
            for look in self._looks.values():
                look.follow(now)
            if not begun or now >= until:
                return

    def _begin(self, due: List[Tuple[str, str]]) -> bool:
        """Begin as many as may run at once, and take them off the list."""
        room = CODE_LOOKS_AT_ONCE - sum(look.ended_at is None for look in self._looks.values())
        begun = due[: max(0, room)]
        del due[: len(begun)]
        for pair in begun:
            before = self._looks.get(pair)
            self._looks[pair] = CodeLook(*pair, before.known if before is not None else None)
        return bool(begun)

    def _told(self, folder: str, root: Optional[str], ref: str) -> Json:
        if root is None:
            what = "is in no git repository" if os.path.isdir(folder) else "does not exist"
            return {"problem": f"{folder} {what}"}
        look = self._looks.get((root, ref))
        return look.known if look is not None else {"unknown": "its repository is looked at next"}


class SnapshotPlace:
    """Where the work tree of a commit is, for jobs that would run in a folder otherwise. Raises Refused."""

    def __init__(self, state: str, folder: str, commit: str) -> None:
        if not COMMIT.match(commit):
            raise Refused(f"not a commit: {commit!r}")
        real = os.path.realpath(folder)
        root = repository_of(real) if os.path.isdir(real) else None
        if root is None:
            what = "is in no git repository" if os.path.isdir(real) else "does not exist"
            raise Refused(f"{folder} {what}")
        self.root = root
        self.inside = os.path.relpath(real, root)
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        self.tree = os.path.join(state, "snapshots", name, commit)
        self.path = os.path.normpath(os.path.join(self.tree, self.inside))
        self.commit = commit

    def facts(self) -> Json:
        """{"path", "ready", "problem"}; `problem` is empty while it is being made, too. Raises OSError."""
        facts: Json = {"path": self.path, "ready": self._is_whole(), "problem": ""}
        if facts["ready"] and not os.path.isdir(self.path):
            facts.update(ready=False, problem=f"the commit {self.commit[:12]} has no folder {self.inside}")
        failed = None if facts["ready"] else read_file(self.tree + ".failed", 4096)
        if failed:
            facts.update(problem=first_line(failed[0].decode("utf-8", "replace")), again=self.may_be_tried)
        return facts

    @property
    def may_be_tried(self) -> bool:
        """It is neither there, nor has making it failed a moment ago."""
        try:
            age_s = time.time() - os.stat(self.tree + ".failed").st_mtime
        except FileNotFoundError:
            age_s = SNAPSHOT_AGAIN_S
        return not self._is_whole() and not 0 <= age_s < SNAPSHOT_AGAIN_S

    def _is_whole(self) -> bool:
        """It was made, and nobody removed it by hand since. Raises OSError where that cannot be told."""
        try:
            # in this order: one that is made anew loses its readiness before anything of it is there
            os.lstat(os.path.join(self.tree, ".git"))
            os.stat(self.tree + ".ready")
        except FileNotFoundError:
            return False
        return True

    def enter(self, marker: str, attempt: str, lock: str, outputs: List[str], inputs: List[str]) -> None:
        """Put an attempt down as its user, and see to it that the job finds its data. Raises Refused, OSError."""
        mine = os.path.join(self.tree + ".users", marker)
        if os.path.isdir(os.path.dirname(mine)):
            write_whole(mine, f"{attempt}\n{lock}\n")
        # in this order: whoever removes it takes its readiness away first, and then looks who uses it
        facts = self.facts()
        if not facts["ready"] or not os.path.exists(mine):  # it may have been removed and made anew in between
            raise Refused(facts["problem"] or f"the work tree of {self.commit[:12]} is not there")
        for pattern in outputs:
            problem = self._link(pattern, is_output=True)
            if problem:
                raise Refused(problem)
        for pattern in inputs:
            self._link(pattern, is_output=False)

    def _link(self, pattern: str, is_output: bool) -> str:
        """Link the first folder on the way that the commit does not have to the one in the original; why not."""
        if pattern.startswith(("/", "~")):
            return ""
        names = components(os.path.normpath(os.path.join(self.inside, pattern)))
        if ".." in names[:1]:
            return f"the output {pattern} lies outside the repository {self.root}"
        at = self._without_code(names)
        original = os.path.join(self.root, at)
        if not at or (is_output and len(components(at)) == len(names) and not os.path.isdir(original)):
            why = "exq links the folders of outputs, and the commit has that folder itself"
            return f"the output {pattern} has no folder of its own: {why}"
        if is_output or os.path.lexists(original):
            self._put_link(os.path.join(self.tree, at), original, is_output)
        return ""

    def _without_code(self, names: List[str]) -> str:
        """The first part of a path that is not from the commit; empty where there is none before a star."""
        at = ""
        for name in names:
            if is_pattern(name):
                break
            at = os.path.join(at, name)
            target = os.path.join(self.tree, at)
            if os.path.islink(target) or not os.path.isdir(target) or holds_only_dotfiles(target):
                return at
        return ""

    @staticmethod
    def _put_link(target: str, original: str, is_output: bool) -> None:
        if os.path.islink(target) or (os.path.lexists(target) and not os.path.isdir(target)):
            return
        if is_output:
            os.makedirs(original, exist_ok=True)
        if os.path.isdir(target):
            shutil.rmtree(target)
        with contextlib.suppress(FileExistsError):
            os.symlink(original, target)


def holds_only_dotfiles(folder: str) -> bool:
    """A folder that is kept in git for what will be written into it."""
    return all(name.startswith(".") and not os.path.isdir(os.path.join(folder, name)) for name in os.listdir(folder))


# --- the agent


class Life(NamedTuple):
    """Signs of life of one attempt."""

    claimed: bool
    revoked: bool
    started: Optional[Json]
    payload: Optional[Stat]
    shim_alive: bool
    tree_alive: bool
    tree: List[Stat]
    """Its live processes that could be seen, the payload first, never the shim."""
    unlisted: bool
    """Its screen may have come up after the screens were listed: its shim claimed it then, or just before."""


class Agent:
    """Serves one state folder on this host. `handle` never raises."""

    def __init__(self, state: str, settings: Json) -> None:
        """`settings`: `screen` and `nvidia_smi` (programs), `deadline_s` for each, `shim` and `helpers` (their texts,
        if not beside)."""
        self.state = os.path.realpath(os.path.expanduser(state))
        self._deadline_s = float(settings.get("deadline_s", 10))
        self._nvidia_smi = settings.get("nvidia_smi") or "nvidia-smi"
        self._shim_text: Optional[str] = settings.get("shim")
        self._screen = Screen(settings.get("screen") or "screen")
        self._processes = ProcessTable(self.state)
        self._commands = CommandChecks(self._deadline_s)
        self._scopes = Scopes(self.state, self._deadline_s)
        self._helpers = Helpers(self.state, settings.get("helpers"))
        self._code = CodeLooks()
        self._notes_taken_at = float("-inf")
        self._outstanding: Dict[str, Child] = {}
        self._started: List[Tuple[str, subprocess.Popen[bytes]]] = []
        self._launch_errors: Dict[str, str] = {}
        self._disk_checked: Tuple[float, Json] = (0.0, {})
        self._shim_path = ""
        self._shell = ""
        self._boot_id = boot_id()
        self._user = user_name(os.getuid())
        self._listed_from = 0.0
        """When the screens were last listed, or may have been."""

    def handle(self, request: Json) -> Json:
        """Carry out one request: {"op": name, ...}. Errors: {"error", "kind": disk_full | refused | failed}."""
        try:
            self._collect_started()
            operation = self._operations().get(str(request.get("op")))
            if operation is None:
                raise Refused(f"unknown operation {request.get('op')!r}")
            return operation(request)
        except Refused as error:
            return {"error": str(error), "kind": "refused"}
        except Unreadable as error:
            return {"error": str(error), "kind": "failed"}
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            kind = "disk_full" if error.errno in DISK_FULL_ERRORS else "failed"
            return {"error": f"{where}{error.strerror or error}", "kind": kind}
        except Exception as error:  # the caller may be at the other end of a connection
            return {"error": f"{type(error).__name__}: {error}", "kind": "failed"}

    def _operations(self) -> Dict[str, Callable[[Json], Json]]:
        return {
            "hello": self._hello,
            "probe": self._probe,
            "doctor": self._doctor,
            "launch": self._launch,
            "snapshots": self._snapshots,
            "revoke": self._revoke,
            "kill": self._kill,
            "settle": self._settle,
            "write_file": self._write_file,
            "read_log": self._read_log,
            "records": self._records,
            "list_files": self._list_files,
            "read_pieces": self._read_pieces,
            "digest_files": self._digest_files,
            "begin_files": self._begin_files,
            "write_pieces": self._write_pieces,
        }

    def _hello(self, _request: Json) -> Json:
        return {
            "version": VERSION,
            "boot_id": self._boot_id,
            "hostname": platform.node(),
            "user": self._user,
            "home": os.path.expanduser("~"),
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "now": time.time(),
            "state": self.state,
        }

    # names

    def _path(self, request: Json) -> str:
        """The attempt path of a request: `project/id/number` and nothing that leads elsewhere."""
        path = str(request.get("path"))
        if not ATTEMPT_PATH.match(path):
            raise Refused(f"not an attempt path: {path!r}")
        return path

    def _folder(self, path: str) -> str:
        return os.path.join(self.state, "attempts", path)

    def _job_lock(self, path: str) -> str:
        project, job, _ = path.split("/")
        return os.path.join(self.state, "locks", f"{encoded(project)}%{encoded(job)}.lock")

    def _marker(self, path: str) -> str:
        return os.path.join(self.state, "spool", "%".join(encoded(part) for part in path.split("/")))

    @staticmethod
    def _gpu_lock(uuid: str) -> str:
        """Shared by all state folders of the user."""
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return os.path.join(home, "exq", "locks", f"gpu-{encoded(uuid)}.lock")

    # looking

    def _probe(self, request: Json) -> Json:
        reply: Json = {"now": time.time(), "boot_id": self._boot_id, "screen_installed": self._screen.installed}
        reply["booted_at"] = reply["now"] - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
        folder_problem = self._screen.folder_problem()
        self._listed_from = reply["now"]
        tools = self._start_tools(request)
        attempts = request.get("attempts") or []
        table = self._processes.scan() if request.get("strays") or any(a.get("scan") for a in attempts) else None
        lives = {need["path"]: self._life_or_unknown(need, table) for need in attempts}
        if request.get("strays"):
            reply["strays"] = sorted({p.attempt for p in table or () if p.attempt} - set(lives))
            reply["markers"] = self._markers()
        self._finish_tools(tools, folder_problem, reply)
        # From here on: what tells how things ended.
        reply["attempts"] = {need["path"]: self._attempt_facts(need, lives[need["path"]]) for need in attempts}
        globber = Globber()
        reply["outputs"] = {
            key: self._outputs(globber, wanted) for key, wanted in (request.get("outputs") or {}).items()
        }
        reply["preconditions"] = self._preconditions(globber, request.get("preconditions") or {})
        self._commits(request, reply)
        if request.get("disk"):
            reply["disk"] = self._disk()
        if request.get("index") is not None and (attempts or self._is_there_for_good(reply)):
            reply["index"] = {key: number for project in request["index"] for key, number in self._index(project)}
        reply["state"], reply["user"] = self.state, self._user
        return reply

    def _is_there_for_good(self, reply: Json) -> bool:
        """Make the folder of attempts before the first launch: from then on its absence means that a disk is missing,
        also where that launch is lost on its way. As long as that fails, nothing is launched."""
        try:
            make_folders(os.path.join(self.state, "attempts"))
            for folder in up_to_home(self.state):
                sync_folder(folder)  # an earlier agent may have ended before it did
        except OSError as error:
            message = f"{self.state} cannot be written: {error.strerror}"
            reply["disk"] = {"free_mib": 0, "writable": False, "message": message}
            return False
        return True

    def _commits(self, request: Json, reply: Json) -> None:
        """What jobs with `snapshot` wait for; in a full look, all work trees that are there and idle, too."""
        if request.get("code"):
            reply["code"] = self._code.facts(request["code"])
        if request.get("snapshots"):
            wanted = request["snapshots"]
            reply["snapshots"] = {key: self._snapshot_facts(cwd, commit) for key, (cwd, commit) in wanted.items()}
        if request.get("strays"):
            reply["old_snapshots"] = list(self._old_snapshots())
        if request.get("versions_of"):
            reply["versions"] = self._versions(request["versions_of"])

    def _snapshot_facts(self, cwd: str, commit: str) -> Json:
        try:
            return SnapshotPlace(self.state, resolve("", cwd), commit).facts()
        except Refused as refused:
            return {"path": "", "ready": False, "problem": str(refused)}
        except (OSError, Unreadable) as error:
            return {"unknown": str(error)}

    def _versions(self, project: str) -> List[List[Any]]:
        """[commit, changed, jobs]: which code the newest attempts of a project's jobs ran, as far as it was noted."""
        counts: Dict[Tuple[str, bool], int] = {}
        above = os.path.join(self.state, "attempts", project)
        for job in folders_in(above):
            numbers = [name for name in folders_in(os.path.join(above, job)) if name.isdigit()]
            path = os.path.join(above, job, max(numbers, key=int, default=""), "provenance.json")
            if os.path.exists(path):
                with contextlib.suppress(Unreadable):  # one that is damaged tells of nothing
                    found = read_record(path)
                    code = found[0].get("code") if found else None
                    if isinstance(code, dict) and isinstance(code.get("commit"), str):
                        key = (code["commit"], bool(code.get("dirty")))
                        counts[key] = counts.get(key, 0) + 1
        return [[*key, count] for key, count in counts.items()]

    def _old_snapshots(self) -> Iterator[List[str]]:
        """[repository, commit] of each that no attempt has entered or left for a while."""
        above = os.path.join(self.state, "snapshots")
        for repository in folders_in(above):
            names = folders_in(os.path.join(above, repository))
            for commit in dict.fromkeys(name.partition(".")[0] for name in names):
                # where making or removing it was cut off there is the one without the other
                last = f"{commit}.users" if f"{commit}.users" in names else commit
                if COMMIT.match(commit):
                    with contextlib.suppress(OSError):  # it is being removed
                        stat = os.stat(os.path.join(above, repository, last))
                        if not 0 <= time.time() - stat.st_mtime < SNAPSHOT_UNUSED_S:
                            yield [repository, commit]

    def _snapshots(self, request: Json) -> Json:
        """Begin to `make` work trees, [folder, commit] each, and to `drop` others, [repository, commit] each."""
        problems = []
        for operation in ("make", "drop"):
            for where, commit in request.get(operation) or []:
                try:
                    self._begin_snapshot(operation, where, commit)
                except (Refused, OSError) as error:  # what keeps one from it need not keep the others
                    problems.append(str(error))
        return {"begun": True, "problems": problems}

    def _begin_snapshot(self, operation: str, where: str, commit: str) -> None:
        if operation == "make":
            place = SnapshotPlace(self.state, resolve("", where), commit)
            if place.may_be_tried:
                self._helpers.start("snapshot", "make", place.root, commit)
            return
        if not re.match(r"[0-9a-f]{12}\Z", where) or not COMMIT.match(commit):
            raise Refused(f"not a snapshot: {where}/{commit}")
        self._helpers.start("snapshot", "drop", where, commit)

    def _markers(self) -> List[str]:
        """What lies in the spool: attempts that have ended and have no verdict beside their files yet."""
        try:
            return sorted(os.listdir(os.path.join(self.state, "spool")))
        except OSError:
            return []  # none was ever dropped, or they are found the next time

    def _index(self, project: str) -> Iterator[Tuple[str, int]]:
        """The jobs of a project that have attempt folders here, each with the number of its newest. Raises OSError."""
        for job in folders_in(os.path.join(self.state, "attempts", project)):
            folder = os.path.join(self.state, "attempts", project, job)
            numbers = [int(name) for name in folders_in(folder) if re.match(r"[1-9][0-9]{0,8}\Z", name)]
            for number in sorted(numbers, reverse=True):
                # where whoever began to write it ended before its intent was there, there is no attempt
                if TELLING_FILES.intersection(os.listdir(os.path.join(folder, str(number)))):
                    yield f"{project}/{job}", number
                    break

    def _start_tools(self, request: Json) -> Dict[str, Child]:
        """Start the programs to ask, side by side."""
        tools = {}
        if request.get("sessions"):
            tools["sessions"] = self._start_tool("sessions", [self._screen.program, "-ls"])
        if request.get("gpus"):
            tools["query"] = self._start_tool("query", [self._nvidia_smi, *GPU_QUERY])
            tools["apps"] = self._start_tool("apps", [self._nvidia_smi, *APPS_QUERY])
        return tools

    def _start_tool(self, name: str, argv: List[str]) -> Child:
        """At most one of each is outstanding, and a tool that hangs is waited for once.

        After that it counts as hanging until a scout, which nobody waits for, has come back by itself."""
        last = self._outstanding.get(name)
        if last is None or not last.timed_out or (last.scout and not last.running and last.exit_code >= 0):
            self._outstanding[name] = Child(argv)
        elif not last.running:
            self._outstanding[name] = Child(argv, scout=True)
        elif time.monotonic() - last.started_at > self._deadline_s:
            last.abandon()
        return self._outstanding[name]

    def _finish_tools(self, tools: Dict[str, Child], folder_problem: str, reply: Json) -> None:
        collect([child for child in tools.values() if not child.timed_out], self._deadline_s)
        if "sessions" in tools:
            reply["sessions"] = self._screen.listing_facts(tools["sessions"], folder_problem)
            # A dead one's pid may be another process by now: its command says nothing about it.
            listed = LISTED_SCREEN.findall(tools["sessions"].text)
            reply["sessions"]["others"] = [address for address in listed if self._is_of_others(address)]
        if "query" in tools:
            query, apps = tools["query"], tools["apps"]
            reply["gpus"] = {"query": query.facts(), "apps": apps.facts(), "owners": self._owners(apps.text)}

    def _owners(self, apps: str) -> Json:
        """Who the processes on the GPUs are; those hidden by a container or gone are left out."""
        owners: Json = {}
        for pid in LISTED_PROCESS.findall(apps):
            uid = owner_of(int(pid))
            if uid is None:
                continue
            user = user_name(uid)
            attempt = self._processes.attempt_of(int(pid))
            owners[pid] = {"user": user, "command": describe_command(int(pid)), "attempt": attempt}
        return owners

    def _life_or_unknown(self, need: Json, table: Optional[List[Process]]) -> Any:
        try:
            if not os.path.isdir(os.path.join(self.state, "attempts")):
                raise Unreadable(f"the state folder {self.state} is not there")
            return self._life(self._path(need), table if need.get("scan") else None)
        except (Unreadable, Refused) as error:
            return {"unknown": str(error)}

    def _life(self, path: str, table: Optional[List[Process]]) -> Life:
        """Signs of life; with a process table, all of the tree that can be seen. Raises Unreadable."""
        folder = self._folder(path)
        claim = read_file(os.path.join(folder, "claim"), 4096)
        words = claim[0].decode("utf-8", "replace").split() if claim else []
        record = read_record(os.path.join(folder, "started.json")) if claim else None
        started = dict(record[0], at=record[1]) if record else None
        payload = self._live_process(started, "pid", "start_ticks", folder) if started else None
        revoked = words == ["revoked"]
        if len(words) == 4 and words[0] == "shim" and NUMBER.match(words[2]) and NUMBER.match(words[3]):
            shim_alive = words[1] == self._boot_id and is_alive(int(words[2]), int(words[3]))
        else:
            shim_alive = claim is not None and not revoked and self._unnamed_shim(folder)
        locked = self._tree_holds_lock(path) if claim and (started or not shim_alive) else False
        if locked is None and table is None:
            table = self._processes.scan()
        tree = self._tree(path, started, payload, table or [])
        alive = bool(payload or tree or locked)
        # a clock that was set back since must not make the wait longer
        unlisted = claim is not None and -FILE_TIME_DOUBT_S < claim[1] - self._listed_from < TOOLS_PATIENCE_S
        return Life(claim is not None, revoked, started, payload, shim_alive, alive, tree, unlisted)

    def _live_process(self, record: Json, pid: str, start_ticks: str, folder: str) -> Optional[Stat]:
        try:
            boot, number, since = record["boot_id"], int(record[pid]), int(record[start_ticks])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise Unreadable(f"{folder}/started.json is damaged: it names no process") from None
        stat = process_stat(number) if boot == self._boot_id else None
        return stat if stat and stat.alive and stat.start_ticks == since else None

    def _unnamed_shim(self, folder: str) -> bool:
        """Whether a shim is between making its claim and signing it (or the disk was full, or the claim is damaged)."""
        wanted = os.fsencode(folder)
        for process in self._processes.scan():
            words = read_proc(process.stat.pid, "cmdline").split(b"\0")
            if wanted in words and b"shim" in b" ".join(words[:2]):
                return True
        return False

    def _tree_holds_lock(self, path: str) -> Optional[bool]:
        """Whether the job's lock is held by this attempt; None when the lock file is gone and cannot tell."""
        try:
            holder = lock_holder(self._job_lock(path))
        except FileNotFoundError:
            return None
        # Where the note of the holder is missing (a full disk), better alive than dead.
        return holder is not None and holder in (path, "")

    def _tree(self, path: str, started: Optional[Json], payload: Optional[Stat], table: List[Process]) -> List[Stat]:
        """Processes that provably belong to the attempt: by its marker, or, without one, by the payload's session.

        Once the payload is gone its session's number may be another's: then holding the job's lock is the proof."""
        tree = [payload] if payload else []
        this_boot = started is not None and started["boot_id"] == self._boot_id
        session = int(started["pid"]) if started and this_boot else 0
        since = int(started["start_ticks"]) if started else 0
        for stat, attempt in table:
            if payload and stat.pid == payload.pid:
                continue
            member = bool(session) and attempt is None and stat.session == session and stat.start_ticks >= since
            if attempt == path or (member and (payload or holds_open(stat.pid, self._job_lock(path)))):
                tree.append(stat)
        return tree

    def _attempt_facts(self, need: Json, life: Any) -> Json:
        """Everything about one attempt, read after its signs of life."""
        if isinstance(life, dict):
            return life
        folder = self._folder(need["path"])
        try:
            exited = read_record(os.path.join(folder, "exit.json"))
            if exited and life.tree_alive:
                life = self._life_after_exit(need["path"], life)
            started = life.started
            if exited and not started:
                record = read_record(os.path.join(folder, "started.json"))
                started = dict(record[0], at=record[1]) if record else None
            over = exited is not None or life.payload is None
            setup = read_file(os.path.join(folder, "setup_failed"), 4096) if over else None
            facts: Json = {
                "exists": os.path.exists(f"{folder}/intent.json") and os.path.exists(f"{folder}/job.sh"),
                "claimed": life.claimed and not life.revoked,
                "revoked": life.revoked,
                "started": started,
                "exited": dict(exited[0], at=exited[1]) if exited else None,
                "payload_alive": life.payload is not None,
                "shim_alive": life.shim_alive,
                "tree_alive": life.tree_alive,
                "scanned": bool(need.get("scan")),
                "tree_pids": [stat.pid for stat in life.tree],
                "unlisted": life.unlisted,
                "setup_error": first_line(setup[0].decode("utf-8", "replace")) if setup else None,
                "launch_error": self._launch_errors.get(need["path"]),
            }
            facts.update(self._log_facts(os.path.join(folder, "log"), bool(need.get("tail"))))
            if need.get("meant"):
                facts["another"] = self._is_another(folder, need["meant"])
            return facts
        except Unreadable as error:
            return {"unknown": str(error)}

    def _life_after_exit(self, path: str, before: "Life") -> "Life":
        """Signs of life are older than the exit record that was read after them: what of it is still true?"""
        now = self._life(path, None)
        tree = [stat for stat in before.tree if is_alive(stat.pid, stat.start_ticks)]
        return now._replace(tree=tree, tree_alive=bool(now.tree_alive or tree))

    @staticmethod
    def _log_facts(path: str, tail: bool) -> Json:
        text = b""
        try:
            if tail:
                with open(path, "rb") as log:
                    stat = os.fstat(log.fileno())
                    log.seek(max(0, stat.st_size - LOG_TAIL_BYTES))
                    text = log.read(LOG_TAIL_BYTES)
            else:
                stat = os.stat(path)
        except FileNotFoundError:
            return {"log_bytes": 0, "log_at": None, "log_tail": ""}
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
        return {"log_bytes": stat.st_size, "log_at": stat.st_mtime, "log_tail": text.decode("utf-8", "replace")}

    @staticmethod
    def _outputs(globber: Globber, wanted: Json) -> Json:
        try:
            return output_facts(globber, wanted["cwd"], wanted["patterns"])
        except Unreadable as error:
            return {"unknown": str(error)}

    def _preconditions(self, globber: Globber, wanted: Json) -> Json:
        commands = [
            (entry["cwd"], entry.get("env") or {}, subject)
            for entry in wanted.values()
            for kind, subject in entry["checks"]
            if kind == "command"
        ]
        self._commands.run(commands)
        answers: Dict[Tuple[str, str, str], Json] = {}
        reply = {}
        for key, entry in wanted.items():
            reply[key] = [self._check(globber, answers, entry, kind, subject) for kind, subject in entry["checks"]]
        return reply

    def _check(self, globber: Globber, answers: Dict[Any, Json], entry: Json, kind: str, subject: str) -> Json:
        if kind == "command":
            return self._commands.answer(entry["cwd"], entry.get("env") or {}, subject)
        key = (kind, entry["cwd"], subject)
        if key not in answers:
            try:
                answers[key] = check_path(globber, kind, entry["cwd"], subject)
            except Unreadable as error:
                answers[key] = {"unknown": str(error)}
        return answers[key]

    def _disk(self) -> Json:
        """Room in the state folder. A write is tried too: quotas and read-only mounts do not show in the figures."""
        checked_at, facts = self._disk_checked
        try:
            room = os.statvfs(existing_folder(self.state))
            free_mib = room.f_bavail * room.f_frsize >> 20
            if time.monotonic() - checked_at < DISK_CHECK_S and facts.get("writable") and free_mib > 64:
                return dict(facts, free_mib=free_mib)
        except OSError as error:
            return {"unknown": f"the state folder {self.state} cannot be looked at: {error.strerror}"}
        facts = {"free_mib": free_mib, "writable": True, "message": ""}
        parent = existing_folder(self.state)
        if parent != self.state and (room.f_blocks == 0 or not can_be_made(self.state, parent)):
            facts.update({"writable": False, "message": f"{self.state} cannot be created in {parent}"})
            return facts
        try:
            self._try_to_write()
        except OSError as error:
            facts.update({"writable": False, "message": f"{self.state} cannot be written: {error.strerror}"})
        self._disk_checked = (time.monotonic(), facts)
        return facts

    def _try_to_write(self) -> None:
        if not os.path.isdir(self.state):
            return  # nothing was ever launched from here; looking makes no folders
        path = os.path.join(self.state, f".room-{os.getpid()}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, b"\0" * 4096)
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(path)

    # looking before the work begins

    def _doctor(self, request: Json) -> Json:
        """A probe, and what is asked only before the work begins. It changes nothing.

        `folders`: paths that jobs work in. `environments`: by key, a script that sets one up and does nothing else.
        `session`: the longest name that a screen session will have."""
        login = start_login_tools(self._user)
        reply = self._probe(request)
        query = self._outstanding.get("query")
        screens = self._screen.folder
        reply.update(
            {
                "python": platform.python_version(),
                "nvidia_smi_s": query.ended_at - query.started_at if query and query.ended_at else None,
                "state_folder": told(lambda: folder_facts(self.state)),
                "screen_folder": told(lambda: folder_facts(screens)) if screens else None,
                "session_problem": self._screen.name_problem(str(request.get("session") or "exq")),
                "missing_programs": [name for name in NEEDED_PROGRAMS if shutil.which(name) is None],
                "folders": {path: working_folder_problem(path) for path in request.get("folders") or []},
                "inotify": told(inotify_facts),
                "login": told(lambda: login_facts(login, self._user)),
                "environments": self._environments(request.get("environments") or {}),
            }
        )
        return reply

    def _environments(self, wanted: Json) -> Json:
        """What comes of setting each of them up as a job would: {"problem": "" or why not} or {"unknown"}."""
        import tempfile  # slow to import, and seldom needed

        found: Json = {}
        folder = tempfile.mkdtemp(prefix="exq-")
        try:
            until, pending = time.monotonic() + SETUP_DEADLINE_S, list(wanted.items())
            while pending:
                batch, pending = pending[:COMMANDS_AT_ONCE], pending[COMMANDS_AT_ONCE:]
                found.update(set_up(batch, folder, until))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return found

    # acting

    def _launch(self, request: Json) -> Json:
        """Make the attempt's folder durable, then start its shim, which claims it: so doing this twice is harmless."""
        path = self._path(request)
        launcher = self._launcher(request)
        folder = self._folder(path)
        claim = read_file(os.path.join(folder, "claim"), 64)
        if claim and claim[0].startswith(b"revoked"):
            raise Refused(f"attempt {path} was revoked")
        if not request.get("again") and self._is_another(folder, request["intent"]):
            message = f"attempt {path} is there already, from another controller or an older ledger"
            return {"error": message, "kind": "exists"}
        if claim:
            return {"launched": True, "launcher": launcher, "already": True}
        self._write_attempt(folder, request)
        if request.get("snapshot") and not self._enter_snapshot(path, request["snapshot"]):
            return {"launched": True, "launcher": launcher}
        noted = bool(request.get("provenance")) and self._helpers.has("provenance") and self._ask_for_notes(path)
        arguments = [self._installed_shim(), folder, self._marker(path), self._job_lock(path)]
        arguments += [self._gpu_lock(uuid) for uuid in request.get("gpus") or []]
        for file in arguments[2:]:
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        self._start_shim(path, launcher, request.get("session"), arguments)
        if noted:
            self._take_notes()
        return {"launched": True, "launcher": launcher}

    def _enter_snapshot(self, path: str, wanted: Json) -> bool:
        """False: the job would not find its folders there. Then the attempt is over, as one that cannot be set up."""
        try:
            place = SnapshotPlace(self.state, resolve("", wanted["cwd"]), wanted["commit"])
            marker = "%".join(encoded(part) for part in path.split("/"))
            place.enter(marker, path, self._job_lock(path), wanted["outputs"], wanted["inputs"])
            return True
        except Refused as refused:
            folder = self._folder(path)
            if create_exclusively(os.path.join(folder, "claim"), "revoked\n"):
                write_whole(os.path.join(folder, "setup_failed"), f"{SNAPSHOT_PROBLEM}{refused}\n")
                ended = {"code": SETUP_FAILED, "uptime_s": time.clock_gettime(time.CLOCK_MONOTONIC), "duration_s": 0.0}
                write_whole(os.path.join(folder, "exit.json"), json.dumps(ended) + "\n", durable=True)
                os.makedirs(os.path.dirname(self._marker(path)), mode=0o700, exist_ok=True)
                write_whole(self._marker(path), "")
            return False

    def _notes_marker(self, path: str) -> str:
        return os.path.join(self.state, "provenance", "queue", "%".join(encoded(part) for part in path.split("/")))

    def _ask_for_notes(self, path: str) -> bool:
        """Have it noted what an attempt runs with. It starts all the same where that cannot be."""
        marker = self._notes_marker(path)
        try:
            if not os.path.isdir(os.path.dirname(marker)):
                os.makedirs(os.path.dirname(marker), mode=0o700, exist_ok=True)
            write_whole(marker, f"{path}\n")
            return True
        except OSError:
            return False

    def _await_notes(self, path: str) -> None:
        """A job may be over before what it ran with is noted. Nobody but a collector of files waits for that."""
        if not os.path.exists(self._notes_marker(path)):
            return
        self._see_to_notes()
        try:
            age_s = abs(time.time() - os.stat(os.path.join(self._folder(path), "exit.json")).st_mtime)
        except OSError:
            return  # it has not ended, or nobody knows how
        # what has ended long ago and is not noted yet is not noted now either
        until = time.monotonic() + NOTES_PATIENCE_S - age_s
        while os.path.exists(self._notes_marker(path)) and time.monotonic() < until:
            time.sleep(0.05)

    def _see_to_notes(self) -> None:
        """Somebody has to be at it who was asked a while ago. One is: the last one that was started, or whom it met."""
        if time.monotonic() - self._notes_taken_at > NOTES_AGAIN_S:
            self._take_notes()

    def _take_notes(self) -> None:
        self._notes_taken_at = time.monotonic()
        with contextlib.suppress(OSError):  # the marker stays, and the next one that is started finds it
            self._helpers.start("provenance")

    @staticmethod
    def _is_another(folder: str, intent: Json) -> bool:
        """The folder holds an attempt of this number that someone else meant to start."""
        try:
            found = read_record(os.path.join(folder, "intent.json"))
        except Unreadable:
            return True
        names = ("intended_at", "daemon", "generation")
        return found is not None and any(found[0].get(name) != intent.get(name) for name in names)

    def _launcher(self, request: Json) -> str:
        wanted = request.get("launcher") or "auto"
        if wanted == "process" or (wanted == "auto" and not self._screen.installed):
            return "process"
        if not self._screen.installed:
            raise Refused("GNU screen is not installed on this host: install it, or set `launcher: process`")
        problem = self._screen.folder_problem() or self._screen.name_problem(str(request.get("session")))
        if problem:
            raise Refused(problem)
        return "screen"

    def _write_attempt(self, folder: str, request: Json) -> None:
        make_folders(os.path.join(self.state, "attempts"))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        write_whole(os.path.join(folder, "job.sh"), request["job_sh"], 0o700)
        write_whole(os.path.join(folder, "intent.json"), json.dumps(request["intent"], sort_keys=True) + "\n")

    def _installed_shim(self) -> str:
        """A copy named by its contents: a shell reads its script as it goes, so a running one must not change."""
        if not self._shim_path or not os.path.exists(self._shim_path):
            text = own_file("shim.sh") if self._shim_text is None else self._shim_text
            self._shim_path = installed_copy(self.state, "shim", ".sh", text)
        return self._shim_path

    def _shell_for_shim(self) -> str:
        """`sh`, which is quicker, where the signals that it makes jobs ignore can be reset; else bash."""
        if not self._shell:
            check = Child([*SIGNAL_RESET.split(), "true"])
            collect([check], self._deadline_s)
            self._shell = "sh" if check.exit_code == 0 or not shutil.which("bash") else "bash"
        return self._shell

    def _start_shim(self, path: str, launcher: str, session: Optional[str], arguments: List[str]) -> None:
        """Start it without waiting. Its own complaints, and screen's, go to the attempt's log."""
        shell = self._shell_for_shim()
        environment = job_environment()
        if shell == "sh":
            environment["EXQ_SIGNAL_RESET"] = SIGNAL_RESET
        argv = [shell, *arguments]
        if launcher == "screen":
            # A user's .screenrc could open further windows or keep dead ones. -D: the server is our own child, so its
            # failure is noticed, and it starts in one step less.
            argv = [self._screen.program, "-c", "/dev/null", "-DmS", str(session), *argv]
        folder = arguments[1]
        log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                self._scopes.around(path, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._started.append((path, child))

    def _collect_started(self) -> None:
        """Take leave of launchers that ended; one that ended before its shim made a claim has failed.

        Where the folder was removed meanwhile, a claim that is missing proves nothing."""
        self._helpers.reap()
        running = []
        for path, child in self._started:
            if child.poll() is None:
                running.append((path, child))
            elif child.returncode != 0 and self._is_unclaimed(self._folder(path)):
                said = read_file(os.path.join(self._folder(path), "log"), 4096)
                text = first_line(said[0].decode("utf-8", "replace")) if said else ""
                self._scopes.forget()
                self._launch_errors[path] = text or f"the launcher ended with exit code {child.returncode}"
        self._started = running

    @staticmethod
    def _is_unclaimed(folder: str) -> bool:
        return os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "claim"))

    def _revoke(self, request: Json) -> Json:
        """Claim an attempt so that no shim can ever run it. False: a shim was first."""
        folder = self._folder(self._path(request))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        claim = os.path.join(folder, "claim")
        if create_exclusively(claim, "revoked\n"):
            sync_folder(folder)
            return {"revoked": True}
        found = read_file(claim, 64)
        return {"revoked": bool(found and found[0].startswith(b"revoked"))}

    def _kill(self, request: Json) -> Json:
        """Signal what lives of an attempt, each process verified by its start time; then quit the given screens.

        The payload comes first: a script must not go on to its next line because this one's program was ended."""
        path = self._path(request)
        number = signal.SIGKILL if request.get("force") else signal.SIGTERM
        signalled: List[int] = []
        seen: Set[Tuple[int, int]] = set()
        for _ in range(3 if request.get("force") else 1):
            tree = self._life(path, self._processes.scan()).tree
            fresh = [stat for stat in tree if (stat.pid, stat.start_ticks) not in seen]
            seen.update((stat.pid, stat.start_ticks) for stat in fresh)
            signalled += [stat.pid for stat in fresh if send_signal(stat, number)]
            if not fresh:
                break
        sessions = [address for address in request.get("sessions") or [] if re.match(r"\d+\.exq\.", address)]
        for address in sessions:
            self._quit_screen(path, address)
        return {"signalled": signalled, "quit": sessions}

    def _is_of_others(self, address: str) -> bool:
        """A live screen whose command is not of this state folder: another may name a job alike."""
        command = read_proc(int(address.partition(".")[0]), "cmdline")
        return bool(command) and os.fsencode(f"\0{self.state}/attempts/") not in command

    def _quit_screen(self, path: str, address: str) -> None:
        pid = int(address.partition(".")[0])
        stat = process_stat(pid)
        dead = stat is None or not stat.alive or self._screen.is_dead(address)
        if not dead and self._is_of_others(address):
            return
        if dead:
            # What a killed server leaves behind; `screen -wipe` would also take the sessions of others.
            if self._screen.folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._screen.folder, address))
            return
        argv = [self._screen.program, "-S", address, "-X", "quit"]
        quiet = subprocess.DEVNULL
        child = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        self._started.append((path, child))

    def _settle(self, request: Json) -> Json:
        """Write the verdict of an attempt and take its marker off the spool."""
        path = self._path(request)
        folder = self._folder(path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        write_whole(os.path.join(folder, "verdict.json"), json.dumps(request["verdict"], sort_keys=True) + "\n")
        self._launch_errors.pop(path, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._marker(path))
        if self._helpers.has("provenance") and os.path.exists(self._notes_marker(path)):
            self._see_to_notes()  # whoever was at it when the attempt started may be gone
        return {"settled": True}

    @staticmethod
    def _write_file(request: Json) -> Json:
        """Write a whole file (an absolute path, or one from `~`), making its folders."""
        path = os.path.expanduser(str(request["path"]))
        if not os.path.isabs(path):
            raise Refused(f"not an absolute path: {path}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_whole(path, request["text"], 0o666, durable=True)
        return {"written": True}

    def _read_log(self, request: Json) -> Json:
        """A piece of a log from `offset` (negative: from its end); the reply's `offset` is where to go on.

        An offset past the end means that the log was truncated: it is read from its start."""
        path = os.path.join(self._folder(self._path(request)), "log")
        limit = int(request.get("max_bytes") or LOG_TAIL_BYTES)
        offset = int(request.get("offset") or 0)
        try:
            with open(path, "rb") as log:
                size = os.fstat(log.fileno()).st_size
                offset = max(0, size + offset) if offset < 0 else 0 if offset > size else offset
                log.seek(offset)
                data = log.read(limit)
        except FileNotFoundError:
            return {"text": "", "offset": 0, "size": 0}
        whole = complete_text(data)
        return {"text": whole.decode("utf-8", "replace"), "offset": offset + len(whole), "size": size}

    # records and files that are brought elsewhere

    def _records(self, request: Json) -> Json:
        """The JSON records in all attempt folders of a job, as they are: {number: {name: [text, time]}}.

        `names`: others than those that tell what became of it."""
        project, _, job = str(request.get("job")).partition("/")
        self._path({"path": f"{project}/{job}/1"})
        root = os.path.join(self.state, "attempts", project, job)
        found: Json = {}
        for number in folders_in(root):
            files = {}
            for name in request.get("names") or ("intent.json", "started.json", "exit.json", "verdict.json"):
                if "/" in name:
                    raise Refused(f"not the name of a record: {name!r}")
                read = read_file(os.path.join(root, number, name), RECORD_MAX_BYTES)
                if read is not None:
                    files[name] = [read[0].decode("utf-8", "replace"), read[1]]
            found[number] = files
        return {"records": found, "folder": wire_text(root)}

    def _list_files(self, request: Json) -> Json:
        """The files that match patterns: [number of the pattern, names, size, mtime_ns, inode, mode] each.

        `names` lead from the pattern's fixed beginning (its entry in `bases`) to the file. A folder that matches stands
        for all files below it, an empty one for itself. `log` is that of the attempt `path`, as [path, size, ...],
        and `notes` are what it ran with."""
        cwd, globber = host_text(request["cwd"]), Globber()
        files: List[List[Any]] = []
        bases, matched = [], []
        for number, pattern in enumerate(request.get("patterns") or []):
            wanted = resolve(cwd, host_text(pattern))
            base, _ = split_pattern(wanted)
            found = globber.find("/", wanted)
            for path, stat in found:
                for each, about in files_below(path, stat):
                    files.append([number, names_below(each, base), *stamp(about)])
            if len(files) > FILES_LIMIT:
                raise Refused(f"{pattern} matches more than {FILES_LIMIT} files, which are too many to bring elsewhere")
            bases.append(wire_text(base))
            matched.append(bool(found))
        reply: Json = {"files": files, "bases": bases, "matched": matched, "cwd": wire_text(resolve(cwd, ""))}
        if request.get("path"):
            log = os.path.join(self._folder(self._path(request)), "log")
            self._await_notes(self._path(request))
            with contextlib.suppress(FileNotFoundError):
                reply["log"] = [wire_text(log), *stamp(os.stat(log))]
            notes = [os.path.join(os.path.dirname(log), name) for name in PROVENANCE_FILES]
            reply["notes"] = [[wire_text(path), *stamp(os.stat(path))] for path in notes if os.path.exists(path)]
        return reply

    @staticmethod
    def _read_pieces(request: Json) -> Json:
        """Pieces of files, [path, offset, length] each, one behind the other in `blob`.

        `read` says of each how many bytes it has and what its file is now: [length, [size, mtime_ns, inode, mode]];
        null for a file that is not there any more."""
        blobs: List[bytes] = []
        read: List[Any] = []
        for path, offset, length in request["pieces"]:
            try:
                with open_regular(host_text(path)) as file:
                    file.seek(offset)
                    blobs.append(file.read(length))
                    read.append([len(blobs[-1]), stamp(os.fstat(file.fileno()))])
            except FileNotFoundError:
                read.append(None)
        return {"blob": b"".join(blobs), "read": read}

    @staticmethod
    def _digest_files(request: Json) -> Json:
        """The SHA-256 of the first so many bytes of files, [path, bytes] each; null for one that is not there."""
        digests: List[Optional[str]] = []
        for path, length in request["files"]:
            try:
                with open_regular(host_text(path)) as file:
                    digests.append(digest_of(file, length))
            except FileNotFoundError:
                digests.append(None)
        return {"digests": digests}

    @staticmethod
    def _begin_files(request: Json) -> Json:
        """What is there of files to be written, [path, size] each: [the SHA-256 of a whole file of that size,
        the bytes of a part that an earlier try left, its SHA-256, its disk]. `free`: bytes a disk. Makes `folders`."""
        root = request.get("root")
        for folder in request.get("folders") or []:
            make_folders(target_path(folder, root))
        found: List[Any] = []
        free: Dict[str, Optional[int]] = {}
        disks: Dict[str, str] = {}
        wholes: Set[str] = set()
        for path, size in request["files"]:
            target = target_path(path, root)
            folder = os.path.dirname(target)
            whole = None
            if os.path.isfile(target) and os.stat(target).st_size == size:
                with open_regular(target) as file:
                    whole = digest_of(file, size)
                    os.fsync(file.fileno())
                wholes.add(folder)
            if folder not in disks:
                there = existing_folder(folder)
                disks[folder] = str(os.stat(there).st_dev)
                free[disks[folder]] = free_bytes(there)
            found.append([whole, *existing_part(part_of(target), size), disks[folder]])
        for folder in sorted(wholes):
            sync_folder(folder)  # whoever put them there may have failed to, and they are not sent again
        return {"files": found, "free": free}

    @staticmethod
    def _write_pieces(request: Json) -> Json:
        """Write pieces of files, [path, offset, length] each, whose bytes stand in `blob` one behind the other.

        Then `finish` files, [path, size, sha256, mtime_ns, mode] each: those that are whole get their name, the others
        are thrown away and named in `damaged`."""
        root, at = request.get("root"), 0
        blob = memoryview(request.get("blob") or b"")
        for path, offset, length in request["pieces"]:
            write_piece(target_path(path, root), offset, blob[at : at + length])
            at += length
        rows = request.get("finish") or []
        return {"damaged": finish_files([(target_path(row[0], root), row) for row in rows])}


# --- what is asked before the work begins

NEEDED_PROGRAMS = ("bash", "flock", "setsid")
SETUP_DEADLINE_S = 40.0


def told(read: Callable[[], Json]) -> Json:
    """A fact, or why it could not be read."""
    try:
        return read()
    except (OSError, ValueError) as error:
        return {"unknown": str(error)}


def folder_facts(path: str) -> Json:
    """Whose folder it is, its mode, and what kind of disk it, or the nearest folder above it, is on. Raises OSError."""
    there = existing_folder(path)
    stat = os.stat(there)
    point, kind = mount_of(there)
    return {
        "path": path,
        "exists": there == path,
        "mode": stat.st_mode & 0o7777,
        "mine": stat.st_uid == os.getuid(),
        "owner": user_name(stat.st_uid),
        "disk": kind,
        "mount": point,
    }


def mount_of(path: str) -> Tuple[str, str]:
    """Where the disk that a path is on is mounted, and its type. Raises OSError."""
    real = os.path.realpath(path)
    best = ("", "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), before.split()[4])
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, after.split()[0])
    return best


def working_folder_problem(path: str) -> str:
    """Why jobs cannot work in a folder; empty when they can."""
    where = resolve("", path)
    if not os.path.isdir(where):
        return f"{where} is not a folder" if os.path.lexists(where) else f"there is no folder {where}"
    return "" if os.access(where, os.R_OK | os.X_OK) else f"{where} may not be entered"


def inotify_facts() -> Json:
    """The kernel's limits for this user, and how many instances its processes have. Raises OSError, ValueError."""
    facts: Json = {"instances": 0}
    for name in ("max_user_watches", "max_user_instances"):
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            facts[name] = int(file.read())
    for entry in os.listdir("/proc"):
        if entry.isdigit() and owner_of(int(entry)) == os.getuid():
            with contextlib.suppress(OSError):  # it ended meanwhile, or may not be looked at
                for descriptor in os.listdir(f"/proc/{entry}/fd"):
                    facts["instances"] += os.readlink(f"/proc/{entry}/fd/{descriptor}") == "anon_inode:inotify"
    return facts


def start_login_tools(user: str) -> Dict[str, Child]:
    """Ask the login manager, where there is one."""
    if not os.path.isdir("/run/systemd/system"):
        return {}
    return {
        "linger": Child(["loginctl", "show-user", user, "-p", "Linger"]),
        "ends_processes": Child(["loginctl", "show-session", "-p", "KillUserProcesses"]),
    }


def login_facts(tools: Dict[str, Child], user: str) -> Json:
    """What becomes of this user's processes after a logout; null where the login manager does not say."""
    collect(tools.values(), 5.0)
    facts: Json = {"systemd": bool(tools)}
    for name, child in tools.items():
        said = re.search(r"=(yes|no)\s*\Z", child.text) if child.exit_code == 0 else None
        facts[name] = said.group(1) == "yes" if said else None
    if facts.get("linger", True) is None:  # it does not know users who are not logged in
        facts["linger"] = os.path.exists(f"/var/lib/systemd/linger/{user}")
    return facts


def set_up(batch: List[Tuple[str, str]], folder: str, until: float) -> Json:
    """Run scripts that set environments up, side by side; what came of each, by key."""
    children = {}
    for key, script in batch:
        place = os.path.join(folder, hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
        os.mkdir(place)
        path = os.path.join(place, "setup.sh")
        write_whole(path, script, 0o700)  # in no command line, where everyone could read its variables
        shell = "bash" if shutil.which("bash") else "sh"
        children[key] = (place, Child([shell, path], "/", dict(job_environment(), EXQ_ATTEMPT_DIR=place)))
    collect([child for _, child in children.values()], until - time.monotonic())
    return {key: setup_facts(place, child) for key, (place, child) in children.items()}


def setup_facts(place: str, child: Child) -> Json:
    """What came of one of them."""
    if child.timed_out:
        return {"unknown": f"setting it up took longer than {SETUP_DEADLINE_S:g} s"}
    try:
        said = read_file(os.path.join(place, "setup_failed"), 4096)
    except Unreadable as error:
        return {"unknown": str(error)}
    lines = [line.strip() for line in child.text.splitlines() if line.strip()]
    if said:
        return {"problem": first_line(said[0].decode("utf-8", "replace")) or "it did not say why"}
    if child.exit_code != 0:
        return {"problem": f"setting it up ended with exit code {child.exit_code}: {(lines or ['no word'])[-1][:500]}"}
    return {"problem": ""}


# --- files that are brought elsewhere


def wire_text(path: str) -> str:
    """A path of this host for the other end: its bytes count, whatever encoding the two hosts speak."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def host_text(text: Any) -> str:
    """A path from the other end, for this host."""
    return os.fsdecode(str(text).encode("utf-8", "surrogateescape"))


def stamp(stat: os.stat_result) -> List[int]:
    """What changes when a file does, and its mode."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_mode]


def components(path: str) -> List[str]:
    """The names in a path, without those that lead nowhere."""
    return [name for name in path.split("/") if name not in ("", ".")]


def split_pattern(wanted: str) -> Tuple[str, List[str]]:
    """The beginning of an absolute pattern that holds no star, and the components from its first star on."""
    names = components(wanted)
    count = next((number for number, name in enumerate(names) if is_pattern(name)), len(names))
    return ("/" if wanted.startswith("/") else "") + "/".join(names[:count]), names[count:]


def names_below(path: str, base: str) -> str:
    """How a path goes on behind its beginning `base`; empty for `base` itself."""
    names, above = components(path), components(base)
    if names[: len(above)] != above:
        raise Refused(f"{path} is not below {base}")
    return wire_text("/".join(names[len(above) :]))


def files_below(path: str, stat: os.stat_result) -> Iterator[Tuple[str, os.stat_result]]:
    """A file itself; the files below a folder, or the folder when it is empty. Links to folders are not followed, and
    what is no file (a socket, a device) is passed over. Raises OSError."""
    waiting = [(path, stat)]
    while waiting:
        path, stat = waiting.pop()
        if stat_bits.S_ISREG(stat.st_mode):
            yield path, stat
        elif stat_bits.S_ISDIR(stat.st_mode):
            with os.scandir(path) as entries:
                inside = [entry for entry in entries if not PART_NAME.match(entry.name)]
            if not inside:
                yield path, stat
            for entry in inside:
                with contextlib.suppress(FileNotFoundError):  # a broken link, or one that went away meanwhile
                    if not (entry.is_symlink() and entry.is_dir()):
                        waiting.append((entry.path, entry.stat()))


def open_regular(path: str) -> Any:
    """A file to read; one that is now a pipe would keep its reader for ever, and is refused. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat_bits.S_ISREG(os.fstat(fd).st_mode):
        return open(fd, "rb", buffering=0)
    os.close(fd)
    raise Refused(f"{path} is not a file any more")


def digest_of(file: Any, length: int) -> str:
    """SHA-256 of the next so many bytes of an open file, or of as many as there are, in hex."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(max(length, 1), 1 << 20)))
    while length > 0:
        count = file.readinto(buffer[: min(length, len(buffer))])
        if not count:
            break
        digest.update(buffer[:count])
        length -= count
    return digest.hexdigest()


def target_path(text: Any, root: Any) -> str:
    """Where a file is to be written: absolute or in the home (`~`), and with a `root` nowhere but below that."""
    path = os.path.expanduser(host_text(text))
    if not os.path.isabs(path) or "\0" in path:
        raise Refused(f"not an absolute path: {path!r}")
    if root is None:
        return path
    above = os.path.expanduser(host_text(root))
    inside = os.path.realpath(os.path.dirname(path)) + "/"
    if ".." in path.split("/") or not inside.startswith(os.path.realpath(above).rstrip("/") + "/"):
        raise Refused(f"{path} would be written outside {above}: a link or `..` leads there")
    return path


def make_folders(path: str) -> None:
    """Make a folder and those above it, so that they survive a power failure."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folders(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_folder(above)


def up_to_home(path: str) -> Iterator[str]:
    """A folder and those above it, to the home folder or the top."""
    home = os.path.expanduser("~")
    while True:
        yield path
        above = os.path.dirname(path)
        if path in (above, home):
            return
        path = above


def free_bytes(folder: str) -> Optional[int]:
    """What its disk has room for; None where the disk does not say."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def part_of(path: str) -> str:
    """Where a file is gathered until it is whole."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".exq-{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part")


def existing_part(part: str, size: int) -> Tuple[int, Optional[str]]:
    """How many bytes of a file of that size an earlier try left, and their SHA-256."""
    with contextlib.suppress(FileNotFoundError), open_regular(part) as file:
        length = os.fstat(file.fileno()).st_size
        if 0 < length <= size:
            return length, digest_of(file, length)
    return 0, None


@contextlib.contextmanager
def locked_part(path: str, fresh: bool) -> Iterator[Any]:
    """The part of a file, open, and nobody else's meanwhile: after a lost connection two agents may be at it."""
    part = part_of(path)
    try:
        fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if fresh else 0), 0o600)
    except FileNotFoundError:
        raise Refused(f"the part of {path} is not there any more") from None
    with open(fd, "rb+", buffering=0) as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another agent is writing {path}") from None
        except OSError as error:
            if error.errno not in NO_LOCKS_ERRORS:
                raise
        if not os.path.exists(part) or not os.path.samestat(os.stat(part), os.fstat(fd)):
            raise Refused(f"another agent has just written {path}")
        try:
            yield file
        except OSError as error:
            error.filename = error.filename or path
            if error.errno in DISK_FULL_ERRORS:
                with contextlib.suppress(OSError):
                    os.unlink(part)  # the room it takes is needed by jobs
            raise


def write_piece(path: str, offset: int, data: memoryview) -> None:
    """Add a piece to the part of a file. What stands behind `offset` is of another try, and goes."""
    if offset == 0:
        make_folders(os.path.dirname(path))
    with locked_part(path, fresh=offset == 0) as file:
        if os.fstat(file.fileno()).st_size < offset:
            raise Refused(f"a piece of {path} before this one is missing")
        file.truncate(offset)
        file.seek(offset)
        while data:
            data = data[file.write(data) :]


def finish_files(rows: List[Tuple[str, List[Any]]]) -> List[str]:
    """Check whole parts and give them their names, durably. The damaged ones are thrown away, and returned."""
    damaged, good = [], []
    with contextlib.ExitStack() as locks:
        for target, (path, size, sha256, mtime_ns, mode) in rows:
            file = locks.enter_context(locked_part(target, fresh=False))
            if os.fstat(file.fileno()).st_size != size or digest_of(file, size) != sha256:
                os.unlink(part_of(target))
                damaged.append(path)
                continue
            os.fchmod(file.fileno(), mode & 0o755 | 0o400)
            os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
            good.append((file, target))
        sync_files([file.fileno() for file, _ in good])
        try:
            for _, target in good:
                os.rename(part_of(target), target)
        finally:
            for folder in sorted({os.path.dirname(target) for _, target in good}):
                sync_folder(folder)
    return damaged


def sync_files(fds: List[int]) -> None:
    """Write files to the disk, several at a time: it then takes a fraction of the time. Raises OSError."""
    if len(fds) < 2:
        for fd in fds:
            os.fsync(fd)
        return
    from concurrent import futures  # slow to import, and seldom needed

    with futures.ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
        for _ in pool.map(os.fsync, fds):
            pass


# --- texts


def complete_text(data: bytes) -> bytes:
    """Without a character cut off at the end, which the next read will complete."""
    for cut in range(1, min(4, len(data)) + 1):
        byte = data[-cut]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-cut] if needed > cut and len(data) > cut else data
        if byte < 0x80:
            break
    return data


# --- at the other end of a connection

IDLE_EXIT_S = 600.0
SPOOL_POLL_S = 0.5
FRAME_MAX_BYTES = 1 << 28
IN_CREATE, IN_MOVED_TO = 0x100, 0x80


class SpoolWatch:
    """Notices at once that an attempt has ended: inotify where it is to be had, else a look twice a second."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._libc: Any = None
        self.fd: Optional[int] = None
        self._watched = False
        self._names: Set[str] = set()
        try:
            import ctypes

            self._libc = ctypes.CDLL(None, use_errno=True)
            fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self.fd = fd if fd >= 0 else None
        except (ImportError, OSError, AttributeError):
            self.fd = None

    def arm(self) -> None:
        """Begin to watch, as soon as the folder is there."""
        if self.fd is not None and not self._watched and os.path.isdir(self._folder):
            wanted = IN_CREATE | IN_MOVED_TO
            self._watched = self._libc.inotify_add_watch(self.fd, os.fsencode(self._folder), wanted) >= 0

    @property
    def poll_s(self) -> float:
        return IDLE_EXIT_S if self._watched else SPOOL_POLL_S

    def changed(self) -> bool:
        """Whether markers have appeared since the last call, also those that another controller has taken away."""
        appeared = False
        if self._watched and self.fd is not None:
            with contextlib.suppress(BlockingIOError):
                while os.read(self.fd, 1 << 16):
                    appeared = True
        try:
            names: Set[str] = set(os.listdir(self._folder))
        except OSError:
            return appeared
        fresh = bool(names - self._names)
        self._names = names
        return appeared or fresh


class Connection:
    """Frames on two file descriptors: a line with two lengths, a JSON object, and bytes."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = bytearray()

    def fill(self) -> bool:
        """Read what is there. False at the end."""
        chunk = os.read(self._read_fd, 1 << 18)
        self._buffer += chunk
        return bool(chunk)

    def next(self) -> Optional[Json]:
        """The next whole request, its bytes as `blob`; None when more has to come."""
        end = self._buffer.find(b"\n", 0, 64)
        if end < 0:
            if len(self._buffer) >= 64:
                raise ValueError("no frame")
            return None
        text_bytes, blob_bytes = (int(word) for word in self._buffer[:end].split())
        if not 0 <= text_bytes + blob_bytes <= FRAME_MAX_BYTES:
            raise ValueError("a frame too long")
        whole = end + 1 + text_bytes + blob_bytes
        if len(self._buffer) < whole:
            return None
        request = json.loads(bytes(self._buffer[end + 1 : end + 1 + text_bytes]).decode("utf-8"))
        if blob_bytes:
            request["blob"] = bytes(self._buffer[end + 1 + text_bytes : whole])
        del self._buffer[:whole]
        return request  # type: ignore[no-any-return]

    def send(self, message: Json) -> None:
        blob = message.pop("blob", b"")
        text = json.dumps(message).encode("utf-8")
        data = memoryview(b"%d %d\n" % (len(text), len(blob)) + text + blob)
        while data:
            data = data[os.write(self._write_fd, data) :]


def default_state() -> str:
    """Where a host keeps the state of attempts when nobody says otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "exq")


def start_agent(request: Json) -> Tuple[Optional["Agent"], Json]:
    """The agent that the first request asks for, and the reply to it."""
    if request.get("op") != "start" or request.get("wire") != VERSION:
        return None, {"error": "the agent is of another version than its controller", "kind": "refused"}
    state = os.path.expanduser(request.get("state") or default_state())
    try:
        make_folders(state)  # durably: without it, after a power failure, nothing tells what becomes of an attempt
        found = os.stat(state)
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            text = f"others may write to the state folder {state}: chmod 700 {state} (it says what runs as you)"
            return None, {"error": text, "kind": "refused"}
        os.chmod(state, 0o700)
    except OSError as error:
        kind = "disk_full" if error.errno in DISK_FULL_ERRORS else "failed"
        return None, {"error": f"the state folder {state} cannot be made: {error.strerror}", "kind": kind}
    programs = {"screen": os.environ.get("SCREEN"), "nvidia_smi": os.environ.get("NVIDIA_SMI")}
    agent = Agent(state, {**programs, **(request.get("settings") or {})})
    return agent, agent.handle({"op": "hello"})


def serve(read_fd: int, write_fd: int) -> None:
    """Answer requests until the connection ends or nothing is heard any more. What was started lives on."""
    out = os.dup(write_fd)
    os.set_inheritable(out, False)
    os.dup2(2, write_fd)  # so that nothing else gets between the frames
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.write(out, b"\nEXQ-AGENT %d\n" % VERSION)
    connection = Connection(read_fd, out)
    agent: Optional[Agent] = None
    watch: Optional[SpoolWatch] = None
    heard_at = time.monotonic()
    while time.monotonic() - heard_at < IDLE_EXIT_S:
        request = connection.next()
        if request is None:
            watched = [watch.fd] if watch and watch.fd is not None else []
            ready = select.select([read_fd, *watched], [], [], watch.poll_s if watch else IDLE_EXIT_S)[0]
            if watch and watch.changed():
                connection.send({"event": "spool"})
            if read_fd in ready and not connection.fill():
                return
            continue
        heard_at = time.monotonic()
        number = request.pop("id", 0)
        if agent is None:
            agent, reply = start_agent(request)
            watch = SpoolWatch(os.path.join(agent.state, "spool")) if agent else None
        else:
            reply = agent.handle(request)
        connection.send(dict(reply, id=number))
        heard_at = time.monotonic()  # an answer may have taken longer than an idle agent lives
        if agent is None or watch is None:
            return
        watch.arm()
        if watch.changed():  # while it was being answered: the answer may not tell of it
            connection.send({"event": "spool"})


if __name__ == "exq_agent":
    try:
        serve(0, 1)
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
