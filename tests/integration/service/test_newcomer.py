"""From an empty home to a finished campaign, by the README: init, edit, commit, push, watch, edit again - and in the
middle of it everything is killed and the machine loses its power."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.service.reachable import Box
from tests.integration.ssh.wheelhouse import make_wheelhouse

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs(
        "git", "screen", "systemd-nspawn", "nsenter", "setpriv", "ssh", "ssh-keygen", "ssh-keyscan", "/usr/sbin/sshd"
    ),
]

TRAIN = """\
import os, sys, time
name, seconds = sys.argv[1], float(sys.argv[2])
with open("ran", "a") as ran:
    ran.write(f"{name} {os.environ['EXQ_ATTEMPT_NUMBER']} {open('/proc/sys/kernel/random/boot_id').read()}")
deadline = time.monotonic() + seconds
while time.monotonic() < deadline or (name.startswith("long") and not os.path.exists("go")):
    time.sleep(0.05)
os.makedirs("results", exist_ok=True)
with open(f"results/{name}.json", "w") as result:
    result.write("{}")
"""

SWEEP = """\
project: sweep
gpus: none
max_parallel: 3
grid:
  seed: [{seeds}]
template:
  id: {kind}${{seed}}
  cmd: python3 train.py {kind}${{seed}} {seconds}
  output_check: results/{kind}${{seed}}.json
"""


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    try:
        yield made
    finally:
        made.close()


class Newcomer:
    """Somebody at the desk, in a new folder, who types what the README says."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.folder = box.desk.home / "distill"
        self.folder.mkdir()
        self.wheels = make_wheelhouse(box.root / "wheels")

    def types(self, command: str, code: int | None = 0) -> str:
        done = self.box.desk.shell(command, self.folder)
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def writes(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def commits(self, message: str) -> None:
        self.types("git add --all")
        self.types(f"git -c user.name=ann -c user.email=ann@example.org commit -q -m '{message}'")

    def pushes(self) -> str:
        python = f"{self.box.root}/python/bin/python3"
        return self.types(f"exq push box --yes --python {python} --wheels {self.wheels}")

    def status(self) -> dict[str, dict[str, Any]]:
        answer = json.loads(self.types("exq --host box status --json 2>/dev/null"))
        return {job["id"]: job for job in answer["jobs"]}

    def waits_for(self, what: str, **counts: int) -> None:
        """Watches until so many jobs have these statuses."""

        def reached() -> bool:
            found = Counter(job["status"] for job in self.status().values())
            return all(found[status] == count for status, count in counts.items())

        self.box.wait(what, reached, timeout_s=90)


@pytest.mark.timeout(420)
def test_a_newcomers_campaign_survives_everything(box: Box) -> None:
    box.switch_on()
    ann = Newcomer(box)

    # an empty machine: a repository with a script, exq init, a sweep in place of the example
    ann.types("git init -q -b main")
    ann.writes("train.py", TRAIN)
    assert "specs" in ann.types("exq init")
    (ann.folder / "specs" / "example.yaml").unlink()
    ann.writes("specs/short.yaml", SWEEP.format(seeds="1, 2, 3, 4", kind="short", seconds=1).replace("sweep", "quick"))
    ann.writes("specs/long.yaml", SWEEP.format(seeds="1, 2", kind="long", seconds=0))
    ann.types("exq validate")
    ann.commits("a first sweep")

    # the machine is new to ssh as well: the refusal says what to type
    refused = ann.types("exq push box --yes", code=1)
    mend = re.search("`(ssh-keyscan [^`]+)`", refused)
    assert mend is not None, refused
    ann.types(mend[1])
    ann.types("ssh -F ~/.ssh/config box 'mkdir distill && cat >distill/train.py' <train.py")
    assert "the service runs there" in ann.pushes()
    work = box.root / "home" / "distill"

    ann.waits_for("the short ones are done, the long ones run", completed=4, running=2)
    assert ann.types("exq --host box why long1").startswith("sweep/long1 is running")

    # edit again: two more seeds, of which one finds no free slot
    ann.writes("specs/long.yaml", SWEEP.format(seeds="1, 2, 3, 4", kind="long", seconds=0))
    ann.commits("more seeds")
    assert "long3" in ann.pushes()
    ann.waits_for("one more runs, one waits", completed=4, running=3, pending=1)

    # pull the plug
    box.switch_off()
    box.switch_on()
    ann.waits_for("the same three run again, by themselves", completed=4, running=3, pending=1)
    (work / "go").touch()
    ann.waits_for("all is complete", completed=8)

    ran = Counter((line.split()[0]) for line in (work / "ran").read_text().splitlines())
    assert ran == {"short1": 1, "short2": 1, "short3": 1, "short4": 1, "long1": 2, "long2": 2, "long3": 2, "long4": 1}
    history = ann.types("exq --host box history long1")
    assert "HostRebooted" in history
