"""Answers one request after the other, until nobody asks any more. What was begun and not completed is undone then."""

import errno
import json
import os
import signal
import sys
import time
from typing import Callable, Dict, List, Optional, Tuple

from reconciler.host.landing import builds, specs
from reconciler.host.landing.look import look
from reconciler.host.landing.tools import Gone, Json, Refused, run

VERSION = 1
FULL = (errno.ENOSPC, errno.EDQUOT)
LOGIN_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


class Landing:
    """What one push does. It knows what would have to be undone."""

    def __init__(self) -> None:
        self._staged: Optional[Json] = None
        self._built: Optional[str] = None
        self._doing: Dict[str, Callable[[Json, bytes], Json]] = {
            "look": lambda request, _: look(request),
            "stage": self._stage,
            "switch": self._switch,
            "install": self._install,
            "activate": self._activate,
            "prune": lambda request, _: builds.prune(request),
            "run": lambda request, _: run_program(request),
            "end": lambda request, _: end_process(request),
        }

    def answer(self, request: Json, blob: bytes) -> Json:
        """Never raises but Gone."""
        try:
            return self._doing[request["op"]](request, blob)
        except Refused as refused:
            return dict(refused.facts, error=str(refused), kind=refused.kind)
        except OSError as error:
            kind = "disk_full" if error.errno in FULL else "failed"
            return {"error": "{}: {}".format(error.filename or request["op"], error.strerror or error), "kind": kind}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}", "kind": "failed"}

    def undo(self) -> None:
        """What does not count and never will."""
        if self._staged is not None:
            specs.discard(self._staged)
        if self._built is not None:
            builds.forget(self._built)

    def _stage(self, request: Json, blob: bytes) -> Json:
        done = specs.stage(request, blob)
        self._staged = {key: request[key] for key in ("folder", "name", "release")}
        return done

    def _switch(self, request: Json, _blob: bytes) -> Json:
        done = specs.switch(request)
        self._staged = None
        return done

    def _install(self, request: Json, blob: bytes) -> Json:
        done = builds.install(request, blob)
        self._built = done["build"]
        return done

    def _activate(self, request: Json, _blob: bytes) -> Json:
        done = builds.activate(request)
        self._built = None
        return done


def run_program(request: Json) -> Json:
    """Run something; `login`: in the environment that a login has, as the user's shell makes it."""
    argv = [os.path.expanduser(word) if word.startswith("~/") else word for word in request["argv"]]
    shell = os.environ.get("SHELL", "")
    if request.get("login") and os.path.basename(shell) in LOGIN_SHELLS and os.access(shell, os.X_OK):
        argv = [shell, "-l", "-c", 'exec "$0" "$@"', *argv]
    env = dict(os.environ, **request.get("env", {}))
    return run(argv, env, request.get("cwd"))


def end_process(request: Json) -> Json:
    """SIGTERM to a process whose command line has all these words, and wait for its end."""
    pid = int(request["pid"])
    command = builds.commands().get(pid, "")
    if not all(word in command for word in request["words"]):
        return {"ended": False}
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + request["wait_s"]
    while builds.commands().get(pid) == command and time.monotonic() < until:
        time.sleep(0.05)
    return {"ended": builds.commands().get(pid) != command}


class Frames:
    """Requests from one descriptor, answers to another."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._in = os.fdopen(read_fd, "rb", buffering=0, closefd=False)
        self._out = write_fd

    def next(self) -> Optional[Tuple[Json, bytes]]:
        """The next request; None at the end."""
        head = self._line()
        if not head:
            return None
        sizes = [int(word) for word in head.split()]
        body, blob = self._exactly(sizes[0]), self._exactly(sizes[1])
        if body is None or blob is None:
            return None
        found: Json = json.loads(body.decode("utf-8", "surrogatepass"))
        return found, blob

    def send(self, answer: Json) -> None:
        """All of it."""
        body = json.dumps(answer).encode("utf-8", "surrogatepass")
        data = b"%d 0\n%s" % (len(body), body)
        while data:
            data = data[os.write(self._out, data) :]

    def _line(self) -> bytes:
        """Byte by byte: what follows belongs to the frame."""
        line = b""
        while not line.endswith(b"\n"):
            byte = self._in.read(1)
            if not byte:
                return b""
            line += byte
        return line

    def _exactly(self, size: int) -> Optional[bytes]:
        pieces: List[bytes] = []
        while size:
            piece = self._in.read(min(size, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def serve(read_fd: int, write_fd: int) -> None:
    """Answer until the connection ends."""
    out = os.dup(write_fd)
    os.set_inheritable(out, False)
    os.dup2(2, write_fd)  # so that nothing else gets between the frames
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o022)
    landing = Landing()
    try:
        os.write(out, b"\nEXQ-AGENT %d\n" % VERSION)
        frames = Frames(read_fd, out)
        while True:
            asked = frames.next()
            if asked is None:
                return
            frames.send(landing.answer(*asked))
    except (Gone, BrokenPipeError, ConnectionResetError):
        return
    finally:
        landing.undo()


def main() -> None:
    """For whoever has sent this here."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    serve(0, 1)
