"""From entries to jobs: commands, args, inheritance, ids, grids, generations."""

from __future__ import annotations

import pytest

from reconciler.model.enums import LauncherKind, PreconditionKind, SuccessRule, Waves
from reconciler.model.spec import LOCAL_HOST, GpuPool, Job, Placement, Project, RetryPolicy
from reconciler.spec.ids import fitted, name_problem, safe_value
from reconciler.spec.jobs import generation_of
from reconciler.spec.load import load_text
from reconciler.spec.units import duration_s, size_mib


def load(text: str) -> Project:
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is not None, [str(error) for error in errors]
    return project


def jobs(text: str) -> list[Job]:
    return list(load(text).jobs())


ARGS = [
    ("{a: 1, b: text}", "--a 1 --b text", "a=1 b=text"),
    ("{a: true, b: false, c: null, d: }", "--a", "a=true b=false c=null d=null"),
    ("{a: 'true'}", "--a true", "a=true"),
    ("{a: [1, x y, 0.10]}", "--a 1 'x y' 0.10", "'a=[1,x y,0.10]'"),
    ("{a: []}", "--a", "'a=[]'"),
    ("{a: [true, null]}", "--a true null", "'a=[true,null]'"),
    ("{a: it's}", "--a 'it'\"'\"'s'", "'a=it'\"'\"'s'"),
    ('{a: ""}', "--a ''", "a="),
    ("{a: $HOME/x y}", "--a \"$HOME\"'/x y'", "a=\"$HOME\"'/x y'"),
    ("{a: '$(date)', b: $$HOME}", "--a '$(date)' --b '$HOME'", "'a=$(date)' 'b=$HOME'"),
    ("{a: g${GPU}, b: '${EXQ_ATTEMPT_DIR}/o'}", '--a g"${GPU}" --b "${EXQ_ATTEMPT_DIR}"/o',
     'a=g"${GPU}" b="${EXQ_ATTEMPT_DIR}"/o'),
    ("{a.b: 1, +c: 2, ~d: 3}", "--a.b 1 --+c 2 '--~d' 3", "a.b=1 +c=2 '~d=3'"),
    ("{a: -3, b: 50%}", "--a -3 --b 50%", "a=-3 b=50%"),
    ("{out: runs/${seed}, seed: 007}", "--out runs/007 --seed 007", "out=runs/007 seed=007"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "flags", "hydra"), ARGS)
def test_args_are_rendered_in_both_styles(args: str, flags: str, hydra: str) -> None:
    spec = f"jobs:\n  - id: a\n    cmd: run\n    args: {args}\n"
    assert jobs(spec)[0].cmd == f"run {flags}"
    assert jobs(f"args_style: hydra\n{spec}")[0].cmd == f"run {hydra}"


def test_a_varying_argument_follows_its_type() -> None:
    made = jobs("grid: {x: [true, false, null, 1, a b]}\ntemplate: {cmd: run, args: {x: ${x}}}\n")
    assert [job.cmd for job in made] == ["run --x", "run", "run", "run --x 1", "run --x 'a b'"]
    made = jobs("args_style: hydra\ngrid: {x: [True, ~, 1]}\ntemplate: {cmd: run, args: {x: ${x}}}\n")
    assert [job.cmd for job in made] == ["run x=true", "run x=null", "run x=1"]


COMMANDS = [
    ("run $HOME ${GPU} ${EXQ_JOB} $$ $$$$ $${x} $1", "run $HOME ${GPU} ${EXQ_JOB} $ $$ ${x} $1"),
    ("run 100% ${p}%d", "run 100% 5%d"),
    ("run $A${p} \"$A${p}\" '$A${p}'", "run ${A}5 \"${A}5\" '$A5'"),
    ("run ${s}", "run 'a b'"),
    ("run --x=${s}.txt", "run --x='a b'.txt"),
    ("run {${p},1}", "run {'5',1}"),
    ('run "$(echo ${s})"', "run \"$(echo 'a b')\""),
    ("cat <<< ${s}", "cat <<< 'a b'"),
    ("  run ${p}  ", "run 5"),
    ("run ${arg}", "run 'v 5'"),
]


