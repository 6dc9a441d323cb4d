"""conda, mamba, virtual environments and runners in job.sh: real pythons, stand-ins for what cannot be installed."""

from __future__ import annotations

import os
import sys
import venv
from importlib import import_module
from pathlib import Path

import pytest

from reconciler.spec.load import load_text
from tests.integration.host.test_hostile_values import TEXTS, plain
from tests.integration.host.test_job_script import Bench
from tests.property.test_spec_quoting import yaml_text

FAKEBIN = Path(__file__).parents[2] / "fakebin"
GOLDEN = Path(__file__).parents[2] / "golden" / "environments"
UV_SAYS = ["uv-no-python", "uv-no-solution", "uv-no-lockfile"]
BOTH_SHELLS = ["bash", pytest.param("dash", marks=pytest.mark.needs("dash"))]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_golden_message_is_told() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(UV_SAYS)


def install(name: str, folder: Path, says: str = "") -> Path:
    """A stand-in, or a program that only `says` something and fails."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 1\n" if says else (FAKEBIN / name).read_text())
    program.chmod(0o755)
    return program


def python_in(prefix: Path) -> Path:
    """A real python whose prefix this is."""
    venv.create(prefix, symlinks=True)
    return prefix


def failed(bench: Bench, *words: str) -> None:
    """Nothing of the command ran, and why is one line with these words."""
    message = bench.setup_failed
    assert message.count("\n") == 1
    assert all(word in message for word in words), message
    assert not (bench.root / "ran").exists()


class TestDetection:
    ORDER = ("hook", "anaconda3", "miniconda3", "miniforge3", "EXQ_CONDA_HOOK", "ARIS_CONDA_HOOK", "path", "CONDA_EXE")

    @pytest.mark.parametrize("first", range(len(ORDER)))
    def test_order(self, bench: Bench, first: int) -> None:
        """Of all that could be found, the first is taken: of the spec, the usual places, the variables, the PATH."""
        bench.environment("dllm")
        hook = None
        for place in self.ORDER[first:]:
            root = bench.root / ("home" if place[0].islower() else "other") / place
            bench.conda_at(root)
            if place == "hook":
                hook = str(root)
            elif place == "path":
                bench.env["PATH"] += f":{root}/bin"
            elif place.isupper():
                bench.env[place] = f"{root}/bin/conda" if place == "CONDA_EXE" else str(root)
        done = bench.run(conda="dllm", conda_hook=hook, cmd='echo "$CONDA_EXE"')
        assert f"/{self.ORDER[first]}/bin/conda" in done.stdout, done.stderr

    @pytest.mark.parametrize("name", ["mamba", "micromamba"])
    @pytest.mark.parametrize("how", ["program", "folder", "code", "path", "MAMBA_EXE"])
    def test_mamba_does_as_well(self, bench: Bench, name: str, how: str) -> None:
        program = bench.root / "m" / "bin" / name
        install("micromamba", program.parent).rename(program)
        prefix = bench.environment("dllm")
        hooks = {"program": str(program), "folder": str(bench.root / "m")}
        hooks["code"] = f'eval "$({program} shell hook --shell bash)"'
        if how == "path":
            bench.env["PATH"] += f":{program.parent}"
        elif how == "MAMBA_EXE":
            bench.env[how] = str(program)
        done = bench.run(conda="dllm", conda_hook=hooks.get(how), cmd='echo "$CONDA_PREFIX"')
        assert (done.stdout, done.returncode) == (f"{prefix}\n", 0), done.stderr

    def test_a_mamba_that_is_conda_underneath(self, bench: Bench) -> None:
        """mamba 1 has no `shell hook` and answers as conda does."""
        bench.conda_at(bench.root / "m")
        (bench.root / "m/bin/conda").rename(bench.root / "m/bin/mamba")
        prefix = bench.environment("dllm")
        done = bench.run(conda="dllm", conda_hook=str(bench.root / "m/bin/mamba"), cmd='echo "$CONDA_PREFIX"')
        assert (done.stdout, done.returncode) == (f"{prefix}\n", 0), done.stderr


class TestConda:
    @pytest.mark.parametrize("shell", BOTH_SHELLS)
    def test_micromamba_says_what_is_missing(self, bench: Bench, shell: str) -> None:
        install("micromamba", bench.root / "m/bin")
        done = bench.run(shell, conda="nope", conda_hook=str(bench.root / "m"), cmd="touch ran")
        assert done.returncode == 96
        said = f"critical libmamba Cannot activate, prefix does not exist at: '{bench.root}/envs/nope'"
        failed(bench, f"the conda environment nope cannot be activated: {said}")

    def test_micromamba_that_was_not_initialised(self, bench: Bench) -> None:
        install("micromamba", bench.root / "bin").rename(bench.root / "bin/conda")
        bench.env["PATH"] = f"{bench.root}/bin:/usr/bin:/bin"
        assert bench.run(conda="x", conda_hook="eval true", cmd="touch ran").returncode == 96
        failed(bench, "is running as a subprocess and can't modify the parent shell.")

    def test_conda_itself_is_broken(self, bench: Bench) -> None:
        """Its own python was taken away by an upgrade of the system."""
        program = install("conda", bench.root / "c/bin", "/opt/c/bin/python: No module named conda")
        assert bench.run(conda="x", conda_hook=str(program), cmd="touch ran").returncode == 96
        failed(bench, f"{program} does not start: /opt/c/bin/python: No module named conda")

    def test_hook_code_that_fails_is_told(self, bench: Bench) -> None:
        bench.run(conda="x", conda_hook='eval "$(/nowhere/conda shell.bash hook)"', cmd="touch ran")
        failed(bench, "/nowhere/conda: No such file or directory", "cannot be activated")

    @pytest.mark.parametrize("shell", BOTH_SHELLS)
    def test_a_sound_environment(self, bench: Bench, shell: str) -> None:
        bench.conda_at(bench.root / "c")
        prefix = python_in(bench.environment("dllm"))
        done = bench.run(
            shell,
            conda="dllm",
            conda_hook=str(bench.root / "c"),
            cmd="python -c 'import sys; print(sys.prefix)'",
        )
        assert (done.stdout, done.stderr, done.returncode) == (f"{prefix}\n", "", 0)

    def test_without_a_python_where_one_is_called(self, bench: Bench) -> None:
        """The python of the system would be run instead, without any of the packages."""
        bench.conda_at(bench.root / "c")
        prefix = bench.environment("dllm")
        change = {"conda": "dllm", "conda_hook": str(bench.root / "c")}
        assert bench.run(**change, cmd="touch ran; python train.py").returncode == 96
        failed(bench, f"the conda environment dllm has no python: {prefix}/bin/python is not there")
        assert bench.run(**change, cmd="./train.sh python.txt || exit 3").returncode == 3

    def test_a_python_that_does_not_start(self, bench: Bench) -> None:
        bench.conda_at(bench.root / "c")
        bin_folder = bench.environment("dllm") / "bin"
        says = "python: error while loading shared libraries: libpython3.10.so.1.0: cannot open shared object file"
        install("python", bin_folder, f"Python path configuration:\n  PYTHONHOME = (not set)\n{says}")
        assert bench.run(conda="dllm", conda_hook=str(bench.root / "c"), cmd="touch ran").returncode == 96
        failed(bench, f"the python of the conda environment dllm cannot be used: {says}")

    def test_a_python_of_another_prefix(self, bench: Bench) -> None:
        """An environment that was copied or moved: its python still works for the old one."""
        bench.conda_at(bench.root / "c")
        bin_folder = bench.environment("dllm") / "bin"
        other = python_in(bench.root / "old")
        bin_folder.mkdir()
        (bin_folder / "python").write_text(f'#!/bin/sh\nexec {other}/bin/python "$@"\n')
        (bin_folder / "python").chmod(0o755)
        assert bench.run(conda="dllm", conda_hook=str(bench.root / "c"), cmd="touch ran").returncode == 96
        failed(bench, "the conda environment dllm cannot be used", f"it belongs to {other}")


class TestVenv:
    SHOW = 'python -c "import sys; print(sys.prefix)"; echo "$VIRTUAL_ENV ${PYTHONHOME-unset} ${PATH%%:*}"'

    @pytest.mark.parametrize("shell", BOTH_SHELLS)
    @pytest.mark.parametrize("path", [".venv", "~/envs/my env", "/ROOT/it's"])
    def test_it_is_entered(self, bench: Bench, path: str, shell: str) -> None:
        path = path.replace("/ROOT", str(bench.root))
        real = python_in(Path(path.replace("~", str(bench.root / "home"))) if path[0] in "~/" else bench.root / path)
        done = bench.run(shell, venv=path, cmd=self.SHOW, env={"PYTHONHOME": "/nonexistent", "CDPATH": "/"})
        assert done.stdout == f"{real}\n{real} unset {real}/bin\n", done.stderr

    def test_it_is_missing(self, bench: Bench) -> None:
        assert bench.run(venv=".venv", cmd="touch ran").returncode == 96
        failed(bench, "the virtual environment .venv is not there")

    def test_its_python_was_upgraded_away(self, bench: Bench) -> None:
        prefix = python_in(bench.root / ".venv")
        (prefix / "bin/python").unlink()
        (prefix / "bin/python").symlink_to("/usr/bin/python3.4")
        assert bench.run(venv=".venv", cmd="touch ran").returncode == 96
        failed(bench, "the virtual environment .venv is broken", "a link to /usr/bin/python3.4, which is not there")

    def test_it_was_moved(self, bench: Bench) -> None:
        """pyvenv.cfg is gone: python takes itself for the one of the system."""
        prefix = python_in(bench.root / ".venv")
        (prefix / "pyvenv.cfg").unlink()
        assert bench.run(venv=".venv", cmd="touch ran").returncode == 96
        failed(bench, "the python of the virtual environment .venv cannot be used", "it belongs to")

    def test_a_folder_that_is_none(self, bench: Bench) -> None:
        (bench.root / ".venv").mkdir()
        assert bench.run(venv=".venv", cmd="touch ran").returncode == 96
        failed(bench, "the virtual environment .venv has no python", f"{bench.root}/.venv/bin/python")

    @pytest.mark.parametrize("value", [text for text in TEXTS if text.strip() == text and text])
    def test_hostile_paths(self, bench: Bench, value: str) -> None:
        found, errors = load_text(
            f"project: p\ncwd: {bench.root}\nvenv: {plain(value)}\njobs: [{{id: j, cmd: x}}]", "s", "/"
        )
        if found is None:
            assert errors
            return
        done = bench.run(venv=next(found.jobs()).venv, cmd="touch ran")
        assert done.returncode == 96 and not list(bench.root.rglob("canary"))


class TestRunner:
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        made = Bench(tmp_path)
        install("uv", made.root / "tools")
        made.env["PATH"] = f"{made.root}/tools:{os.path.dirname(sys.executable)}:/usr/bin:/bin"
        return made

    @pytest.mark.parametrize(
        ("cmd", "shown"),
        [
            ("printf '%s|' a 'b c' \"d e\"", "a|b c|d e|"),
            ("printf %s --lr=1e-4,x@y:z~", "--lr=1e-4,x@y:z~"),
            ('echo "$GPU" ${EXQ_JOB} "$HOME"', "3 j HOME\n"),
            ("echo 'a;b' && echo c | cat", "a;b\nc\n"),
            ("cd / && pwd", "/\n"),
            ("cd /", ""),
            ("A=1 env | grep ^A=", "A=1\n"),
            ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n"),
            ("cat <<'END'\n$HOME 'x' \"y\"\nEND", "$HOME 'x' \"y\"\n"),
            ('echo "it\'s" $((1 + 2)) `echo x` # ${nothing}', "it's 3 x\n"),
            ("python3 -c 'print(\"a b\")'", "a b\n"),
            ('test "$VIRTUAL_ENV" = "$PWD/.venv" && echo inside', "inside\n"),
            ("echo \\\\ '\\' \"\\\\\"", "\\ \\ \\\n"),
        ],
    )
    @pytest.mark.parametrize("shell", BOTH_SHELLS)
    def test_the_command_says_what_it_says_without(self, bench: Bench, cmd: str, shown: str, shell: str) -> None:
        done = bench.run(shell, runner="uv run --with x", cmd=cmd)
        assert (done.stdout.replace(bench.env["HOME"], "HOME"), done.returncode) == (shown, 0), done.stderr

    @pytest.mark.parametrize(
        ("cmd", "code"), [("exit 7", 7), ("false | cat", 1), ("sh -c 'exit 4'", 4), ("true && (exit 5)", 5)]
    )
    def test_exit_codes(self, bench: Bench, cmd: str, code: int) -> None:
        assert bench.run(runner="uv run", cmd=cmd).returncode == code

    def test_it_runs_inside_as_a_whole(self, bench: Bench) -> None:
        """Not only the first part of it."""
        done = bench.run(
            runner="uv run", cmd="printenv UV_RUN_RECURSION_DEPTH && printenv UV_RUN_RECURSION_DEPTH | cat"
        )
        assert done.stdout == "1\n1\n"

    def test_a_plain_call_reads_as_it_would_be_typed(self, bench: Bench) -> None:
        text = bench.render(runner="pixi run -e train", cmd="python train.py --lr 1e-4").read_text()
        assert text.endswith("\npixi run -e train python train.py --lr 1e-4\n")

    def test_one_that_is_not_installed(self, bench: Bench) -> None:
        assert bench.run(runner="pixi run", cmd="touch ran").returncode == 96
        failed(bench, "the runner pixi was not found: install it, or name it with its path")

    @pytest.mark.parametrize("says", UV_SAYS)
    def test_one_that_has_no_environment(self, bench: Bench, says: str) -> None:
        bench.env["FAKE_UV_SAYS"] = str(GOLDEN / says)
        done = bench.run(runner="uv run", cmd="touch ran")
        assert done.returncode == 96
        words = " ".join((GOLDEN / says).read_text().split())
        failed(bench, f"uv run cannot run anything: {words}")
        assert (GOLDEN / says).read_text() in done.stderr, "the log has it as it was"

    def test_one_that_takes_only_its_own_kind_is_not_tried(self, bench: Bench) -> None:
        (bench.root / "train.py").write_text("print('trained')\n")
        done = bench.run(runner="uv run python3", cmd="train.py")
        assert (done.stdout, done.returncode) == ("trained\n", 0), done.stderr

    @pytest.mark.parametrize("value", TEXTS)
    @pytest.mark.parametrize("runner", ["uv run --extra ${x}", "uv run --extra '${x}'", "env X=${x}"])
    def test_hostile_values(self, bench: Bench, value: str, runner: str) -> None:
        text = (
            f"project: p\ncwd: {bench.root}\ngrid: {{x: [{yaml_text(value)}, o]}}\n"
            f"template: {{cmd: 'true && printf %s ${{x}}', runner: {yaml_text(runner)}}}\n"
        )
        found, errors = load_text(text, "s", "/")
        if found is None:
            assert errors
            return
        job = next(found.jobs())
        done = bench.run(runner=job.runner, cmd=job.cmd)
        assert done.stdout == value, done.stderr
        assert not list(bench.root.rglob("canary"))


@pytest.mark.needs("module:uv")
def test_the_real_uv(bench: Bench) -> None:
    found = import_module("uv").find_uv_bin()
    bench.env["PATH"] = f"{os.path.dirname(found)}:/usr/bin:/bin"
    bench.env.update({"UV_OFFLINE": "1", "UV_PYTHON": sys.executable})
    (bench.root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0"\nrequires-python = ">=3.8"\n')
    shown = bench.run(runner="uv run", cmd="cd / && python -c 'import sys; print(sys.prefix)' | cat")
    assert shown.stdout == f"{bench.root}/.venv\n", shown.stderr
    (bench.root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0"\nrequires-python = ">=3.99"\n')
    assert bench.run(runner="uv run", cmd="touch ran").returncode == 96
    failed(bench, "uv run cannot run anything: ", "3.99")
