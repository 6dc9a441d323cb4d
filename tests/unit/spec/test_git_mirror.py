"""The private copy of a remote repository: what a killed git left in it, and a password that nobody sees."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reconciler.spec.git_mirror import FETCHED, STALE_S, Mirror
from reconciler.spec.git_remote import Remote
from reconciler.spec.git_repository import GitProblem, Repository
from tests.unit.spec.gits import ENVIRONMENT, Git, git_init

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    git = git_init(tmp_path / "repo")
    git.commit({"a.yaml": "jobs: []\n"})
    return git


def mirror_of(git: Git, url: str = "") -> Mirror:
    (git.folder.parent / "source").mkdir(exist_ok=True)
    return Mirror(git.folder.parent / "source" / "x.git", Remote(url or f"file://{git.folder}"), "main")


def fetched(mirror: Mirror) -> str:
    return Repository(mirror.folder, private=True).resolve(FETCHED)


def test_what_a_killed_git_left_behind_is_taken_away(git: Git) -> None:
    mirror = mirror_of(git)
    mirror.fetch()
    left = ["objects/pack/tmp_pack_Ab12Cd", "objects/pack/tmp_idx_Ab12Cd", "objects/0a/tmp_obj_Ab12Cd"]
    locks = ["refs/exq/fetched.lock", "packed-refs.lock"]
    for name in (*left, *locks, "objects/tmp_objdir-x/y"):
        path = mirror.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 1000)
    for name in locks:
        past = (mirror.folder / name).stat().st_mtime - STALE_S - 1
        os.utime(mirror.folder / name, (past, past))
    commit = git.commit({"a.yaml": "jobs: [{id: a, cmd: 'true'}]\n"})
    mirror.fetch()
    assert fetched(mirror) == commit
    assert [name for name in (*left, *locks, "objects/tmp_objdir-x") if (mirror.folder / name).exists()] == []


def test_a_lock_of_a_git_that_may_be_at_work_is_left(git: Git) -> None:
    mirror = mirror_of(git)
    mirror.fetch()
    (mirror.folder / "refs/exq/taken.lock").touch()
    mirror.fetch()
    assert (mirror.folder / "refs/exq/taken.lock").exists()


def test_a_fetch_packs_nothing_and_tidying_does(git: Git) -> None:
    mirror = mirror_of(git)
    mirror.fetch()
    for name, value in (("fetch.unpackLimit", "1"), ("gc.autoPackLimit", "1"), ("gc.autoDetach", "false")):
        Git(mirror.folder)("config", name, value)
    for number in range(3):
        git.commit({f"{number}.yaml": f"# {number}\n"})
        mirror.fetch()
    assert len(list((mirror.folder / "objects/pack").glob("*.pack"))) == 3
    mirror.tidy()
    assert len(list((mirror.folder / "objects/pack").glob("*.pack"))) == 1
    assert fetched(mirror) == git("rev-parse", "HEAD")


def test_a_file_system_that_cannot_lock(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(GitProblem, match="cannot be locked: No locks available"):
        mirror_of(git).fetch()


class Guarded(SimpleHTTPRequestHandler):
    """Serves files to those who log in."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] in self.server.logins:  # type: ignore[attr-defined]
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


USER, PASSWORD = "ann", "it's p@ss/%\\\"$HOME"
WRITTEN = "it's p@ss%2F%25\\\"$HOME"


@pytest.fixture
def served(git: Git) -> Iterator[str]:
    """Where the repository is served, without user and password."""
    git("update-server-info")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(git.folder / ".git")))
    server.logins = {"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_password_is_in_no_command_line(
    git: Git, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))  # has every command that git starts, too
    mirror = mirror_of(git, f"http://{USER}:{WRITTEN}@{served}/")
    mirror.fetch()
    assert fetched(mirror) == git("rev-parse", "HEAD")
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    commands = [event["argv"] for event in events if "argv" in event]
    assert any("remote-http" in " ".join(command) for command in commands), "it was git itself that fetched it"
    said = json.dumps(commands)
    assert served in said and "p@ss" not in said and "p@ss" not in (mirror.folder / "FETCH_HEAD").read_text()
    kept = [path for path in mirror.folder.parent.iterdir() if path.is_file() and "p@ss" in path.read_text()]
    assert kept and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)


def test_a_wrong_password_is_said_without_it(git: Git, served: str) -> None:
    with pytest.raises(GitProblem) as raised:
        mirror_of(git, f"http://{USER}:wr@ng@{served}/").fetch()
    assert "Authentication failed" in str(raised.value) and served in str(raised.value)
    assert "wr@ng" not in str(raised.value) and "ng@" not in str(raised.value)


def test_a_user_without_a_password(git: Git, served: str) -> None:
    with pytest.raises(GitProblem) as raised:
        mirror_of(git, f"http://tokenabc@{served}/").fetch()
    assert "could not read Password" in str(raised.value)
    assert "tokenabc" not in str(raised.value)


def test_what_is_to_be_typed_is_quoted(git: Git, tmp_path: Path) -> None:
    with pytest.raises(GitProblem) as raised:
        mirror_of(git, f"file://{tmp_path}/a b>c").fetch()
    assert raised.value.advice == f"try it by hand: git ls-remote 'file://{tmp_path}/a b>c'"


def test_a_server_that_says_nothing_is_no_longer_waited_for_than_is_said(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "sleep 100;:")
    with pytest.raises(GitProblem) as raised:
        mirror_of(git, "ssh://h/x").fetch(silence_s=0.2)
    assert raised.value.message.startswith("it cannot be fetched: git gave no answer within")
    assert raised.value.advice == "try it by hand: git ls-remote ssh://h/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:secret@h/x.git", "https://h/x.git"),
        ("https://ann:p@ss@host", "https://host"),
        ("https://ann:s3c/ret@h/x", "https://h/x"),
        ("https://token@h:8443/x?y#z", "https://h:8443/x?y#z"),
        ("https://h/x", "https://h/x"),
        ("ssh://git@h:22/a@b", "ssh://h:22/a@b"),
        ("file:///srv/a@b", "file:///srv/a@b"),
        ("git@h:a@b/x", "git@h:a@b/x"),
    ],
)
def test_urls_as_they_are_shown(url: str, shown: str) -> None:
    assert Remote(url).shown == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://ann:s3c/ret@h/x", "write %2F for `/`"),
        ("https://ann:p@s/s@h/x", "write %2F for `/`"),
        ("https://ann:s3c?ret@h/x", "write %2F"),
        ("https://h/a@b", "in a path %40 for `@`"),
        ("https://ann:a%0Ab@h/x", "holds a line end"),
        ("ssh://ann:pw@h/x", "ssh takes no password"),
        ("ext::sh -c whoami>/tmp/x", "`ext::` makes git run a program: write https://"),
        ("htps://h/x", "unknown `htps://` in `url`: did you mean `https://`?"),
        ("HTTPS://h/x", "did you mean `https://`?"),
        ("foo://h/x", "unknown `foo://` in `url`: write https://"),
        ("http://h/x", ""),
        ("git://h/x", ""),
        ("../a:b", ""),
        ("/srv/x.git", ""),
        ("https://ann:s3c%2Fret@h/x", ""),
        ("https://ann:p@ss@h/x", ""),
        ("ssh://git@h/a@b", ""),
        ("file:///srv/a@b", ""),
        ("git@h:x", ""),
    ],
)
def test_urls_that_would_be_misunderstood(url: str, words: str) -> None:
    mistake = Remote(url).mistake()
    assert words in mistake if words else mistake == ""
    assert "s3c" not in mistake
