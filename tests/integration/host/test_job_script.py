"""job.sh as rendered, run by hand and by the shim, with a stand-in for conda."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.host.script import render_job_script
from reconciler.model.enums import LauncherKind, SuccessRule, Waves
from reconciler.model.ledger import AttemptRecord
from reconciler.model.spec import LOCAL_HOST, Job, Placement, Project, RetryPolicy
from tests.integration.host.conftest import Box

CONDA = Path(__file__).parents[2] / "fakebin" / "conda"
RECORD = AttemptRecord("p/j", 2, "g", "here", "process", None, ("GPU-3", "GPU-5"), (3, 5), 1.0, "3f2c1d9")
PROJECT = Project(
    name="p",
    source="p.yaml",
    cwd="/",
    placements=(Placement(LOCAL_HOST),),
    gpu_pool=None,
    max_parallel=1,
    gpu_free_threshold_mib=500,
    oom_retry=RetryPolicy(0, 1),
    failure_retry=RetryPolicy(0, 1),
    waves=Waves.ROLLING,
    success=SuccessRule.EXIT_AND_OUTPUT,
    linger_s=1,
    launcher=LauncherKind.AUTO,
    analyze_on_complete=None,
    phases=(),
)


class Bench:
    """Renders and runs scripts in a home of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "attempt dir's"
        self.folder.mkdir()
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(root / "home"), "FAKE_CONDA_ENVS": str(root / "envs")}
        (root / "home").mkdir()
        self.record = RECORD
        self.job = Job(
            key="p/j", project="p", id="j", phase="main", cmd="true", cwd=str(root), env={}, conda=None,
            conda_hook=None, outputs=(), preconditions=(), params={}, gpus=2, generation="g", source="p.yaml:1:1",
        )  # fmt: skip

    def render(self, **changes: object) -> Path:
        script = self.folder / "job.sh"
        job = replace(self.job, **changes)  # type: ignore[arg-type]
        script.write_text(render_job_script(job, PROJECT, self.record, str(self.folder), "/state"))
        return script

    def run(self, shell: str = "bash", **changes: object) -> subprocess.CompletedProcess[str]:
        script = self.render(**changes)
        return subprocess.run([shell, str(script)], env=self.env, capture_output=True, text=True, check=False)

    def conda_at(self, root: Path) -> None:
        """Install the stand-in as a conda of its own."""
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "conda").write_bytes(CONDA.read_bytes())
        (root / "bin" / "conda").chmod(0o755)

    def environment(self, name: str) -> Path:
        activation = self.root / "envs" / name / "etc" / "conda" / "activate.d"
        activation.mkdir(parents=True)
        (activation / "vars.sh").write_text("export FROM_ACTIVATION=yes\n")
        return self.root / "envs" / name

    @property
    def setup_failed(self) -> str:
        return (self.folder / "setup_failed").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("shell", ["bash", pytest.param("dash", marks=pytest.mark.needs("dash"))])
def test_it_runs_by_hand_with_its_exports(bench: Bench, shell: str) -> None:
    wanted = "$EXQ_ATTEMPT|$EXQ_STATE|$EXQ_PROJECT|$EXQ_JOB|$EXQ_PHASE|$EXQ_ATTEMPT_NUMBER|$EXQ_ATTEMPT_DIR"
    cuda = "$CUDA_DEVICE_ORDER|$CUDA_VISIBLE_DEVICES|$GPU|$ODD"
    done = bench.run(shell, cmd=f'printf "%s" "{wanted}|{cuda}"', env={"ODD": "it's $HOME `x` \"\n;"})
    expected = f"p/j/2|/state|p|j|main|2|{bench.folder}|PCI_BUS_ID|3,5|3|it's $HOME `x` \"\n;"
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_without_gpus_none_are_seen(bench: Bench) -> None:
    bench.record = replace(RECORD, gpus=(), gpu_indices=())
    assert bench.run(cmd='echo "[$CUDA_VISIBLE_DEVICES$GPU]"', env={"CUDA_VISIBLE_DEVICES": "0"}).stdout == "[]\n"


@pytest.mark.parametrize(
    ("cmd", "code"),
    [
        ("true", 0),
        ("exit 7", 7),
        ("false | cat", 1),
        ("(exit 9) | tee copy >/dev/null", 9),
        ("set +o pipefail\nfalse | cat", 0),
        ("cat <<'END'\n$HOME\nEND\nexit 3", 3),
        ("if true; then\n  exit 4\nfi", 4),
        ("no-such-program-here", 127),
        ("exit 5 # a comment", 5),
        ("# only a comment", 0),
        ("for i in 1 2; do\n  echo $i\ndone; exit 6", 6),
        ("true \\", 0),
    ],
)
def test_the_command_runs_as_written_and_keeps_its_exit_code(bench: Bench, cmd: str, code: int) -> None:
    assert bench.run(cmd=cmd).returncode == code


