"""Notes what attempts ran with, beside them and without hurry: python provenance.py STATE.

For each marker in <state>/provenance/queue it writes `provenance.json` into the attempt's folder, with `code.patch` and
`environment.json` where there is something to put into them, and takes the marker away. One such process works on a
state folder at a time. It uses the standard library only and runs on Python 3.6: it is sent to where the jobs run.

Nothing in here can fail a job: what cannot be found out is said in the record as a `problem`.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import selectors
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

GIT_DEADLINE_S = 20.0
LISTING_DEADLINE_S = 20.0
PATCH_MAX_BYTES = 10 << 20
ANSWER_MAX_BYTES = 16 << 20
LISTED_MAX = 200
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 1.0
SHARE = 10
"""Pauses are so many times as long as the work: it takes a tenth of a core at most, however many jobs start."""
SILENT_S = 600.0
"""How long a job may take to say which environment it runs in; setting one up may be slow."""
UNUSED_S = 3600.0
RELISTED_S = 30 * 86400.0
READ_MAX_BYTES = 1 << 20
COMPLAINT_MAX_BYTES = 1 << 16
DYING_S = 1.0

# In the job's own interpreter, whichever it is. Nothing of the folder that it is called in is imported.
LISTING = """
import sys
sys.path = [p for p in sys.path if p]
import json
implementation = getattr(getattr(sys, "implementation", None), "name", "")
print(json.dumps({"version": sys.version.split()[0], "implementation": implementation, "prefix": sys.prefix,
                  "executable": sys.executable, "path": sys.path}))
"""

Json = Dict[str, Any]


class Problem(Exception):
    """Something cannot be found out; the text says why."""


# --- files


def read_json(path: str) -> Optional[Json]:
    """The object in a file; None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(READ_MAX_BYTES))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_whole(path: str, data: bytes) -> None:
    """Write under a temporary name, then rename: nobody reads half of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    os.rename(temporary, path)


def write_record(folder: str, record: Json) -> None:
    write_whole(os.path.join(folder, "provenance.json"), json.dumps(record, sort_keys=True).encode("ascii") + b"\n")


def listed(folder: str) -> List[str]:
    """The names in a folder; none where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def first_line(text: str) -> str:
    return next((line.strip()[:500] for line in text.splitlines() if line.strip()), "")


class Shelf:
    """Files that many attempts have alike (an environment, a patch), kept once, and linked into their folders."""

    def __init__(self, folder: str, ending: str) -> None:
        self._folder = folder
        self._ending = ending
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep them; their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            write_whole(self._path(digest), data)
        return digest

    def has(self, digest: str) -> bool:
        return os.path.exists(self._path(digest))

    def read(self, digest: str) -> bytes:
        with open(self._path(digest), "rb") as file:
            return file.read()

    def give(self, digest: str, path: str) -> None:
        """Put the file at a path, too: as a link where the disk has links."""
        try:
            try:
                os.link(self._path(digest), path)
            except FileExistsError:  # of an earlier try
                os.unlink(path)
                os.link(self._path(digest), path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV):
                raise
            write_whole(path, self.read(digest))

    def clear(self) -> None:
        """Throw away what no attempt has any more."""
        for name in listed(self._folder):
            path = os.path.join(self._folder, name)
            with contextlib.suppress(OSError):
                stat = os.stat(path)
                if stat.st_nlink == 1 and time.time() - stat.st_mtime > UNUSED_S:
                    os.unlink(path)

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, digest + self._ending)


# --- programs


def run(argv: List[str], cwd: str, env: Dict[str, str], until: float, limit: int) -> Tuple[int, bytes, str, bool]:
    """The exit code, the output, the complaints, and whether the output was longer than `limit` and was cut off.

    Raises Problem when it is missing or has not ended by `until` (monotonic)."""
    name = os.path.basename(argv[0])
    quiet = subprocess.DEVNULL
    try:
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.isdir(cwd):
            raise Problem(f"{name} is not installed on this host") from None
        raise Problem(f"{name} cannot be run in {cwd}: {error.strerror}") from None
    try:
        text, complaint = read_all(child, until, limit)
        if len(text) <= limit:
            child.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Problem(f"{name} gave no answer in time") from None
    finally:
        end(child)
    return child.returncode, bytes(text[:limit]), complaint.decode("utf-8", "replace"), len(text) > limit


