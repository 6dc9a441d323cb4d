"""Why attempts failed: exit codes and logs as they really are, in tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.facts import Exited
from reconciler.planner.failure import blames_other_process, classify_failure, is_out_of_memory, status_of
from reconciler.planner.oom import memory_exhausted

LOGS = Path(__file__).parents[2] / "golden" / "oom"
GPU, HOST, CODE = Reason.GPU_OUT_OF_MEMORY, Reason.HOST_OUT_OF_MEMORY, Reason.CODE_ERROR

GOLDEN = [
    ("bash_killed", 137, HOST, "host out of memory (exit 137): train.sh: line 3: 11960 Killed python3 -c"),
    ("cpp_bad_alloc", 134, HOST, "host out of memory (exit 134): "),
    ("python_memory_error", 1, HOST, "host out of memory (exit 1): MemoryError"),
    ("launcher_worker_killed", 1, HOST, "died with <Signals.SIGKILL: 9>"),
    ("cpu_allocator", 1, HOST, "DefaultCPUAllocator: can't allocate memory"),
    ("dataloader_worker_killed", 1, HOST, "DataLoader worker (pid 1817) is killed by signal: Killed."),
    ("slurm_oom_kill", 137, HOST, "host out of memory (exit 137): "),
    (
        "torch_blames_process",
        1,
        GPU,
        "GPU out of memory (exit 1; process 2797307 held 14.85 GiB): torch.OutOfMemoryError",
    ),
    ("torch_accelerator_error", 1, GPU, "torch.AcceleratorError: CUDA error: out of memory"),
    ("torchrun_rank_oom", 1, GPU, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ("vllm_no_cache_blocks", 1, GPU, "No available memory for the cache blocks"),
    ("jax_resource_exhausted", 1, GPU, "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while"),
    ("tensorflow_oom", 1, GPU, "OOM when allocating tensor with shape[500,17,17,4032]"),
    ("nccl_cuda_failure", 1, GPU, "Cuda failure 2 'out of memory'"),
    ("rmm_bad_alloc", 1, GPU, "cudaErrorMemoryAllocation"),
    ("oom_then_teardown_noise", 1, GPU, "torch.cuda.OutOfMemoryError: CUDA out of memory."),
    (
        "skipped_batch_then_code_error",
        1,
        CODE,
        "exit 1: ValueError: bad shape (3, 224); if CUDA out of memory, use --tile",
    ),
    ("caught_oom_then_code_error", 1, CODE, "exit 1: FileNotFoundError: [Errno 2] No such file or directory"),
    ("only_warnings", 2, CODE, "exit 2: train.py: error: unrecognized arguments: --learning-rate"),
    ("triton_shared_memory", 1, CODE, "exit 1: triton.runtime.errors.OutOfResources: out of resource"),
    ("segfault", 139, Reason.KILLED_BY_SIGNAL, "killed by SIGSEGV (exit 139): Fatal Python error: Segmentation fault"),
]


@pytest.mark.parametrize(("name", "code", "reason", "message"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_whole_logs(name: str, code: int, reason: Reason, message: str) -> None:
    log = (LOGS / f"{name}.log").read_text(encoding="utf-8")
    found, said = classify_failure(Exited(code, at=1.0), log)
    assert found is reason
    assert message in said


def test_every_golden_log_is_in_the_table() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {row[0] for row in GOLDEN}


def lines_that_mean(memory: str) -> list[str]:
    return (LOGS / f"lines_{memory}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", lines_that_mean("gpu"))
def test_gpu_memory(line: str) -> None:
    assert memory_exhausted(line) is GPU
    assert classify_failure(Exited(1, at=1.0), f"step 1\n{line}\n")[0] is GPU


@pytest.mark.parametrize("line", lines_that_mean("host"))
def test_host_memory(line: str) -> None:
    assert memory_exhausted(line) is HOST
    assert classify_failure(Exited(1, at=1.0), f"step 1\n{line}\n")[0] is HOST


@pytest.mark.parametrize("line", lines_that_mean("neither"))
def test_not_out_of_memory(line: str) -> None:
    assert memory_exhausted(line) is None
    assert classify_failure(Exited(1, at=1.0), f"step 1\n{line}\n")[0] is CODE


EXITS = [
    (
        Exited(1, 1.0),
        'Traceback (most recent call last):\n  File "t.py", line 1\nValueError: bad shape\n',
        CODE,
        "exit 1: ValueError: bad shape",
    ),
    (Exited(1, 1.0), "", CODE, "exit 1"),
    (Exited(3, 1.0), "epoch 1\nepoch 2\n", CODE, "exit 3: epoch 2"),
    (Exited(255, 1.0), "", CODE, "exit 255"),
    (Exited(2, 1.0), "error: no such option: --x\nsee --help\n", CODE, "exit 2: error: no such option: --x"),
    (
        Exited(127, 1.0),
        "sh: 1: trian: not found\n",
        Reason.COMMAND_NOT_FOUND,
        "exit 127, command not found: sh: 1: trian: not found",
    ),
    (
        Exited(126, 1.0),
        "sh: 1: ./run.sh: Permission denied\n",
        Reason.COMMAND_NOT_FOUND,
        "exit 126, command is not executable: sh: 1: ./run.sh: Permission denied",
    ),
    (
        Exited(127, 1.0),
        "MemoryError\nsh: 1: trian: not found\n",
        Reason.COMMAND_NOT_FOUND,
        "exit 127, command not found: sh: 1: trian: not found",
    ),
    (
        Exited(137, 1.0),
        "epoch 1",
        Reason.KILLED_BY_SIGNAL,
        "killed by SIGKILL (exit 137), by hand, or by the kernel for lack of memory (see `dmesg`): epoch 1",
    ),
    (
        Exited(137, 1.0, oom_kills=1),
        "epoch 1",
        Reason.HOST_OUT_OF_MEMORY,
        "killed by the kernel for lack of memory (exit 137): epoch 1",
    ),
    (Exited(143, 1.0, oom_kills=1), "", Reason.KILLED_BY_SIGNAL, "killed by SIGTERM (exit 143)"),
    (Exited(1, 1.0, oom_kills=1), "", Reason.CODE_ERROR, "exit 1"),
    (Exited(143, 1.0), "", Reason.KILLED_BY_SIGNAL, "killed by SIGTERM (exit 143)"),
    (
        Exited(130, 1.0),
        'Traceback (most recent call last):\n  File "t.py", line 1\nKeyboardInterrupt\n',
        Reason.KILLED_BY_SIGNAL,
        "killed by SIGINT (exit 130): KeyboardInterrupt",
    ),
    (Exited(153, 1.0), "", Reason.KILLED_BY_SIGNAL, "killed by SIGXFSZ (exit 153), a file grew over the size limit"),
    (Exited(167, 1.0), "", Reason.KILLED_BY_SIGNAL, "killed by signal 39 (exit 167)"),
    (Exited(0, 1.0), "done\n", Reason.OUTPUT_MISSING, "exit 0, but its outputs are missing: done"),
    (
        Exited(0, 1.0),
        "torch.OutOfMemoryError: CUDA out of memory.\n",
        GPU,
        "GPU out of memory (exit 0): torch.OutOfMemoryError: CUDA out of memory.",
    ),
    (
        Exited(75, 1.0, lock_held="gpu:GPU-1"),
        "MemoryError\n",
        Reason.LOCK_HELD,
        "refused to start: the lock gpu:GPU-1 is held by another attempt",
    ),
    (None, "epoch 7\n", Reason.PAYLOAD_VANISHED, "its processes are gone and no exit code was recorded: epoch 7"),
    (None, "MemoryError\n", HOST, "host out of memory (no exit code): MemoryError"),
]


@pytest.mark.parametrize(("exited", "log", "reason", "message"), EXITS)
def test_exit_code_first_then_log(exited: Exited | None, log: str, reason: Reason, message: str) -> None:
    assert classify_failure(exited, log) == (reason, message)


FRAME = '  File "t.py", line 9, in step\n    raise RuntimeError("CUDA out of memory")\n'
ORDER = [
    ("source code in a frame says nothing", f"Traceback (most recent call last):\n{FRAME}KeyError: 'lr'\n", CODE),
    ("the log begins inside a frame", f"{FRAME}KeyError: 'lr'\n", CODE),
    ("source code in a box", "│ ❱ 9 │ except torch.cuda.OutOfMemoryError:  │\n╰──╯\nKeyError: 'lr'\n", CODE),
    ("last error wins", "MemoryError: x\nValueError: y\n", CODE),
    ("last error wins, other way", "ValueError: y\nMemoryError: x\n", HOST),
    (
        "raised while handling it",
        "MemoryError\n\nDuring handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "t.py", line 1\nOSError: cannot save\n',
        HOST,
    ),
    (
        "handling something else came first",
        "MemoryError\nepoch 2\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "t.py", line 1\nOSError: cannot save\n',
        CODE,
    ),
    ("SIGKILL after a GPU error", "RuntimeError: CUDA error: out of memory\nKilled\n", GPU),
    ("SIGKILL after another error", "ValueError: y\nKilled\n", HOST),
    (
        "a thread cut off at exit",
        "MemoryError\nException in thread T:\nTraceback (most recent call last):\nEOFError\n",
        HOST,
    ),
    ("a peer was lost", "[rank0]: MemoryError\nRuntimeError: Connection closed by peer [10.0.0.7]:4111\n", HOST),
    ("only a launcher speaks", "subprocess.CalledProcessError: Command 'x' returned non-zero exit status 1.\n", CODE),
    ("progress bars redraw with CR", "MemoryError\r 10%|#  | 1/10\rValueError: y\r", CODE),
]


@pytest.mark.parametrize(("log", "reason"), [row[1:] for row in ORDER], ids=[row[0] for row in ORDER])
def test_which_error_decides(log: str, reason: Reason) -> None:
    assert classify_failure(Exited(1, at=1.0), log)[0] is reason


TRACE = 'Traceback (most recent call last):\n  File "t.py", line 3, in <module>\n    step()\n'
HUNG = [
    (TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB.\n", GPU),
    (TRACE + "MemoryError\nwandb: Synced 5 files\n", HOST),
    ("[rank0]: " + TRACE.replace("\n  ", "\n[rank0]:   ") + "[rank0]: MemoryError\n[rank1]: MemoryError\n", HOST),
    (TRACE + "torch.OutOfMemoryError: CUDA out of memory.\nstep 12 loss 0.4\n", None),
    (TRACE + "torch.OutOfMemoryError: CUDA out of memory.\n" + TRACE + "ValueError: y\n", None),
    ("CUDA out of memory on batch 3\n", None),
    ("WARNING:root:CUDA out of memory. Skipping this batch.\n", None),
    ("step 1\n", None),
    ("", None),
]


@pytest.mark.parametrize(("log", "reason"), HUNG)
def test_hung_after_out_of_memory_only_without_further_output(log: str, reason: Reason | None) -> None:
    assert is_out_of_memory(log) is reason


def test_a_live_job_is_judged_more_strictly_than_a_failed_one() -> None:
    log = (LOGS / "caught_oom_then_code_error.log").read_text(encoding="utf-8").split("Traceback")[1]
    assert classify_failure(Exited(1, at=1.0), "Traceback" + log)[0] is GPU
    assert is_out_of_memory("Traceback" + log) is None


BLAMED = [
    ("CUDA out of memory. Process 2797307 has 14.85 GiB memory in use.", (2797307, "14.85 GiB")),
    ("Process 1 has 702.00 MiB memory in use. Process 22 has 1.10 GiB memory in use.", (22, "1.10 GiB")),
    ("Process 1 has 9.00 GiB memory in use.\nProcess 2 has 1.00 GiB memory in use.\n", (2, "1.00 GiB")),
    ("Including non-PyTorch memory, this process has 23.6 GiB memory in use.", None),
    ("", None),
]


@pytest.mark.parametrize(("log", "blamed"), BLAMED)
def test_the_process_that_is_blamed(log: str, blamed: tuple[int, str] | None) -> None:
    assert blames_other_process(log) == blamed


def test_quotes_are_one_clean_line_of_at_most_200_characters() -> None:
    log = "\x1b[31mValueError: \x07bad\tshape " + "x" * 500 + "\x1b[0m\r\n"
    reason, message = classify_failure(Exited(1, at=1.0), log)
    assert reason is CODE
    quote = message.removeprefix("exit 1: ")
    assert quote.startswith("ValueError: bad shape xxx")
    assert quote.endswith("...")
    assert len(quote) == 200


@pytest.mark.parametrize("reason", list(Reason))
def test_status_of_every_reason(reason: Reason) -> None:
    expected = JobStatus.FAILED_OOM if reason in (GPU, HOST) else JobStatus.FAILED_OTHER
    assert status_of(reason) is expected


WORDS = st.sampled_from(
    [
        "Traceback (most recent call last):",
        '  File "x", line 1',
        "CUDA out of memory",
        "Killed",
        "MemoryError",
        "\n",
        "\r",
        "During handling of the above exception",
        "Exception ignored in:",
        "[rank0]: ",
        "│",
        " ",
        "if ",
        "\x1b[0m",
        "Error:",
    ]
)
LOG = st.lists(st.one_of(WORDS, st.text(max_size=20)), max_size=40).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.none(), st.integers(-300, 300)), LOG)
def test_any_log_gets_one_printable_line(code: int | None, log: str) -> None:
    reason, message = classify_failure(None if code is None else Exited(code, at=1.0), log)
    assert message.isprintable()
    assert len(message) <= 400
    assert is_out_of_memory(log) in (None, GPU, HOST)
    assert blames_other_process(log) is None
    assert reason in (
        GPU,
        HOST,
        CODE,
        Reason.KILLED_BY_SIGNAL,
        Reason.COMMAND_NOT_FOUND,
        Reason.OUTPUT_MISSING,
        Reason.PAYLOAD_VANISHED,
    )


@pytest.mark.parametrize("unit", ["cuda ", "Error", "a.", "[", "RESOURCE_EXHAUSTED ", "\t", '  File "', "1: ", "std::"])
def test_long_logs_of_one_word_are_read_in_bounds(unit: str) -> None:
    """Guards against patterns that go back and forth: such a log would not end within the time limit of the suite."""
    log = unit * 300_000
    classify_failure(Exited(1, at=1.0), log)
    classify_failure(Exited(1, at=1.0), log.replace(" ", "\n"))
