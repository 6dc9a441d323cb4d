"""Jobs on the hosts of a test: what they do there, and what they left behind."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.integration.lab import Lab, project
from tests.integration.ssh.host import Host
from tests.integration.ssh.hosts import Hosts

NOTES = 'echo "$EXQ_JOB" >>~/ran'
"""A command that notes, on its host, that it runs."""

GATED = f"{NOTES}; until [ -e ~/go ]; do sleep 0.05; done"
"""One that ends when the test puts a file `go` into the home of its host."""


def fleet(jobs: Mapping[str, str | Mapping[str, object]], name: str, *hosts: str, **settings: object) -> str:
    """A spec of jobs on hosts, in their homes."""
    text = project(jobs, name, **{"cwd": "~", "hosts": list(hosts), "launcher": None, **settings})
    return text if jobs else text.replace("jobs: []\n", "")


def ran(*hosts: Host) -> Counter[str]:
    """How often each job ran on these hosts, together."""
    notes = [host.home / "ran" for host in hosts]
    return Counter(word for path in notes if path.exists() for word in path.read_text().split())


def go(*hosts: Host) -> None:
    """Let the gated jobs end."""
    for host in hosts:
        (host.home / "go").touch()


def connections(hosts: Hosts, host: Host, state: str = "established") -> list[str]:
    """The local addresses of the connections to a host that its peers believe in, or try to make (syn-sent)."""
    told = hosts.network.run("ss", "-Htn", "state", state, "dst", host.address).stdout
    return sorted(line.split()[2] for line in told.splitlines())


def jobs_of(status: Mapping[str, dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those of a project, in what `Lab.status` gave."""
    return [job for job in status.values() if job["project"] == name]


def end_of(lab: Lab, child: subprocess.Popen[str], timeout_s: float = 90) -> str:
    """Wait for a loop that ends by itself, and well; what it printed."""
    lab.wait("the loop to end", lambda: child.poll() is not None, timeout_s)
    said = lab.kill(child)
    assert child.returncode == 0, said
    assert "Traceback" not in said, said
    return said