@pytest.mark.parametrize(("template", "expected"), COMMANDS)
def test_commands_get_their_values(template: str, expected: str) -> None:
    quoted = template.replace("'", "''")
    spec = f"jobs:\n  - id: a\n    params: {{p: 5, s: a b}}\n    args: {{arg: 'v ${{p}}'}}\n    cmd: '{quoted}'\n"
    assert jobs(spec)[0].cmd == f"{expected} --arg 'v 5'"


def test_inner_settings_win_and_args_and_env_are_merged() -> None:
    project = load(
        "cwd: work\nconda: base\ndefault_cmd: run\nargs: {a: 1, b: 1, c: 1}\nenv: {A: 1, B: 1}\noutput_check: p\n"
        "preconditions: [{type: dir_exists, path: data}]\n"
        "phases:\n"
        "  - name: one\n    cwd: /abs/../x\n    conda: null\n    args: {b: 2}\n    env: {B: 2}\n"
        "    expected_output: [q, r]\n"
        "    preconditions: []\n"
        "    jobs:\n      - {id: j, args: {c: 3}, env: {C: '${c} $$HOME $${GPU}'}}\n"
        "      - {id: k, cmd: other, conda: mine}\n"
        "  - name: two\n    default_cmd: walk\n    jobs: [{id: l, cwd: ~/there, output_check: []}]\n"
    )
    j, k, after = project.jobs()
    assert (j.cmd, j.cwd, j.conda) == ("run --a 1 --b 2 --c 3", "/x", None)
    assert j.env == {"A": "1", "B": "2", "C": "3 $HOME ${GPU}"}
    assert (j.outputs, j.preconditions) == (("q", "r"), ())
    assert (k.cmd, k.conda) == ("other --a 1 --b 2 --c 1", "mine")
    assert (after.cmd, after.cwd, after.conda, after.outputs) == ("walk --a 1 --b 1 --c 1", "~/there", "base", ())
    assert [(check.kind, check.subject) for check in after.preconditions] == [(PreconditionKind.DIR_EXISTS, "data")]
    assert project.cwd == "/base/work"


def test_preconditions_know_both_ways_to_name_a_parameter() -> None:
    (job,) = jobs(
        "preconditions:\n"
        "  - {type: file_exists, path: 'a_{N}_${N}_{x,y}_{1}.pt'}\n"
        "  - {type: command, command: 'test -e ${f} && echo {N}'}\n"
        "jobs: [{id: a, cmd: x, params: {N: 064, f: my file}}]\n"
    )
    assert [check.subject for check in job.preconditions] == ["a_064_064_{x,y}_{1}.pt", "test -e 'my file' && echo {N}"]


def test_top_level_jobs_and_grids_are_phase_main_in_file_order() -> None:
    project = load(
        "grid: [{N: [1, 2]}, {M: 3}]\ntemplate: {cmd: run}\njobs: [{id: z, cmd: x}]\n"
        "phases: [{name: p, depends_on: [main, main], jobs: [{id: y, cmd: x}]}]\n"
    )
    assert [job.id for job in project.phases[0].jobs] == ["N1", "N2", "M3", "z"]
    assert project.phases[1].depends_on == ("main",)


MADE_IDS = [
    ("grid: {N: [384], seed: [42]}\ntemplate: {cmd: x}\n", "N384_seed42"),
    ("phases: [{name: p, grid: {N: [384], seed: [42]}, template: {cmd: x}}]\n", "p_N384_seed42"),
    ("jobs: [{cmd: x, params: {N: 007}, args: {z: 1}}]\n", "N007"),
    ("jobs: [{cmd: x, args: {lr: 1e-4, flag: true, l: [1, 2]}}]\n", "lr1e-4_flagtrue_l1-2"),
    ("phases: [{name: p, jobs: [{cmd: x, args: {n: 1}}]}]\n", "p_n1"),
    ("phases: [{name: p, template: {cmd: x, args: {n: 1}}}]\n", "p"),
    ("template: {cmd: x}\n", "main"),
    ("grid: {d: [a/b c]}\ntemplate: {cmd: x}\n", safe_value("a/b c").join(["d", ""])),
]


