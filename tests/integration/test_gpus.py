"""GPUs: who gets which, what keeps them taken, and what happens when nvidia-smi gives no answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab import Lab
from tests.integration.lab import project as spec

pytestmark = pytest.mark.needs("screen")

OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 22.78 GiB. GPU 0 has a total capacity of 23.65 GiB"
    " of which 11.06 MiB is free. Process 2797307 has 14.85 GiB memory in use."
)
HOLD = """\
#!/bin/sh
# hold MIB SECONDS|FILE: holds memory of its GPUs for so long, or until there is such a file, and notes when
note() { echo "$EXQ_PROJECT/$EXQ_JOB ${CUDA_VISIBLE_DEVICES-none} $1 $(date +%s.%N)" >>times; }
note start
case $2 in
    *[!0-9.]*) FAKE_GPU_MIB=$1 sh -c 'until [ -e "$0" ]; do sleep 0.1; done' "$2" ;;
    *) FAKE_GPU_MIB=$1 sleep "$2" ;;
esac
note end
"""


@dataclass
class Span:
    """From when to when a job had which GPUs, as it noted itself."""

    job: str
    gpus: tuple[str, ...]
    start: float
    end: float

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end


def spans(lab: Lab) -> dict[str, Span]:
    """What the jobs noted, by job key; one that has not ended ends never."""
    found: dict[str, Span] = {}
    notes = lab.work / "times"
    for line in notes.read_text().splitlines() if notes.exists() else ():
        job, gpus, what, at = line.split()
        if what == "start":
            assert job not in found, f"{job} ran twice"
            found[job] = Span(job, tuple(gpus.split(",")), float(at), float("inf"))
        else:
            found[job].end = float(at)
    return found


def assert_never_shared(found: dict[str, Span]) -> None:
    for one, other in combinations(found.values(), 2):
        shared = set(one.gpus) & set(other.gpus)
        assert not (shared and one.overlaps(other)), f"{one} and {other} share GPU {shared}"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    (lab.work / "hold").write_text(HOLD)
    (lab.work / "hold").chmod(0o755)
    return lab


def project(jobs: Mapping[str, str], name: str = "p", **settings: object) -> str:
    return spec(jobs, name, **{"gpus": "all", "max_parallel": None, **settings})


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    return {hold["job"]: hold["reason"] for hold in answer["holds"]}


def test_a_gpu_runs_one_job_at_a_time_and_the_job_sees_only_its_own(lab: Lab) -> None:
    lab.gpus(2)
    see = 'echo "$GPU $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER" >see_$EXQ_JOB; ./hold 20000 0.7'
    lab.spec(project(dict.fromkeys("abcd", see)))
    lab.settle()
    found = spans(lab)
    assert sorted(found) == ["p/a", "p/b", "p/c", "p/d"]
    assert_never_shared(found)
    assert {span.gpus for span in found.values()} == {("0",), ("1",)}
    for key, span in found.items():
        gpu = span.gpus[0]
        assert (lab.work / f"see_{key[2:]}").read_text().split() == [gpu, gpu, "PCI_BUS_ID"]
        assert lab.json("why", key)["attempts"][0]["gpus"] == [int(gpu)]


def test_max_parallel_and_the_list_of_gpus_are_the_limits(lab: Lab) -> None:
    lab.gpus(4)
    lab.spec(project(dict.fromkeys("abc", "./hold 20000 go"), "few", max_parallel=1, gpus=[1, 3]), "few.yaml")
    lab.spec(project(dict.fromkeys("abc", "./hold 20000 go"), "some", gpus=[3, 2]), "some.yaml")
    with lab.daemon():
        lab.wait("three run", lambda: len(spans(lab)) == 3)
        assert {key: span.gpus for key, span in spans(lab).items()} == {
            "few/a": ("1",),
            "some/a": ("2",),
            "some/b": ("3",),
        }
        assert reasons(lab.json("diff")) == {"few/b": "NoFreeSlot", "few/c": "NoFreeSlot", "some/c": "NoFreeGpu"}
        (lab.work / "go").touch()
        lab.wait("all run", lambda: len(spans(lab)) == 6)
    lab.settle()
    found = spans(lab)
    assert_never_shared(found)
    few = [span for key, span in found.items() if key.startswith("few/")]
    assert {gpu for span in few for gpu in span.gpus} <= {"1", "3"}
    assert not any(one.overlaps(other) for one, other in combinations(few, 2))


@pytest.mark.parametrize(
    ("threshold", "used_mib", "free"),
    [
        (None, 500, True),
        (None, 501, False),
        ("5GiB", 5120, True),
        (5000, 5001, False),
        (0, 1, False),
        (50000, "[N/A]", False),
    ],
)
def test_a_gpu_counts_as_free_up_to_the_threshold(lab: Lab, threshold: object, used_mib: object, free: bool) -> None:
    lab.gpus(1, gpus=[{"index": 0, "uuid": f"GPU-x{lab.root.name}", "total_mib": 46068, "base_used_mib": used_mib}])
    settings = {"gpu_free_threshold_mib": threshold} if threshold is not None else {}
    lab.spec(project({"a": "true"}, **settings))
    answer = lab.json("diff")
    assert len(answer["actions"]) == int(free)
    assert reasons(answer) == ({} if free else {"p/a": "NoFreeGpu"})


def test_the_gpu_of_someone_else_is_named_and_left_alone(lab: Lab) -> None:
    lab.gpus(2)
    lab.spec(project({"a": "./hold 20000 go", "b": "./hold 20000 go"}))
    with lab.foreign(0, 14849) as (process, user), lab.daemon():
        lab.wait("one runs", lambda: spans(lab))
        assert spans(lab)["p/a"].gpus == ("1",)
        lab.wait("the other waits", lambda: lab.status()["p/b"]["reason"] == "NoFreeGpu")
        for words in (lab.exq("why", "b").stdout, lab.exq("diff", "--all").stdout, lab.status()["p/b"]["message"]):
            assert all(word in words for word in ("14,850 MiB", f"pid {process.pid}", user)), words
        (gpu,) = [gpu for gpu in lab.json("status")["hosts"][0]["gpus"] if gpu["index"] == 0]
        assert [(use["pid"], use["user"]) for use in gpu["users"]] == [(process.pid, user)]
        assert process.poll() is None, "the process of someone else was ended"
        process.kill()
        process.wait(timeout=10)
        lab.nudge()
        lab.wait("the other runs on the GPU that is free now", lambda: "p/b" in spans(lab))
        assert spans(lab)["p/b"].gpus == ("0",)
        (lab.work / "go").touch()
    lab.settle()


@pytest.mark.parametrize("marked", [True, False], ids=["in the tree", "memory alone"])
def test_memory_that_is_not_released_keeps_the_next_job_waiting(lab: Lab, marked: bool) -> None:
    lab.gpus(1)
    # what is left behind: one that exq can tell is ours, or one that shed its marks and locks and holds memory only
    shed = "" if marked else "env -u EXQ_ATTEMPT -u EXQ_STATE -u EXQ_SHIM"
    close = "" if marked else " ".join(f"{fd}>&-" for fd in range(3, 10))
    left = f"{shed} FAKE_GPU_MIB=9000 setsid sh -c 'sleep 3; date +%s.%N >let_go' {close} &"
    lab.spec(project({"a": f"{'env' if marked else ''} {left} sleep 0.3", "b": "./hold 20000 0.1"}))
    with lab.daemon():
        lab.wait("a is completed", lambda: lab.status()["p/a"]["status"] == "completed")
        held = lab.status()["p/b"]
        assert not (lab.work / "let_go").exists(), "too slow to see it"
        assert (held["status"], held["reason"]) == ("pending", "NoFreeGpu")
        lab.wait("it lets go", (lab.work / "let_go").exists)
        lab.nudge()
        lab.wait("b ran", lambda: lab.status()["p/b"]["status"] == "completed")
    assert spans(lab)["p/b"].start > float((lab.work / "let_go").read_text())


def test_out_of_memory_waits_moves_when_it_has_to_and_gives_up_in_the_end(lab: Lab) -> None:
    lab.gpus(3)
    (lab.work / "oom.txt").write_text(f"{OOM}\n")
    lab.spec(
        project(
            {"a": 'echo "$GPU" >>ran; FAKE_GPU_MIB=20000 sleep 0.2; cat oom.txt; exit 1'},
            oom_retry={"delay": "2s", "max_attempts": 4},
        )
    )
    with lab.daemon():
        lab.wait("the first attempt failed", lambda: lab.status()["p/a"]["status"] == "failed_oom")
        waiting = lab.status()["p/a"]
        assert waiting["reason"] == "GpuOutOfMemory"
        assert waiting["until"]
        with lab.foreign(0, 14850):
            lab.wait("the second attempt", lambda: len(lab.ran()) == 2)
        lab.wait("it is stuck", lambda: lab.status()["p/a"]["status"] == "stuck")
        stuck = lab.status()["p/a"]
    assert (stuck["reason"], stuck["attempts"], stuck["exit_code"]) == ("GpuOutOfMemory", 4, 1)
    assert "14.85 GiB" in stuck["message"]
    # GPU 0 was taken at the second attempt; later the GPU of the attempt before was free each time
    assert lab.ran() == ["0", "1", "1", "1"]
    verdicts = [lab.verdict("p/a", number) for number in (1, 2, 3, 4)]
    assert [verdict["status"] for verdict in verdicts] == ["failed_oom"] * 4
    for before, after in pairwise(verdicts):
        assert after["started_at"] >= before["ended_at"] + 2
    again = lab.exq("run", "--until-settled", code=3)
    assert "stuck" in again.stdout
    assert len(lab.ran()) == 4


@pytest.mark.parametrize("mode", ["missing", "driver_mismatch", "garbage", "hang_ignore_term"])
def test_without_an_answer_of_nvidia_smi_nothing_is_done_blindly(lab: Lab, mode: str) -> None:
    program = lab.gpus(1)
    lab.spec(project({"a": "./hold 20000 go", "b": "./hold 1 0.1"}), "gpu.yaml")
    with lab.daemon():
        lab.wait("a runs", lambda: spans(lab))
        lab.wait("its pid is known", lambda: lab.status()["p/a"]["pid"])
        pid = lab.status()["p/a"]["pid"]
        if mode == "missing":
            program.rename(lab.root / "away")
        else:
            lab.set_gpus({"mode": mode})
        one_by_one = {f"c{number}": "echo c >>ran" for number in range(6)}
        lab.spec(project(one_by_one, "cpu", gpus="none", max_parallel=1), "cpu.yaml")
        lab.wait("the CPU project is done", lambda: len(lab.ran()) == 6, timeout_s=40)

        with ThreadPoolExecutor() as pool:  # side by side, as each waits for nvidia-smi
            diff = pool.submit(lab.exq, "diff", "--exit-code", code=3)
            why = pool.submit(lab.exq, "why", "b")
            status = lab.status()
        assert "nvidia-smi" in diff.result().stdout
        assert "GpuUnknown" in diff.result().stdout
        assert "GpuUnknown" in why.result().stdout
        assert (status["p/a"]["status"], status["p/a"]["pid"]) == ("running", pid)
        assert (status["p/b"]["status"], status["p/b"]["reason"]) == ("pending", "GpuUnknown")

        (lab.work / "go").touch()
        lab.wait("a ended and is known to", (lab.attempt("p/a") / "verdict.json").exists, timeout_s=60)
        assert "p/b" not in spans(lab)

        if mode == "missing":
            (lab.root / "away").rename(program)
        else:
            lab.set_gpus({"mode": "ok"})
        lab.wait("b ran", lambda: "p/b" in spans(lab), timeout_s=60)
    lab.settle()
    assert {job["status"] for job in lab.status().values()} == {"completed"}
    assert_never_shared(spans(lab))


def test_two_loops_never_share_a_gpu(lab: Lab) -> None:
    lab.gpus(2)
    # memory shows late: what nvidia-smi says cannot keep the other loop away
    slow = "./hold 0 0.5 && FAKE_GPU_MIB=20000 sleep 0.5"
    lab.spec(project(dict.fromkeys("ab", slow)))
    second = dict(lab.env, EXQ_STATE=str(lab.root / "state2"), EXQ_SPECS=str(lab.root / "specs2"))
    (lab.root / "specs2").mkdir()
    lab.spec(project(dict.fromkeys("cd", slow)), "../specs2/exp.yaml")
    loops = [lab.start("run", "--until-settled"), lab.start("run", "--until-settled", env=second)]
    for loop in loops:
        assert loop.wait(timeout=90) == 0, lab.kill(loop)
    found = spans(lab)
    assert sorted(found) == ["p/a", "p/b", "p/c", "p/d"]
    assert_never_shared(found)


def test_a_job_may_have_several_gpus(lab: Lab) -> None:
    lab.gpus(5)
    lab.spec(project(dict.fromkeys("abc", "./hold 20000 go"), gpus_per_job=2))
    with lab.daemon():
        lab.wait("two run", lambda: len(spans(lab)) == 2)
        assert sorted(span.gpus for span in spans(lab).values()) == [("0", "1"), ("2", "3")]
        assert lab.status()["p/c"]["reason"] == "NoFreeGpu"
        (lab.work / "go").touch()
        lab.wait("the third ran", lambda: "p/c" in spans(lab))
    lab.settle()
    assert_never_shared(spans(lab))
    assert all(len(span.gpus) == 2 for span in spans(lab).values())


def test_barrier_waves_begin_when_all_of_the_wave_before_is_gone(lab: Lab) -> None:
    lab.gpus(2)
    left = "FAKE_GPU_MIB=9000 setsid sh -c 'sleep 2.5; date +%s.%N >let_go' & ./hold 20000 0.1"
    jobs = {"a": left, "b": "./hold 20000 1.2", "c": "./hold 20000 0.1", "d": "./hold 20000 0.1", "e": "./hold 1 0.1"}
    lab.spec(project(jobs, waves="barrier"))
    with lab.daemon():
        lab.wait("b has ended", lambda: spans(lab).get("p/b", Span("", (), 0, float("inf"))).end < float("inf"))
        lab.wait("c waits", lambda: lab.status()["p/c"]["reason"] == "WaveNotSettled")
        assert not (lab.work / "let_go").exists(), "too slow to see it"
        lab.wait("all ran", lambda: len(spans(lab)) == 5)
    lab.settle()
    found = spans(lab)
    first, second, third = (found["p/a"], found["p/b"]), (found["p/c"], found["p/d"]), (found["p/e"],)
    let_go = float((lab.work / "let_go").read_text())
    assert min(span.start for span in second) > max(let_go, *(span.end for span in first))
    assert min(span.start for span in third) > max(span.end for span in second)


def test_rolling_waves_fill_a_free_gpu_while_others_run(lab: Lab) -> None:
    lab.gpus(2)
    lab.spec(project({"a": "./hold 20000 go", "b": "./hold 20000 0.1", "c": "./hold 20000 0.1", "d": "./hold 1 0.1"}))
    with lab.daemon():
        lab.wait("the three others ran", lambda: sum(s.end < float("inf") for s in spans(lab).values()) == 3)
        assert spans(lab)["p/a"].end == float("inf")
        (lab.work / "go").touch()
    lab.settle()
    assert_never_shared(spans(lab))
    assert {span.gpus for key, span in spans(lab).items() if key != "p/a"} == {("1",)}


@pytest.mark.parametrize(("gpus", "per_job"), [([7], 1), ([0], 1), ("all", 3)])
def test_gpus_that_the_machine_does_not_have(lab: Lab, gpus: object, per_job: int) -> None:
    lab.gpus(2)
    lab.spec(project({"a": "true"}, gpus=gpus, gpus_per_job=per_job))
    answer = lab.json("diff")
    assert reasons(answer) == ({} if gpus == [0] else {"p/a": "NoSuchGpu"})


def test_an_orphan_keeps_its_gpu(lab: Lab) -> None:
    lab.gpus(1)
    gone = lab.spec(project({"old": "./hold 20000 go"}, "one"), "one.yaml")
    with lab.daemon():
        lab.wait("it runs", lambda: spans(lab))
        lab.spec(project({"new": "./hold 20000 0.1"}, "two"), "two.yaml")
        gone.unlink()
        lab.wait("it is an orphan", lambda: lab.status()["one/old"]["reason"] == "Orphan")
        assert lab.status()["two/new"]["reason"] == "NoFreeGpu"
        assert "one/old" in lab.status()["two/new"]["message"]
        os.kill(lab.status()["one/old"]["pid"], 0)
        (lab.work / "go").touch()
        lab.wait("the new one ran", lambda: "two/new" in spans(lab))
    assert lab.verdict("one/old")["status"] == "completed"
    assert_never_shared(spans(lab))


def test_screens_of_the_process_launcher_are_not_needed(lab: Lab) -> None:
    lab.gpus(1)
    lab.spec(project({"a": "./hold 20000 0.1", "b": "./hold 20000 0.1"}, launcher="process"))
    lab.settle()
    assert_never_shared(spans(lab))
    assert lab.sessions() == []
    assert Path(lab.attempt("p/a") / "log").exists()