def read_all(child: Any, until: float, limit: int) -> Tuple[bytearray, bytearray]:
    """The output, at most a little more than `limit`, and the beginning of the complaints. Raises TimeoutExpired."""
    text, complaint = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, gathered in ((child.stdout, text), (child.stderr, complaint)):
            selector.register(stream, selectors.EVENT_READ, gathered)
        while selector.get_map() and len(text) <= limit:
            left_s = until - time.monotonic()
            ready = selector.select(left_s) if left_s > 0 else []
            if not ready:
                raise subprocess.TimeoutExpired(child.args, 0)
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            del complaint[COMPLAINT_MAX_BYTES:]
    return text, complaint


def end(child: Any) -> None:
    """Kill it with all it started, unless it has ended. What cannot even be killed is left behind."""
    for stream in (child.stdout, child.stderr):
        stream.close()
    if child.returncode is None:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(DYING_S)


# --- the code


def repository_of(path: str) -> Optional[str]:
    """The work tree that a folder is in, without asking git."""
    while True:
        if os.path.lexists(os.path.join(path, ".git")):
            return path
        above = os.path.dirname(path)
        if above == path:
            return None
        path = above


class Git:
    """One look at one repository, all of it before a deadline."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._until = time.monotonic() + GIT_DEADLINE_S
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        # only looking must not get in the way of the user's own git commands, nor run anything of the repository
        self._env.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C")

    def ask(self, *arguments: str, limit: int = ANSWER_MAX_BYTES) -> Tuple[bytes, bool]:
        """What it prints, and whether that was cut off. Raises Problem."""
        argv = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
        code, text, complaint, cut = run(argv, self._root, self._env, self._until, limit)
        if code != 0 and not cut:
            raise Problem(f"git: {first_line(complaint) or f'it ended with exit code {code}'}")
        return text, cut


def look_at_code(root: str, untracked: bool) -> Json:
    """The commit and the changes in a work tree. The patch is under `patch_bytes`, which is no JSON. Raises Problem."""
    git = Git(root)
    facts: Json = {"root": root, "looked_at": time.time()}
    others = "normal" if untracked else "no"
    text, cut = git.ask("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=" + others)
    facts.update(read_status(root, text))
    if cut:
        facts["cut_off"] = True
    if facts["dirty"]:
        facts.update(patch_of(git, facts["commit"]))
    with contextlib.suppress(Problem):  # most have one, it need not be
        url = git.ask("config", "--get", "remote.origin.url")[0].decode("utf-8", "replace").strip()
        facts["remote"] = without_password(url)
    return facts


_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_WITHOUT_PASSWORD = ("file", "ssh", "git+ssh", "ssh+git", "git")
"""Schemes whose paths may hold an `@` like any other character."""


def without_password(url: str) -> str:
    """An address that says nothing of who may use it."""
    found = _ADDRESS.match(url)
    if found is None:
        return url
    scheme, authority, rest = found.groups()
    if scheme.lower() in _WITHOUT_PASSWORD:
        return f"{scheme}://{authority.rpartition('@')[2]}{rest}"
    return f"{scheme}://{(authority + rest).rpartition('@')[2]}"  # all before an `@` may be a part of a password


def read_status(root: str, text: bytes) -> Json:
    """What `git status --porcelain=v2 --branch -z` says."""
    facts: Json = {"commit": None, "branch": None}
    changes: List[List[str]] = []
    untracked: List[List[Any]] = []
    entries = iter(text.split(b"\0"))
    for entry in entries:
        kind, _, rest = entry.decode("utf-8", "surrogateescape").partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            if name == "branch.oid":
                facts["commit"] = None if value == "(initial)" else value
            elif name == "branch.head":
                facts["branch"] = None if value == "(detached)" else value
        elif kind in ("1", "2", "u"):
            fields = rest.split(" ", {"1": 7, "2": 8, "u": 9}[kind])
            changes.append([fields[0].replace(".", " "), readable(fields[-1])])
            if kind == "2":
                next(entries, None)
        elif kind == "?":
            untracked.append([readable(rest), size_of(os.path.join(root, rest))])
    facts.update(
        dirty=bool(changes),
        changes=changes[:LISTED_MAX],
        changes_count=len(changes),
        untracked=untracked[:LISTED_MAX],
        untracked_count=len(untracked),
    )
    return facts


def readable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def size_of(path: str) -> Optional[int]:
    """The bytes of a file; None for a folder, or where it went away."""
    try:
        return None if path.endswith("/") else os.lstat(path).st_size
    except OSError:
        return None


def patch_of(git: Git, commit: Optional[str]) -> Json:
    """What `git apply` turns the commit into what was there."""
    if commit is None:
        return {"patch": {"left_out": "there is no commit yet that a patch could be applied to"}}
    arguments = ["--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty"]
    arguments += ["--full-index", "--src-prefix=a/", "--dst-prefix=b/"]
    try:
        text, cut = git.ask("-c", "diff.relative=false", "diff", *arguments, "HEAD", limit=PATCH_MAX_BYTES)
    except Problem as problem:
        return {"patch": {"left_out": str(problem)}}
    if cut:
        return {"patch": {"left_out": f"it is larger than {PATCH_MAX_BYTES >> 20} MiB"}}
    if not text:
        return {"patch": {"left_out": "only submodules have changes, which a patch cannot hold"}}
    return {"patch_bytes": text}


def changed_after(facts: Json, started_at: float) -> List[str]:
    """Which of the changed files were written after the attempt was started, so that it may have read other ones."""
    found = []
    for _, path in facts.get("changes", []):
        with contextlib.suppress(OSError):
            if os.lstat(os.path.join(facts["root"], path)).st_mtime > started_at:
                found.append(path)
    with contextlib.suppress(OSError):
        if os.stat(os.path.join(facts["root"], ".git", "logs", "HEAD")).st_mtime > started_at:
            found.append("HEAD")
    return found


# --- the environment

_NOTES = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
_DIST = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info\Z")


def notes_of(folder: str) -> Optional[Dict[str, str]]:
    """What job.sh noted before its command; None before that."""
    try:
        with open(os.path.join(folder, "environment.txt"), encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(READ_MAX_BYTES)
    except OSError:
        return None
    notes = dict(reversed(_NOTES.findall(text)))
    return notes if text.endswith("end\n") else None


def python_in(notes: Dict[str, str], cwd: str) -> Tuple[List[str], str]:
    """The words that call the job's python, and the folder to call it in. Raises Problem."""
    if notes.get("asked"):  # `uv run` and the like: they choose it
        return ["sh", "-c", notes["asked"] + ' "$@"', "sh", "python"], cwd
    python = notes.get("python") or ""
    if "/" not in python:
        raise Problem(f"{python} is no program" if python else "there is no python in it")
    return [os.path.join(cwd, python)], cwd


