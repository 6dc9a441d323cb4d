"""The shim by itself, under every shell that may be `sh`: claim, locks, exit code, signals."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.host.conftest import Box, gone, wait_for

SHELLS = [
    pytest.param("dash", marks=pytest.mark.needs("dash")),
    pytest.param("bash", marks=pytest.mark.needs("bash")),
    pytest.param("bash --posix", marks=pytest.mark.needs("bash")),
    pytest.param("busybox sh", marks=pytest.mark.needs("busybox")),
]
PATH = "p/j/1"


def record(folder: Path, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((folder / name).read_text())
    return answer


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 127", 127),
        ("set -o pipefail; false | tee copy", 1),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("(exit 3) & wait $!", 3),
    ],
)
def test_exit_code_is_recorded(box: Box, shell: str, script: str, code: int) -> None:
    folder = box.write(PATH, f"echo out; echo err >&2\n{script}\n")
    assert box.shim(PATH, shell=shell).wait(30) == code
    assert record(folder, "exit.json")["code"] == code
    assert record(folder, "exit.json")["duration_s"] >= 0
    assert (folder / "log").read_text().splitlines() == ["out", "err"]
    assert box.marker(PATH).exists()
    assert (folder / "exit.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "synced"),
    [
        ("exit 0", []),
        ("exit 7", ["log . before its record"]),
        ("echo no conda >setup_failed; exit 96", ["log setup_failed . before its record"]),
        ("rm log; exit 1", []),
        ("touch fail; exit 7", ["log . before its record", "log . before its record"]),
    ],
)
def test_what_tells_of_a_failure_is_kept_before_its_record(
    box: Box, root: Path, monkeypatch: pytest.MonkeyPatch, shell: str, script: str, synced: list[str]
) -> None:
    """Of a failure whose log the power failure took, nobody could say any more that it was out of memory."""
    fake = root / "bin" / "sync"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\n[ -e exit.json ] && when=after || when=before\necho "$* $when its record" >>synced\n'
        "[ ! -e fail ] || { rm fail; exit 1; }\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    folder = box.write(PATH, script + "\n")
    code = box.shim(PATH, shell=shell).wait(30)
    assert record(folder, "exit.json")["code"] == code
    assert ((folder / "synced").read_text().splitlines() if synced else []) == synced
    assert (folder / "synced").exists() == bool(synced)


@pytest.mark.parametrize("shell", SHELLS)
def test_started_record_names_payload_and_shim(box: Box, shell: str) -> None:
    folder = box.write(PATH, "echo $$ >pid; sleep 60\n")
    shim = box.shim(PATH, shell=shell)
    facts = box.running(PATH)
    wait_for((folder / "pid").exists)
    assert facts["started"]["pid"] == int((folder / "pid").read_text())
    assert facts["started"]["shim_pid"] == shim.pid
    assert facts["shim_alive"] is True
    assert os.getsid(facts["started"]["pid"]) == facts["started"]["pid"]
    assert (folder / "claim").read_text().split()[0:1] == ["shim"]


@pytest.mark.parametrize("shell", SHELLS)
def test_of_many_shims_one_runs(box: Box, shell: str) -> None:
    folder = box.write(PATH, "echo ran >>ran; sleep 0.3\n")
    shims = [box.shim(PATH, shell=shell) for _ in range(8)]
    codes = sorted(shim.wait(30) for shim in shims)
    assert codes == [0, *[75] * 7]
    assert (folder / "ran").read_text() == "ran\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_revoked_attempt_never_runs(box: Box, shell: str) -> None:
    folder = box.write(PATH, "touch ran\n")
    assert box.ask("revoke", path=PATH) == {"revoked": True}
    assert box.shim(PATH, shell=shell).wait(30) == 75
    assert sorted(entry.name for entry in folder.iterdir()) == ["claim", "intent.json", "job.sh"]


@pytest.mark.parametrize("shell", SHELLS)
def test_second_attempt_of_a_live_job_runs_nothing(box: Box, shell: str) -> None:
    box.write(PATH, "sleep 60\n")
    box.shim(PATH, shell=shell)
    box.running(PATH)
    folder = box.write("p/j/2", "touch ran\n")
    assert box.shim("p/j/2", shell=shell).wait(30) == 75
    assert record(folder, "exit.json")["lock_held"] == "job"
    assert record(folder, "exit.json")["code"] == 75
    assert not (folder / "ran").exists()
    assert box.marker("p/j/2").exists()
    assert box.facts("p/j/2")["tree_alive"] is False
    assert box.facts(PATH)["tree_alive"] is True


@pytest.mark.parametrize("shell", SHELLS)
def test_gpu_lock_holds_across_state_folders(box: Box, other_box: Box, root: Path, shell: str) -> None:
    lock = root / "gpu-GPU-1f.lock"
    box.write(PATH, "sleep 60\n")
    box.shim(PATH, lock, shell=shell)
    box.running(PATH)
    folder = other_box.write("q/k/1", "touch ran\n")
    assert other_box.shim("q/k/1", lock, shell=shell).wait(30) == 75
    assert record(folder, "exit.json")["lock_held"] == "gpu:GPU-1f"
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("count", [6, 7, 16])
def test_all_locks_are_held_by_the_payload_alone(box: Box, root: Path, shell: str, count: int) -> None:
    """More than seven need descriptors of two digits, which dash has not."""
    locks = [root / f"gpu-{number}.lock" for number in range(count)]
    folder = box.write(PATH, "sleep 60 & touch ready; exec sleep 60\n")
    shim = box.shim(PATH, *locks, shell=shell)
    wait_for((folder / "ready").exists)
    facts = box.running(PATH)
    shim.kill()
    shim.wait()
    assert all(is_locked(lock) for lock in [*locks, box.job_lock(PATH)])
    os.kill(facts["started"]["pid"], signal.SIGKILL)
    wait_for(lambda: gone(facts["started"]["pid"]))
    assert all(is_locked(lock) for lock in locks), "a child of the payload holds them on"
    assert box.facts(PATH, scan=False)["tree_alive"] is True


@pytest.mark.parametrize("shell", SHELLS)
def test_locks_are_free_before_the_end_is_told(box: Box, root: Path, shell: str) -> None:
    lock = root / "gpu-1.lock"
    box.write(PATH, "sleep 0.1\n")
    box.shim(PATH, lock, shell=shell)
    wait_for(box.marker(PATH).exists)
    assert not is_locked(lock)
    assert not is_locked(box.job_lock(PATH))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_lock_whose_file_was_removed_while_waiting_is_taken_anew(box: Box, shell: str) -> None:
    lock = box.state / "locks" / "p%j.lock"
    folder = box.write(PATH, "touch ran; sleep 60\n")
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        box.shim(PATH, shell=shell)
        wait_for(lambda: waits_for_lock(lock))
        lock.unlink()
    wait_for((folder / "ran").exists)
    assert is_locked(lock), "the lock that counts is that of the file which has the name now"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_passing_look_at_a_lock_does_not_fail_an_attempt(box: Box, shell: str) -> None:
    lock = box.state / "locks" / "p%j.lock"
    folder = box.write(PATH, "touch ran\n")
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        shim = box.shim(PATH, shell=shell)
        wait_for(lambda: waits_for_lock(lock))
    assert shim.wait(30) == 0
    assert (folder / "ran").exists()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGQUIT, 131)])
def test_signals_are_passed_on_and_the_exit_code_is_the_payloads(
    box: Box, shell: str, number: signal.Signals, code: int
) -> None:
    """Also INT and QUIT, which shells make background commands ignore."""
    folder = box.write(PATH, "ulimit -c 0; touch ready; exec sleep 60\n")
    shim = box.shim(PATH, shell=shell)
    wait_for((folder / "ready").exists)
    wait_for(lambda: b"sleep" in Path(f"/proc/{box.facts(PATH)['started']['pid']}/cmdline").read_bytes())
    shim.send_signal(number)
    assert shim.wait(30) == code
    assert record(folder, "exit.json")["code"] == code


@pytest.mark.parametrize("shell", SHELLS)
def test_a_payload_may_take_its_time_after_a_signal(box: Box, shell: str) -> None:
    script = "trap 'sleep 0.3; exit 5' TERM INT; touch ready; while :; do sleep 0.05; done\n"
    folder = box.write(PATH, script)
    shim = box.shim(PATH, shell=shell)
    wait_for((folder / "ready").exists)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        shim.send_signal(number)
        time.sleep(0.05)
    assert shim.wait(30) == 5
    assert record(folder, "exit.json")["code"] == 5


@pytest.mark.parametrize("shell", SHELLS)
def test_python_gets_its_keyboard_interrupt(box: Box, shell: str) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    folder = box.write(PATH, f"python3 -c '{code}'\n")
    box.shim(PATH, shell=shell).wait(30)
    assert (folder / "log").read_text() == "True\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_hup_reaches_neither_shim_nor_payload(box: Box, shell: str) -> None:
    folder = box.write(PATH, "touch ready; sleep 0.3; exit 4\n")
    shim = box.shim(PATH, shell=shell)
    wait_for((folder / "ready").exists)
    shim.send_signal(signal.SIGHUP)
    os.kill(box.facts(PATH)["started"]["pid"], signal.SIGHUP)
    assert shim.wait(30) == 4


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("missing", ["job.sh", "locks"])
def test_what_cannot_be_started_says_why(box: Box, shell: str, missing: str) -> None:
    folder = box.write(PATH, "touch ran\n")
    if missing == "locks":
        (box.state / "locks").rmdir()
    else:
        (folder / missing).unlink()
    shim = box.shim(PATH, shell=shell, stderr=subprocess.PIPE)
    ended = shim.wait(30)
    facts = box.facts(PATH)
    if missing == "locks":  # no fault of the job: a lost launch
        assert (ended, facts["exited"]) == (74, None)
    else:
        assert (ended, facts["exited"]["code"]) == (96, 96)
    assert missing in facts["setup_error"]
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_removed_attempt_folder_does_not_keep_the_shim(box: Box, shell: str) -> None:
    folder = box.write(PATH, "touch ready; sleep 0.3\n")
    shim = box.shim(PATH, shell=shell)
    wait_for((folder / "ready").exists)
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    assert shim.wait(10) == 0
    assert not box.marker(PATH).exists(), "nobody would take it away"


@pytest.mark.parametrize("shell", SHELLS)
def test_odd_folder_and_process_names(root: Path, shell: str) -> None:
    box = Box(root, "a state) 7 'x' $HOME")
    try:
        box.write(PATH, "exec -a 'a) S 1 1' sleep 60\n")
        box.shim(PATH, shell=shell)
        facts = box.running(PATH)
        assert facts["tree_pids"] == [facts["started"]["pid"]]
    finally:
        box.close()


def is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def waits_for_lock(path: Path) -> bool:
    """Somebody is blocked on the lock: the kernel lists a waiter with an arrow."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