@pytest.mark.parametrize(("text", "expected"), MADE_IDS)
def test_an_id_left_out_is_made_from_the_parameters(text: str, expected: str) -> None:
    assert [job.id for job in jobs(text)] == [expected]


def test_altered_values_stay_distinct_and_ids_stay_short() -> None:
    assert safe_value("a/b") != safe_value("a b")
    assert safe_value("a/b").startswith("a-b-")
    assert safe_value("A1_.=+-") == "A1_.=+-"
    long = [fitted("x" * 200 + end) for end in "ab"]
    assert long[0] != long[1]
    assert all(len(name) == 120 and name_problem(name) is None for name in long)
    (job,) = jobs(f"jobs: [{{cmd: x, params: {{p: /{'d' * 300}}}}}]\n")
    assert name_problem(job.id) is None


@pytest.mark.parametrize("name", ["a", "ä-ö", "a@b", "x=1,y=2", "100%", "a" * 120, "-a", "{a}"])
def test_printable_names_are_allowed(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", ".a", "@a", "a/b", "a b", "a\tb", "a\x1bb", "a\u00a0b", "a" * 121, "\u200bx"])
def test_other_names_are_not(name: str) -> None:
    assert name_problem(name)


def test_grid_order_is_that_of_the_file_with_the_first_slowest() -> None:
    made = jobs("grid: {b: [2, 1], a: [x, y], c: 5}\ntemplate: {cmd: 'run ${a}${b}${c}'}\n")
    assert [job.params for job in made] == [
        {"b": 2, "a": "x", "c": 5}, {"b": 2, "a": "y", "c": 5}, {"b": 1, "a": "x", "c": 5}, {"b": 1, "a": "y", "c": 5},
    ]  # fmt: skip


def test_cells_are_excluded_by_typed_value() -> None:
    made = jobs(
        "grid: {N: [64, 128], s: [1, 2, true]}\nexclude: [{N: 64.0, s: 1}, {s: true}]\ntemplate: {cmd: 'x ${N}${s}'}\n"
    )
    assert [(job.params["N"], job.params["s"]) for job in made] == [(64, 2), (128, 1), (128, 2)]


def test_params_of_an_entry_without_any_are_its_literal_args() -> None:
    (job,) = jobs("jobs: [{id: a, cmd: x, args: {seed: 007, lr: 1e-4, l: [1], o: 'r${seed}'}}]\n")
    assert job.params == {"seed": 7, "lr": 1e-4}


def test_the_generation_is_what_a_job_runs_and_nothing_else() -> None:
    base = "jobs: [{id: a, cmd: x, cwd: /w, env: {A: 1, B: 2}, output_check: o}]\n"
    same = [
        "jobs: [{id: other, cmd: x, cwd: /w, env: {B: 2, A: '1'}, output_check: [o]}]\n",
        "max_parallel: 3\nproject: p\njobs:\n  - id: z\n    cmd: ' x '\n    cwd: /w/.\n"
        "    env: {A: 1, B: 2}\n    output_check: o\n",
    ]
    other = [
        base.replace("cmd: x", "cmd: y"), base.replace("/w", "/v"), base.replace("A: 1", "A: 3"),
        base.replace("o}", "p}"),
        base.replace("cmd: x", "cmd: x, conda: c"), base.replace("cmd: x", "cmd: x, conda_hook: c"),
        base.replace("A: 1, B: 2", "A: '1=B'"), base.replace("output_check: o", "output_check: [o, o]"),
    ]  # fmt: skip
    (generation,) = {jobs(text)[0].generation for text in [base, *same]}
    assert generation == generation_of("x", "/w", {"A": "1", "B": "2"}, None, None, ("o",))
    assert len(generation) == 16
    assert int(generation, 16) >= 0
    assert len({generation, *(jobs(text)[0].generation for text in other)}) == len(other) + 1


def test_what_does_not_vary_is_shared() -> None:
    first, second = jobs("env: {A: 1}\ngrid: {N: [1, 2]}\ntemplate: {cmd: 'x ${N}'}\n")
    assert first.env is second.env
    assert first.preconditions is second.preconditions


def test_settings_have_their_defaults() -> None:
    project = load("jobs: [{id: a, cmd: x}]\n")
    assert project == Project(
        name="s", source="s.yaml", cwd="/base", placements=(Placement(LOCAL_HOST),), gpu_pool=GpuPool(),
        max_parallel=None, gpu_free_threshold_mib=500, oom_retry=RetryPolicy(120, 3), failure_retry=RetryPolicy(60, 1),
        waves=Waves.ROLLING, success=SuccessRule.EXIT_AND_OUTPUT, linger_s=300, launcher=LauncherKind.AUTO,
        analyze_on_complete=None,
        phases=project.phases,
    )  # fmt: skip
    assert next(project.jobs()).gpus == 1


def test_settings_are_read() -> None:
    project = load(
        "project: 2024\nssh: box\ncwd: ~/x\ngpus: [3, GPU-8a1b-22]\ngpus_per_job: 2\nmax_parallel: 4\nlinger: 1h30m\n"
        "gpu_free_threshold_mib: 2GiB\noom_retry: {delay: 2m}\nfailure_retry: {max_attempts: 5}\nwaves: barrier\n"
        "success: output\nlauncher: process\nanalyze_on_complete: python table.py\njobs: [{id: a, cmd: x}]\n"
    )
    assert (project.name, project.cwd, project.max_parallel) == ("2024", "~/x", 4)
    assert project.placements == (Placement("box"),)
    assert project.gpu_pool == GpuPool(("3", "GPU-8a1b-22"))
    assert next(project.jobs()).gpus == 2
    assert (project.gpu_free_threshold_mib, project.linger_s) == (2048, 5400)
    assert (project.oom_retry, project.failure_retry) == (RetryPolicy(120, 3), RetryPolicy(60, 5))
    assert (project.waves, project.success, project.launcher) == (
        Waves.BARRIER,
        SuccessRule.OUTPUT,
        LauncherKind.PROCESS,
    )
    assert project.analyze_on_complete == "python table.py"


@pytest.mark.parametrize("word", ["true", "false"])
def test_without_gpus_jobs_need_none_and_run_one_by_one(word: str) -> None:
    project = load(f"gpus: none\nanalyze_on_complete: {word}\njobs: [{{id: a, cmd: x}}]\n")
    assert (project.gpu_pool, project.max_parallel, project.analyze_on_complete) == (None, 1, None)
    assert next(project.jobs()).gpus == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("1.5", 1.5), ("90s", 90), ("2m", 120), ("1h30m", 5400), ("2d", 172800), ("1d1s", 86401), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1x", "1 h", "-5", "1h30", "s5", "1e999", "1h-2m", "٣s"])
def test_no_durations(text: str) -> None:
    assert duration_s(text) is None


@pytest.mark.parametrize(
    ("text", "mib"), [("500", 500), ("500MiB", 500), ("20GiB", 20480), ("1.5 GiB", 1536), ("1TiB", 1048576)]
)
def test_sizes(text: str, mib: int) -> None:
    assert size_mib(text) == mib


@pytest.mark.parametrize("text", ["", "5GB", "GiB", "-1", "1e999"])
def test_no_sizes(text: str) -> None:
    assert size_mib(text) is None