class Environments:
    """What is installed in an environment, found out once until something in it changes."""

    def __init__(self, folder: str, shelf: Shelf) -> None:
        self._folder = folder
        self._shelf = shelf
        self._seen: Dict[Tuple[str, ...], Json] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def clear(self) -> None:
        """What was known so long ago is found out anew."""
        for path in [os.path.join(self._folder, name) for name in listed(self._folder)]:
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime > RELISTED_S:
                    os.unlink(path)

    def forget(self) -> None:
        """Look anew whether something has changed."""
        self._seen.clear()

    def find(self, python: List[str], cwd: str, conda: str) -> Json:
        """{"sha256" of the listing, "version", "executable", "packages": how many}. Raises Problem.

        `python`: the words that call it."""
        key = (*python, cwd, conda)
        if key not in self._seen:
            self._seen[key] = self._find(python, cwd, conda)
        return self._seen[key]

    def _find(self, python: List[str], cwd: str, conda: str) -> Json:
        name = hashlib.sha256(os.fsencode("\0".join([*python, cwd, conda]))).hexdigest()[:32]
        path = os.path.join(self._folder, name + ".json")
        known = read_json(path)
        if known and known.get("watched") == stamps(known.get("watched") or []) and self._shelf.has(known["sha256"]):
            return {name: known[name] for name in ("sha256", "version", "executable", "packages")}
        listing, watched = list_environment(python, cwd, conda)
        digest = self._shelf.put(json.dumps(listing, sort_keys=True, indent=0).encode("ascii") + b"\n")
        about = listing["python"]
        found = {"sha256": digest, "version": about["version"], "executable": about["executable"]}
        found["packages"] = len(listing["packages"])
        write_whole(path, json.dumps(dict(found, watched=stamps([[each] for each in watched]))).encode("ascii"))
        return found


