"""The loop on a host, after a push: a service where there is a user manager, else in the background."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.cli.exits import HELD
from reconciler.cli.push.decide import There
from reconciler.host.ssh.by_hand import ssh_to
from reconciler.host.ssh.courier import Courier
from reconciler.view.serving import others_words, serves_others

END_S = 60.0


@dataclass(frozen=True, slots=True)
class Loop:
    """`kind` is `service`, `detached`, `other` (one that runs already), `elsewhere` (one for other specs) or `none`."""

    kind: str
    words: str
    hint: str = ""

    @property
    def runs(self) -> bool:
        """Somebody carries out the specs."""
        return self.kind not in ("none", "elsewhere")


@dataclass(frozen=True, slots=True)
class Far:
    """The exq of one build on a host."""

    host: str
    courier: Courier
    program: str
    specs: str

    def json(self, *words: str, login: bool = False) -> tuple[int, dict[str, Any]]:
        """Its exit code, and its JSON: the last line, since a login shell may print before it."""
        argv = [self.program, "--specs", self.specs, *words, "--json"]
        done = self.courier.ask("run", argv=argv, login=login)
        lines = [line for line in str(done["out"]).splitlines() if line.startswith("{")]
        try:
            found = json.loads(lines[-1])
        except (IndexError, ValueError):
            said = (done["err"] or done["out"]).strip() or f"it ended with exit code {done['code']}"
            return int(done["code"]) or 1, {"error": said, "hint": None}
        return int(done["code"]), found


def start_loop(far: Far, there: There, *, new_exq: bool) -> Loop:
    """See to it that a loop carries out the specs, with this exq."""
    _, service = far.json("service", "status")
    if "error" in service:
        return _detached(far, new_exq)
    # the unit names the program by its whole path
    program = far.program.removeprefix("~")
    is_this = service.get("specs") == there.specs and f"{program} " in there.unit.get("execstart", "")
    if is_this and service.get("active") == "active" and not new_exq:
        return _service(service)
    code, installed = far.json("service", "install", login=True)
    if code == HELD:
        return _other(far, installed, new_exq)
    if "error" in installed:
        return Loop("none", f"the service could not be installed: {installed['error']}", str(installed["hint"] or ""))
    return _service(installed)


def loop_now(far: Far) -> dict[str, Any] | None:
    """`pid` and more of the loop that holds the state folder there, if one does."""
    _, found = far.json("status")
    daemon = found.get("daemon")
    return daemon if isinstance(daemon, dict) else None


def _service(facts: dict[str, Any]) -> Loop:
    hint = "" if facts.get("linger") else "lingering is off there: it ends at the last logout; loginctl enable-linger"
    return Loop("service", f"the service runs there (pid {facts.get('pid')})", hint)


def _detached(far: Far, new_exq: bool) -> Loop:
    code, found = far.json("run", "--detach", login=True)
    if code == HELD and new_exq and _ended_old(far):
        code, found = far.json("run", "--detach", login=True)
    if code == HELD:
        return _other(far, found, new_exq)
    if "error" in found or code:
        return Loop(
            "none", f"the loop did not begin: {found.get('error', f'exit code {code}')}", found.get("hint") or ""
        )
    words = f"there is no systemd user manager; the loop runs in the background (pid {found['pid']})"
    return Loop("detached", words, "nothing starts it again after a reboot but a line in the crontab there")


def _ended_old(far: Far) -> bool:
    """End a loop in the background that an earlier push started; running jobs go on."""
    daemon = loop_now(far)
    if daemon is None or not daemon.get("pid"):
        return False
    words = ["/.local/share/exq/", far.specs, "--detach"]
    return bool(far.courier.ask("end", pid=daemon["pid"], words=words, wait_s=END_S)["ended"])


def _other(far: Far, found: dict[str, Any], new_exq: bool) -> Loop:
    """A loop holds the state folder already."""
    daemon = loop_now(far)
    if daemon is None:  # it has just ended, or does not say
        return Loop("other", str(found["error"]), str(found.get("hint") or ""))
    return running(far.host, daemon, new_exq=new_exq)


def running(host: str, daemon: Mapping[str, Any], *, new_exq: bool = False) -> Loop:
    """A loop takes up new specs of its folder by itself, and never those of another one."""
    pid = daemon.get("pid")
    if serves_others(daemon):
        folder = str(daemon["specs"]).rpartition("/")[0]
        hint = (
            f"put these into its folder: exq push {host}:{folder}; or end it ({ssh_to(host)} kill {pid}) and start one "
            f"for these: {to_start(host)}; or leave it so: exq push {host} --no-service"
        )
        return Loop("elsewhere", others_words(daemon), hint)
    older = "; it goes on with the exq that it was started with" if new_exq else ""
    return Loop("other", f"the loop there (pid {pid or 'not known'}) takes them up{older}")


def to_start(host: str) -> str:
    """What starts a loop there."""
    return f"exq --host {host} service install; where there is no systemd: exq --host {host} run --detach"
