"""The machine goes down, in good order or not, comes back, and nobody has to do anything."""

from __future__ import annotations

import pytest

from tests.integration.lab import UNTIL_GO, project
from tests.integration.service.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.needs("screen", "systemd-nspawn", "nsenter", "setpriv")]


@pytest.mark.timeout(240)
def test_after_a_reboot_what_was_cut_off_runs_again_and_nothing_else(machine: Machine) -> None:
    machine.switch_on()
    machine.spec(project({"short": "echo short >>ran", "long": UNTIL_GO}))
    assert machine.exq("service", "install").stderr == ""  # the user lingers: there is nothing to say
    machine.wait_for_status("p/short", "completed")
    before = machine.wait_for_status("p/long", "running")
    machine.systemctl("restart", "exq")
    assert machine.wait_for_status("p/long", "running")["pid"] == before["pid"]
    assert "exq-p-long-1-" in machine.systemctl("list-units", "exq-p-*.scope")

    boots = [boot(machine)]
    for go_down in (machine.switch_off, machine.shut_down):
        go_down()
        machine.switch_on()
        times = len(boots) + 1
        machine.wait("the long job runs again", lambda times=times: machine.ran().count("long") == times)
        boots.append(boot(machine))
    (machine.work / "go").touch()
    machine.wait_for_status("p/long", "completed", "stuck")

    assert len(set(boots)) == 3
    assert machine.json("service", "status")["active"] == "active"
    jobs = {key: (job["status"], job["attempts"]) for key, job in machine.status().items()}
    assert jobs == {"p/short": ("completed", 1), "p/long": ("completed", 3)}
    assert [machine.verdict("p/long", number)["reason"] for number in (1, 2)] == ["HostRebooted", "HostRebooted"]
    assert sorted(machine.ran()) == ["long", "long", "long", "short"]


def boot(machine: Machine) -> str:
    found: str = machine.json("hosts")["hosts"][0]["boot_id"]
    return found