def stamps(watched: List[List[Any]]) -> List[List[Any]]:
    """Paths, each with what changes when something is installed there."""
    found: List[List[Any]] = []
    for path in (each[0] for each in watched):
        try:
            stat = os.stat(path)
            found.append([path, stat.st_mtime_ns, stat.st_ino])
        except OSError:
            found.append([path, None, None])
    return found


def list_environment(python: List[str], cwd: str, conda: str) -> Tuple[Json, List[str]]:
    """Names and versions of what is installed, and the files that tell when that changes. Raises Problem."""
    # without what leads a python elsewhere, so that one listing holds for all that use it
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    until = time.monotonic() + LISTING_DEADLINE_S
    code, text, complaint, _ = run([*python, "-B", "-c", LISTING], cwd, env, until, READ_MAX_BYTES)
    try:
        about = json.loads(text.decode("utf-8")) if code == 0 else None
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise Problem(f"{python[-1]} does not tell about itself: {first_line(complaint) or 'no JSON came'}")
    folders = [path for path in about.pop("path") if os.path.isdir(path)]
    packages: Dict[str, str] = {}
    sources: Dict[str, str] = {}
    for folder in folders:
        for name, version, source in packages_in(folder):
            if name not in packages:
                packages[name] = version
                if source:
                    sources[name] = source
    listing: Json = {"python": about, "packages": [f"{name}=={version}" for name, version in sorted(packages.items())]}
    if sources:
        listing["sources"] = sources
    program = about["executable"] or python[-1]
    watched = [program, os.path.realpath(program), os.path.join(about["prefix"], "pyvenv.cfg"), *folders]
    watched.append(os.path.join(cwd, ".python-version"))  # some python programs are wrappers that read it
    if conda:
        listing["conda"] = conda_packages(conda)
        watched.append(os.path.join(conda, "conda-meta"))
    return listing, watched


def packages_in(folder: str) -> Iterator[Tuple[str, str, str]]:
    """Name, version, and where it comes from if not from an index."""
    for entry in listed(folder):
        match = _DIST.match(entry)
        if match:
            yield plain_name(match.group("name")), match.group("version"), source_of(os.path.join(folder, entry))
        elif entry.endswith(".egg-info"):  # a package under development
            version = version_in(os.path.join(folder, entry, "PKG-INFO"))
            if version:
                yield plain_name(entry[: -len(".egg-info")]), version, "file://" + folder


def plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version_in(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(r"^Version: *(\S+)", file.read(1 << 16), re.MULTILINE)
    except OSError:
        return ""
    return match.group(1) if match else ""


def source_of(folder: str) -> str:
    """An address with the commit, or a folder, as PEP 610 has it."""
    about = read_json(os.path.join(folder, "direct_url.json"))
    if not about or not isinstance(about.get("url"), str):
        return ""
    commit = (about.get("vcs_info") or {}).get("commit_id")
    return without_password(about["url"]) + (f"@{commit}" if commit else "")


def conda_packages(prefix: str) -> List[str]:
    names = [name[:-5].rsplit("-", 2) for name in listed(os.path.join(prefix, "conda-meta")) if name.endswith(".json")]
    return [f"{name[0]}=={name[1]}" for name in names if len(name) == 3]


# --- attempts


class Notary:
    """Works through the queue of one state folder."""

    def __init__(self, state: str) -> None:
        home = os.path.join(state, "provenance")
        self._attempts = os.path.join(state, "attempts")
        self._queue = os.path.join(home, "queue")
        self._patches = Shelf(os.path.join(home, "patches"), ".patch")
        self._listings = Shelf(os.path.join(home, "environments"), ".json")
        self._environments = Environments(os.path.join(home, "interpreters"), self._listings)
        self._looks: Dict[Tuple[str, bool], Json] = {}

    def clear(self) -> None:
        """Throw away what nobody has any more."""
        self._patches.clear()
        self._listings.clear()
        self._environments.clear()

    def waiting(self) -> List[str]:
        return [name for name in listed(self._queue) if not name.endswith(".tmp")]

    def round(self, names: List[str]) -> bool:
        """Look once at each repository, for all attempts that were started before that. False: nothing can be noted.

        Where the disk is full, say, the markers stay for the next such process."""
        self._looks.clear()
        self._environments.forget()
        begun = [(name, self._safely(name, self._begin, name)) for name in names]
        ended = [self._safely(name, self._finish, name, *found) for name, found in begun if isinstance(found, tuple)]
        failed = sum(isinstance(each, OSError) for each in (*ended, *(found for _, found in begun)))
        return failed < len(names)

    def _safely(self, name: str, step: Callable[..., Any], *arguments: Any) -> Any:
        """What a step comes to, or the OSError that it met."""
        try:
            return step(*arguments)
        except OSError as error:
            return error
        except Exception as error:  # whatever is odd about one attempt, the others behind it in the queue are noted
            return self._give_up(name, f"{type(error).__name__}: {error}")

    def _give_up(self, name: str, why: str) -> Optional[OSError]:
        """Say in the record of an attempt that there will be no more."""
        marker = os.path.join(self._queue, name)
        try:
            with contextlib.suppress(ValueError):  # it names no folder that could be written to
                folder = self._folder_of(marker)[0]
                if os.path.isdir(folder):
                    told = {"schema": "exq.provenance/v1", "host": host_facts()}
                    for part in ("code", "environment"):
                        told[part] = {"problem": f"it cannot be noted: {why[:500]}"}
                    write_record(folder, dict(told, **self._kept(folder)))
            os.unlink(marker)
        except OSError as error:
            return error
        return None

    @staticmethod
    def _kept(folder: str) -> Json:
        """What was noted before, if it can be read."""
        try:
            return read_json(os.path.join(folder, "provenance.json")) or {}
        except RecursionError:
            return {}

    def _folder_of(self, marker: str) -> Tuple[str, float]:
        """The folder of an attempt, and when it was asked for."""
        with open(marker, encoding="utf-8", errors="surrogateescape") as file:
            folder = os.path.join(self._attempts, file.read(READ_MAX_BYTES).strip())
            return folder, os.fstat(file.fileno()).st_mtime

    def _begin(self, name: str) -> Optional[Tuple[str, Json]]:
        marker = os.path.join(self._queue, name)
        folder, started_at = self._folder_of(marker)
        intent = read_json(os.path.join(folder, "intent.json"))
        if intent is None:  # its folder was removed
            os.unlink(marker)
            return None
        record = read_json(os.path.join(folder, "provenance.json")) or {}
        if "code" not in record:
            record = {"schema": "exq.provenance/v1", "asked_at": started_at, "host": host_facts()}
            record["code"] = self._code(folder, intent, started_at)
            if notes_of(folder) is None:
                write_record(folder, record)  # the rest may take a while, and what the code was must not get lost
        return folder, record

    def _code(self, folder: str, intent: Json, started_at: float) -> Json:
        where = str(intent.get("cwd") or "")
        cwd = os.path.realpath(os.path.join(os.path.expanduser("~"), os.path.expanduser(where)))
        root = repository_of(cwd) if os.path.isdir(cwd) else None
        if root is None:
            what = "is in no git repository" if os.path.isdir(cwd) else "is not a folder"
            return {"problem": f"{where or cwd} {what}"}
        pinned = bool(intent.get("commit"))
        key = (root, pinned)
        if key not in self._looks:
            try:
                self._looks[key] = look_at_code(root, untracked=not pinned)
            except Problem as problem:
                self._looks[key] = {"problem": str(problem), "root": root}
        facts = dict(self._looks[key])
        if pinned:
            facts["snapshot"] = True
        patch = facts.pop("patch_bytes", None)
        if patch is not None:
            digest = self._patches.put(patch)
            self._patches.give(digest, os.path.join(folder, "code.patch"))
            facts["patch"] = {"file": "code.patch", "bytes": len(patch), "sha256": digest}
        changed = changed_after(facts, started_at)
        if changed:
            facts["changed_after_start"] = changed[:LISTED_MAX]
        return facts

    def _finish(self, name: str, folder: str, record: Json) -> None:
        """Add the environment, once the job has said which."""
        notes = notes_of(folder)
        if notes is None:
            # in this order: what the job noted before it ended is there
            over = any(os.path.exists(os.path.join(folder, each)) for each in ("exit.json", "verdict.json"))
            notes = notes_of(folder)
            if notes is None and not over and abs(time.time() - record["asked_at"]) < SILENT_S:
                return
        record["environment"] = self._environment(folder, notes)
        write_record(folder, record)
        os.unlink(os.path.join(self._queue, name))

    def _environment(self, folder: str, notes: Optional[Dict[str, str]]) -> Json:
        if notes is None:
            return {"problem": "the job did not come as far as its command"}
        facts: Json = {"conda": None, "venv": notes.get("venv") or None, "python": notes.get("python") or None}
        prefix = notes.get("conda_prefix") or ""
        if prefix:
            facts["conda"] = {"name": notes.get("conda_name") or None, "prefix": prefix}
        runner = notes.get("asked") or notes.get("runner")
        if runner:
            facts["runner"] = runner
        cwd = notes.get("pwd") or "/"
        try:
            python, where = python_in(notes, cwd)
            facts.update(self._environments.find(python, where, prefix))
            self._listings.give(facts["sha256"], os.path.join(folder, "environment.json"))
        except (Problem, OSError, ValueError, KeyError, TypeError) as problem:
            facts["problem"] = str(problem)
        return facts


def host_facts() -> Json:
    facts: Json = {"hostname": platform.node(), "kernel": platform.release(), "machine": platform.machine()}
    with contextlib.suppress(OSError), open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
        match = re.search(r"\b[0-9]{3,}\.[0-9]+(?:\.[0-9]+)?\b", file.read(4096))
        facts["nvidia_driver"] = match.group(0) if match else None
    return facts


def processor_s() -> float:
    """What this process and those it waited for have used: a round on a busy machine takes long and uses little."""
    return sum(os.times()[:4])


def work(state: str) -> None:
    """Until the queue is empty. Ends at once where another process is at it: that one finds what was added."""
    home = os.path.join(state, "provenance")
    os.makedirs(os.path.join(home, "queue"), mode=0o700, exist_ok=True)
    notary = Notary(state)
    notary.clear()
    while notary.waiting():
        lock = os.open(os.path.join(home, "lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while True:
                began_s = processor_s()
                names = notary.waiting()
                if not names:
                    break
                if not notary.round(names):
                    return
                time.sleep(min(PAUSE_MAX_S, max(PAUSE_MIN_S, SHARE * (processor_s() - began_s))))
        except BlockingIOError:
            return
        finally:
            os.close(lock)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(10)
    work(sys.argv[1])
