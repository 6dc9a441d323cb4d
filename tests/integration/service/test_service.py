"""The loop as a systemd service: whatever happens to it, the jobs go on and none is started twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.lab import UNTIL_GO, is_gone, project
from tests.integration.service.manager import ServiceLab, cgroup

pytestmark = [pytest.mark.root, pytest.mark.needs("screen", "systemctl", "systemd-run", "nsenter", "setpriv")]

QUICK = "RestartSec=100ms"


def begin(lab: ServiceLab, *jobs: str) -> dict[str, int]:
    """Install the service with jobs that run until the test says so; the pids of their payloads."""
    lab.spec(project(dict.fromkeys(jobs, UNTIL_GO), max_parallel=len(jobs)))
    lab.drop_in(QUICK)
    lab.exq("service", "install")
    return payloads(lab, *jobs)


def payloads(lab: ServiceLab, *jobs: str) -> dict[str, int]:
    return {job: lab.wait_for_status(f"p/{job}", "running")["pid"] for job in jobs}


def finish(lab: ServiceLab, *jobs: str) -> None:
    """All jobs end well, and each was started once."""
    (lab.work / "go").touch()
    for job in jobs:
        assert lab.wait_for_status(f"p/{job}", "completed", "stuck")["status"] == "completed"
    assert sorted(lab.ran()) == sorted(jobs)
    assert {job["attempts"] for job in lab.status().values()} == {1}


def test_stop_restart_upgrade_and_crash_lose_no_job(service: ServiceLab) -> None:
    before = begin(service, "a", "b")
    loops = [service.main_pid()]
    sessions = service.sessions()

    service.systemctl("restart", "exq")
    loops.append(service.new_main_pid(*loops))

    service.env["EXQ_HOST"] = "another-name"
    service.exq("service", "install")
    loops.append(service.new_main_pid(*loops))
    assert "another-name" in service.systemctl("cat", "exq")

    os.kill(loops[-1], signal.SIGKILL)
    loops.append(service.new_main_pid(*loops))

    service.systemctl("stop", "exq")
    assert payloads(service, "a", "b") == before
    assert service.sessions() == sessions
    assert all(is_gone(pid) for pid in loops)
    (service.work / "go").touch()
    service.wait("the jobs end with no loop there", lambda: all(is_gone(pid) for pid in before.values()))
    service.systemctl("start", "exq")
    finish(service, "a", "b")


def test_each_session_has_a_unit_of_its_own_and_nothing_is_forbidden_to_it(service: ServiceLab) -> None:
    pids = begin(service, "a", "b")
    places = {job: cgroup(pid) for job, pid in pids.items()}
    for job, place in places.items():
        unit = place.rpartition("/")[2]
        assert unit.startswith(f"exq-p-{job}-1-") and unit.endswith(".scope")
        assert service.shown("OOMPolicy", unit) == "continue"
        assert "exq.service" in service.shown("Before", unit)  # of two that are stopped at once, the loop goes first
    screens = {int(address.partition(".")[0]) for address in service.sessions()}
    assert {cgroup(pid) for pid in screens} == set(places.values())
    for pid in pids.values():
        assert "NoNewPrivs:\t0" in Path(f"/proc/{pid}/status").read_text()
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        assert not {b"NOTIFY_SOCKET", b"WATCHDOG_USEC"} & {entry.partition(b"=")[0] for entry in environ.split(b"\0")}
    finish(service, "a", "b")
    service.wait("their units are gone", lambda: "exq-p-" not in service.systemctl("list-units", "--all", "exq-*"))


def test_without_scopes_the_jobs_stay_all_the_same(service: ServiceLab) -> None:
    fakes = service.root / "fakes"
    fakes.mkdir(mode=0o755)
    (fakes / "systemd-run").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    (fakes / "systemd-run").chmod(0o755)
    service.env["PATH"] = f"{fakes}:{service.env['PATH']}"
    before = begin(service, "a")
    assert cgroup(before["a"]).endswith("/exq.service")
    service.systemctl("restart", "exq")
    service.systemctl("stop", "exq")
    assert payloads(service, "a") == before
    service.systemctl("start", "exq")
    finish(service, "a")


def test_the_watchdog_ends_a_loop_that_hangs_and_another_takes_over(service: ServiceLab) -> None:
    service.spec(project({"a": UNTIL_GO}))
    service.drop_in(f"{QUICK}\nWatchdogSec=3s")
    service.exq("service", "install")
    before = payloads(service, "a")
    first = service.main_pid()
    begun_us = int(service.shown("ExecMainStartTimestampMonotonic"))
    service.wait(
        "it outlives its watchdog by signs of life",
        lambda: int(service.shown("WatchdogTimestampMonotonic")) > begun_us + 4_000_000,
    )
    assert (service.main_pid(), service.shown("NRestarts")) == (first, "0")
    os.kill(first, signal.SIGSTOP)
    service.new_main_pid(first)
    assert int(service.shown("NRestarts")) == 1
    assert payloads(service, "a") == before
    finish(service, "a")


def test_reloading_ends_nothing(service: ServiceLab) -> None:
    begin(service, "a")
    loop = service.main_pid()
    service.systemctl("reload", "exq")
    service.wait("it has looked", lambda: service.shown("SubState") == "running")
    assert service.main_pid() == loop
    finish(service, "a")
    service.wait("its status says so", lambda: service.shown("StatusText") == "1/1 completed")
    assert service.json("service", "status")["message"] == "1/1 completed"


def test_what_the_service_says_of_itself(service: ServiceLab) -> None:
    assert service.json("service", "status", code=1)["installed"] is False
    before = begin(service, "a")
    said = service.exq("service", "status")
    assert f"the service runs (pid {service.main_pid()}, since " in said.stdout
    assert "loginctl enable-linger nobody" in said.stderr
    service.linger()
    assert service.exq("service", "status").stderr == ""
    facts = service.json("service", "status")
    assert (facts["active"], facts["enabled"], facts["linger"]) == ("active", True, True)
    assert (facts["specs"], facts["state"]) == (str(service.specs), str(service.state))

    assert "running jobs go on" in service.exq("service", "uninstall").stdout
    assert not Path(facts["unit"]).exists()
    assert payloads(service, "a") == before
    assert service.json("service", "status", code=1)["installed"] is False
    with service.daemon():
        finish(service, "a")


def test_paths_with_odd_characters_reach_the_loop(service: ServiceLab) -> None:
    odd = service.root / "my $HOME 50%h \"specs\" 'x' \\n;"
    service.spec(project({"a": "true"}))
    service.specs.rename(odd)
    service.env["EXQ_SPECS"] = str(odd)
    service.exq("service", "install")
    service.wait_for_status("p/a", "completed")
    assert service.json("service", "status")["specs"] == str(odd)


def test_a_loop_by_hand_is_not_fought_with(service: ServiceLab) -> None:
    service.spec(project({"a": UNTIL_GO}))
    with service.daemon():
        service.wait_for_status("p/a", "running")
        pid = service.json("status")["daemon"]["pid"]
        said = service.exq("service", "install", code=75).stderr
        assert f"kill {pid}" in said
    assert service.systemctl("is-enabled", "exq", code=None) in ("", "not-found")