@pytest.mark.parametrize("cwd", ["~", "~/a b", "{root}/it's", "relative"])
def test_working_folder(bench: Bench, cwd: str) -> None:
    for folder in ("home/a b", "it's"):
        (bench.root / folder).mkdir()
    done = bench.run(cwd=cwd.format(root=bench.root), cmd="pwd")
    if cwd == "relative":
        assert done.returncode == 96
        assert bench.setup_failed == "the working folder relative cannot be entered\n"
        return
    expected = {"~": "home", "~/a b": "home/a b"}.get(cwd, "it's")
    assert done.stdout == f"{bench.root}/{expected}\n"


HOOKS = ["{conda}", "{conda}/bin/conda", 'eval "$({conda}/bin/conda shell.bash hook)"', "~/my conda"]


@pytest.mark.parametrize("hook", HOOKS)
def test_conda_hook_may_be_a_folder_a_program_or_code(bench: Bench, hook: str) -> None:
    bench.conda_at(bench.root / "conda")
    bench.conda_at(bench.root / "home" / "my conda")
    prefix = bench.environment("dllm")
    cmd = 'echo "$CONDA_PREFIX $FROM_ACTIVATION ${PATH%%:*}"'
    done = bench.run(conda="dllm", conda_hook=hook.format(conda=bench.root / "conda"), cmd=cmd)
    assert (done.stdout, done.returncode) == (f"{prefix} yes {prefix}/bin\n", 0), done.stderr


@pytest.mark.parametrize("place", ["home", "EXQ_CONDA_HOOK", "ARIS_CONDA_HOOK", "path"])
def test_conda_is_found_where_it_usually_is(bench: Bench, place: str) -> None:
    prefix = bench.environment("dllm")
    root = bench.root / "home" / "miniconda3" if place == "home" else bench.root / "elsewhere"
    bench.conda_at(root)
    if place == "path":
        bench.env["PATH"] += f":{root}/bin"
    elif place != "home":
        bench.env[place] = str(root)
    done = bench.run(conda="dllm", cmd='echo "$CONDA_PREFIX"')
    assert (done.stdout, done.returncode) == (f"{prefix}\n", 0), done.stderr


def test_unknown_environment_is_told_in_condas_words(bench: Bench) -> None:
    bench.conda_at(bench.root / "conda")
    done = bench.run(conda="nope", conda_hook=str(bench.root / "conda"), cmd="touch ran")
    assert done.returncode == 96
    assert "EnvironmentNameNotFound: Could not find conda environment: nope" in bench.setup_failed
    assert bench.setup_failed.count("\n") == 1
    assert not (bench.root / "ran").exists()


@pytest.mark.parametrize("hook", [None, "/nonexistent/conda"])
def test_missing_conda_is_a_setup_failure(bench: Bench, hook: str | None) -> None:
    done = bench.run(conda="dllm", conda_hook=hook, cmd="touch ran")
    assert done.returncode == 96
    assert bench.setup_failed.startswith("conda was not found")
    assert not (bench.root / "ran").exists()


def test_conda_that_was_not_initialised(bench: Bench) -> None:
    """A hook that defines nothing leaves the bare program, which refuses."""
    bench.conda_at(bench.root / "conda")
    bench.env["PATH"] += f":{bench.root}/conda/bin"
    done = bench.run(conda="dllm", conda_hook="eval true", cmd="touch ran")
    assert done.returncode == 96
    assert "CondaError: Run 'conda init' before 'conda activate'" in bench.setup_failed


def test_a_setup_failure_is_a_fact_of_the_attempt(box: Box, root: Path) -> None:
    folder = box.state / "attempts" / "p/j/2"
    bench = Bench(root)
    job = replace(bench.job, cwd="/nonexistent")
    box.launch("p/j/2", render_job_script(job, PROJECT, RECORD, str(folder), str(box.state)))
    facts = box.exited("p/j/2")
    assert facts["exited"]["code"] == 96
    assert facts["setup_error"] == "the working folder /nonexistent cannot be entered"
    assert "exq: the working folder /nonexistent cannot be entered\n" in facts["log_tail"]
