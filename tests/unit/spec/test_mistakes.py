"""Every mistake is told with its place, in words, and all of them at once."""

from __future__ import annotations

import itertools

import pytest

from reconciler.spec.load import load_text

CHARACTERS = "names are letters, digits, `_`, `.` and `-`, begin with a letter, and are not GPU or EXQ_*"

NO_BLANK = "this is not YAML: a blank is missing after the colon"
NO_COLON = (
    "this is not YAML: a `:` is not expected here: quote text that holds `: `, and indent keys of one level alike"
)

MISTAKES: list[tuple[str, list[str]]] = [
    # YAML
    ("", [": the file is empty: a spec needs at least `jobs:`, `grid:` or `phases:`"]),
    ("- a\n", [":1:1: a spec must be a mapping of keys such as `project:` and `jobs:`, not a list"]),
    ("jobs: []\n---\njobs: []\n", [
        ":2:1: a file holds one document: what follows `---` needs a file of its own"
    ]),
    ("jobs:\n\t- id: a\n", [":2:1: this is not YAML: a tab may not indent: use spaces"]),
    ("jobs:\n  - {id: a, cmd: @x}\n", [":2:18: this is not YAML: a value may not begin with `@`: quote it"]),
    ("jobs:\n  - id: a\n    cmd: echo a: b\n", [
        ":3:16: this is not YAML: a `:` is not expected here: quote text that holds `: `, "
        "and indent keys of one level alike"
    ]),
    ('jobs:\n  - id: a\n    cmd: "echo\n', [":3:10: this is not YAML: the quote that begins here is never closed"]),
    ("preconditions: [{type: file_exists, path: a_{N}.pt}]\n", [
        ":1:45: this is not YAML: a `,` or the closing bracket is missing here (text that holds `{` must be quoted)"
    ]),
    ('jobs: [{id: x, cmd: "\\q"}]\n', [
        ":1:22: this is not YAML: this backslash escape is not known: write `\\\\`, or use single quotes"
    ]),
    ("a\x01b: 1\n", [":1:2: the character U+0001 may not stand in a YAML file"]),
    ("jobs: \uf8d2\n", [":1:7: the private-use characters U+F8D2 and U+F8D3 may not stand in a spec"]),
    ('jobs: "\\uF8D3"\n', [":1:8: the private-use characters U+F8D2 and U+F8D3 may not stand in a spec"]),
    ('jobs: [{id: x, cmd: "a\\0"}]\n', [
        ":1:21: no program can be given this text: it holds NUL, which is what `\\0` in double quotes means "
        "(write `\\\\0`, or use single quotes)"
    ]),
    ("gpus:none\njobs: [{id: x, cmd: y}]\n", [f":1:5: {NO_BLANK}"]),
    ("# c\ngpus:none # c\n\njobs: [{id: x, cmd: y}]\n", [f":2:5: {NO_BLANK}"]),
    ("project: a\ngpus:none\njobs: [{id: x, cmd: y}]\n", [f":2:5: {NO_BLANK}"]),
    ("project: a\nmax_parallel: 3\ngpus:none\n", [f":3:5: {NO_BLANK}"]),
    ("gpus:none\nlinger:3\njobs: [{id: x, cmd: y}]\n", [f":1:5: {NO_BLANK}"]),
    ("jobs:\n  - id:a\n    cmd: x\n", [f":2:7: {NO_BLANK}"]),
    ("jobs:\n  - id: a\n    cmd:x\n    cwd: y\n", [f":3:8: {NO_BLANK}"]),
    ("jobs:\n  - id: a\n    cmd:x\n  - id: b\n", [f":3:8: {NO_BLANK}"]),
    ("gpus:none", [
        ":1:1: a spec must be a mapping of keys such as `project:` and `jobs:`, not `gpus:none` "
        "(a blank is missing after the colon)"
    ]),
    ("env:\n  A:b\njobs: [{id: x, cmd: y}]\n", [
        ":2:3: `env` must be a mapping of variable names to values, not `A:b` (a blank is missing after the colon)"
    ]),
    ("jobs: [{id:x, cmd: y, args: {lr:3}}]\n", [
        ":1:11: a blank is missing after the colon: write `id: x`",
        ":1:32: a blank is missing after the colon: write `lr: 3`",
    ]),
    ("project: a\nfoo bar\njobs: []\n", [
        ":2:1: this is not YAML: a line `key: value` is expected here, and this is none (text that goes on "
        "must be indented more than its key)"
    ]),
    ("project a\ngpus: none\n", [f":2:5: {NO_COLON}"]),
    ("http://x\ngpus: none\n", [f":2:5: {NO_COLON}"]),
    ("x-a: [\n", [":1:6: this is not YAML: the `[` that stands here is never closed"]),
    ("x-a: [", [":1:6: this is not YAML: the `[` that stands here is never closed"]),
    ("x-a: {b: [1, {c: 2\n# c\n\n", [":1:14: this is not YAML: the `{` that stands here is never closed"]),
    ("x-a: é${b}\nx-b: [", [":2:6: this is not YAML: the `[` that stands here is never closed"]),
    ("x-a: [1,\ny: 2\n", [":1:6: this is not YAML: the `[` that stands here is never closed"]),
    ("x-a: [y:\n", [":1:6: this is not YAML: the `[` that stands here is never closed"]),
    ("x-a: [1\ny: 2\n", [
        ":2:2: this is not YAML: a `,` or the closing bracket is missing here (text that holds `{` must be quoted) "
        "(in what begins on line 1)"
    ]),
    ("project: a\nproject: b\njobs:\n  - {id: a, cmd: x, id: b}\n", [
        ":2:1: the key `project` is written twice: it stands on line 1 already",
        ":4:21: the key `id` is written twice: it stands on line 4 already",
    ]),
    ("jobs:\n  - *x\n", [":2:5: `*x` has no anchor `&x` before it"]),
    ("jobs: &x\n  - *x\n", [":2:5: `*x` stands inside its own anchor"]),
    ("x-a: " + "[" * 50 + "]" * 50 + "\n", [":1:45: this is nested more than 40 levels deep"]),
    ("jobs: !foo []\n", [":1:7: the tag `!foo` is not known here: write the value without it"]),
    ("project: !!int abc\njobs: [{id: x, cmd: y}]\n", [
        ":1:10: this is not of the kind that its tag `!!int` asks for"
    ]),
    ("? [a]\n: b\njobs: [{id: x, cmd: y}]\n", [":1:3: a key must be a single word, not a list or a mapping"]),
    ("jobs:\n  - {<<: 3, id: x, cmd: y}\n", [":2:6: `<<` takes a mapping, such as `*name` of an anchored one"]),
    # keys and shapes
    ("defualt_cmd: x\njobs: [{id: a, cmd: y}]\n", [":1:1: unknown key `defualt_cmd` (did you mean `default_cmd`?)"]),
    ("jobs:\n  - {id: a, command: x}\n", [":2:13: unknown key `command` in entry 1 of `jobs` (did you mean `cmd`?)"]),
    ("oom_retry: {zzz: 1}\njobs: [{id: a, cmd: y}]\n", [
        ":1:13: unknown key `zzz` in `oom_retry`; known here: `delay`, `max_attempts`"
    ]),
    ("max_paralel: 8\nwaves: rollin\ngpus: 4\noom_retry: {delay: soon, max_attempts: 0}\ndefault_cmd: run ${sed}\n"
     "jobs:\n  - id: a\n    args: {seed: 1}\n", [
        ":1:1: unknown key `max_paralel` (did you mean `max_parallel`?)",
        ":2:8: `waves` must be one of `rolling`, `barrier`, not `rollin` (did you mean `rolling`?)",
        ":3:7: `gpus` must be a list such as [0, 1], `all` or `none`, not `4`",
        ":4:20: `delay` must be a duration: seconds as a number, or text such as 90s, 2m, 1h30m or 2d, not `soon`",
        ":4:40: `max_attempts` must be a whole number from 1 on, not `0`",
        ":5:18: unknown name `${sed}` (did you mean `seed`?): the job `a` has `seed`",
    ]),
    ("gird: {N: [1]}\nlinger: x\ntemplate: {cmd: 'x ${N}'}\n", [
        ":1:1: unknown key `gird` (did you mean `grid`?)",
        ":2:9: `linger` must be a duration: seconds as a number, or text such as 90s, 2m, 1h30m or 2d, not `x`",
    ]),
    ("jobs:\n  - id: a\n    cmd: x\n    output_check: {N}\n", [
        ":4:19: `output_check` must be a path or a list of paths, not a mapping "
        "(text that begins with `{` must be quoted)"
    ]),
    ("preconditions:\n  - {type: file_exist, path: a}\n  - {type: command, path: a}\n  - {path: a}\n"
     "jobs: [{id: x, cmd: y}]\n", [
        ":2:12: `type` must be one of `checkpoint_exists`, `file_exists`, `dir_exists`, `command`, not `file_exist` "
        "(did you mean `file_exists`?)",
        ":3:5: entry 2 of `preconditions` needs `command`",
        ":4:5: entry 3 of `preconditions` needs `type`",
    ]),
    ("env: {1A: x, GPU: 3, B: }\njobs: [{id: x, cmd: y}]\n", [
        ":1:7: `1A` is not a variable that can be set here: names are letters, digits and `_`; GPU, "
        "CUDA_VISIBLE_DEVICES and EXQ_* are set by exq",
        ":1:14: `GPU` is not a variable that can be set here: names are letters, digits and `_`; GPU, "
        "CUDA_VISIBLE_DEVICES and EXQ_* are set by exq",
        ':1:25: `B` must be a single value (write "" for an empty one), not empty',
    ]),
    ("jobs: [{id: x, cmd: y, args: {--seed: 1, b: {c: 1}}}]\n", [
        ":1:31: `--seed` is not an argument's name: write it without leading dashes, blanks or `=`",
        ":1:45: `b` must be a single value or a list of them, not a mapping",
    ]),
    ("grid: {GPU: [1]}\ntemplate: {cmd: x}\n", [f":1:8: `GPU` is not a name for a parameter: {CHARACTERS}"]),
    ("linger: .nan\noom_retry: {delay: .inf}\njobs: [{id: x, cmd: y}]\n", [
        ":1:9: `.nan` is no duration: write seconds, or text such as 90s, 2m, 1h30m or 2d",
        ":2:20: `delay` must be at most 315,360,000, not `.inf`",
    ]),
    ("output_check: a\nexpected_output: b\njobs: [{id: x, cmd: y}]\n", [
        ":2:1: `expected_output` means the same as `output_check`: write one of them"
    ]),
    # GPUs
    ("gpus: []\njobs: [{id: x, cmd: y}]\n", [
        ":1:7: `gpus` must be a list such as [0, 1], `all` or `none`, not an empty list"
    ]),
    ("gpus: [0, 0, 1]\ngpus_per_job: 4\njobs: [{id: x, cmd: y}]\n", [
        ":1:11: GPU `0` is listed twice",
        ":2:15: a job cannot have 4 GPUs: `gpus` lists 3",
    ]),
    ("gpus: [x]\njobs: [{id: x, cmd: y}]\n", [":1:8: entry 1 of `gpus` must be a GPU's index or its UUID, not `x`"]),
    ("gpus: [0, MIG-1/2/3, MIG-4]\njobs: [{id: x, cmd: y}]\n", [
        ":1:11: entry 2 of `gpus` must be a GPU's index or its GPU- UUID (MIG slices cannot be used), "
        "not `MIG-1/2/3`",
        ":1:22: entry 3 of `gpus` must be a GPU's index or its GPU- UUID (MIG slices cannot be used), not `MIG-4`",
    ]),
    ("gpus: none\ngpus_per_job: 1\njobs: [{id: x, cmd: y}]\n", [
        ":2:15: a job cannot have a GPU in a project with `gpus: none`"
    ]),
    ("gpus: none\ngpus_per_job: 3\njobs: [{id: x, cmd: y}]\n", [
        ":2:15: a job cannot have 3 GPUs in a project with `gpus: none`"
    ]),
    # names in templates
    ("jobs:\n  - id: a\n    cmd: echo ${HOME:-x} ${#a} ${} ${HOME} ${a\n", [
        ":3:15: `${HOME:-x}` is not a parameter; for the shell's `${...}` write `$${...}`",
        ":3:26: `${#a}` is not a parameter; for the shell's `${...}` write `$${...}`",
        ":3:32: `${}` is not a parameter; for the shell's `${...}` write `$${...}`",
        ":3:36: unknown name `${HOME}` (for the shell's variable write `$HOME`): the job `a` has no parameters",
        ":3:44: `${` has no `}` of its own; for the shell's `${...}` write `$${...}`",
    ]),
    ("jobs:\n  - id: a${GPU}\n    cmd: x\n    output_check: b_${EXQ_JOB}\n", [
        ":2:10: `${GPU}` is only known once the job runs, so it cannot stand here",
        ":4:21: `${EXQ_JOB}` is only known once the job runs, so it cannot stand here",
    ]),
    ("jobs:\n  - id: x\n    cmd: y ${a} ${c}\n    args: {a: '${b}', b: '${a}', c: [1, 2]}\n", [
        ":3:17: `${c}` is a list of arguments, which has no place in a text",
        ":4:16: `${b}` stands for itself: its value comes from the argument `b`",
        ":4:27: `${a}` stands for itself: its value comes from the argument `a`",
    ]),
    ("grid: {msg: [ok, \"it's\"]}\ntemplate:\n  cmd: echo \"${msg}\"\n", [
        ":3:14: `${msg}` stands inside double quotes, where its value \"it's\" cannot be quoted: write it outside of "
        "them, exq adds the quotes that are needed"
    ]),
    ("grid: {msg: [ok, a b]}\ntemplate:\n  cmd: bash -c 'echo ${msg}'\n", [
        ":3:22: `${msg}` stands inside single quotes, where its value 'a b' cannot be quoted: write it outside of "
        "them, exq adds the quotes that are needed"
    ]),
    ("grid: {msg: [ok, a b]}\ntemplate:\n  cmd: echo `echo ${msg}`\n", [
        ":3:19: `${msg}` stands inside backticks, where its value 'a b' cannot be quoted: pass it as an argument or "
        "through `env` instead"
    ]),
    ("grid: {a: [1, 2]}\ntemplate: {cmd: 'echo \\${a}'}\n", [
        ":2:24: `${a}` stands right after a backslash: for the shell's `${...}` write `$${...}`"
    ]),
    ("jobs:\n  - id: a\n    cmd: echo \"abc\n", [":3:10: the command opens double quotes that are never closed"]),
    ("jobs:\n  - id: x\n    cmd: |\n      run # hello\n    args: {a: 1}\n", [
        ":3:10: the command ends in a comment, so its args would be part of that comment"
    ]),
    ("env: {PATH: '/x:$PATH', A: '${GPU}'}\njobs:\n  - {id: s$seed, cmd: x, params: {seed: 1}}\n", [
        ":1:17: `$PATH` would stay as it is, because no shell reads this text (write `$$` for a plain `$`, or set the "
        "variable in the command)",
        ":1:29: `${GPU}` is only known once the job runs, so it cannot stand here",
        ":3:11: `$seed` would stay as it is, because no shell reads this text (did you mean `${seed}`?)",
    ]),
    # ids, grids
    ("jobs:\n  - {id: a/b, cmd: x}\n  - {id: .a, cmd: x}\n  - {id: a b, cmd: x}\n  - {id: '', cmd: x}\n", [
        ":2:10: the id `a/b` may not hold `/`",
        ":3:10: the id `.a` may not begin with `.`",
        ":4:10: the id `a b` may not hold blanks",
        ":5:10: `id` must not be empty",
    ]),
    ("jobs:\n  - {id: " + "é" * 61 + ", cmd: x}\n", [
        ":2:10: the id `" + "é" * 57 + "...` is 122 bytes long, and 120 is the most"
    ]),
    ("project: a/b\njobs: [{id: x, cmd: y}]\n", [":1:10: the project's name `a/b` may not hold `/`"]),
    ("jobs:\n  - {id: a, cmd: x}\n  - {id: a, cmd: y}\n", [
        ":3:10: the id `a` is taken: the entry at s.yaml:2:10 has it too"
    ]),
    ("grid:\n  N: [1, 2]\n  seed: [1, 2, 3]\ntemplate:\n  id: s${seed}\n  cmd: run ${N} ${seed}\n", [
        ":5:7: the id `s1` is made 2 times: `N` varies and is not in it (write `${N}` into the id)"
    ]),
    ("grid: {a: [1, 11], b: [11, 1]}\ntemplate: {cmd: 'x ${a} ${b}', id: 'x${a}${b}'}\n", [
        ":2:36: the id `x111` is made 2 times: put something between its parameters"
    ]),
    ("jobs:\n  - cmd: x\n", [":2:5: this job needs an `id`: it has no `params` and no `args` to make one from"]),
    ("grid: {N: []}\ntemplate: {cmd: x}\n", [
        ":1:11: `N` must be a value or a list with at least one value, not an empty list"
    ]),
    ("grid: {N: [1, 1]}\ntemplate: {cmd: 'x ${N}'}\n", [":1:15: `N` has the value `1` twice"]),
    ("grid: {a: [1]}\ntemplate: {cmd: x, params: {a: 2}}\n", [":2:32: `a` is a parameter of the grid already"]),
    ("grid: {N: [1, 2]}\nexclude: [{n: 1}, {N: 3}]\ntemplate: {cmd: 'x ${N}'}\n", [
        ":2:11: the grid has no parameter `n` (did you mean `N`?): it has `N`",
        ":2:19: no cell of the grid has these values, so there is nothing to exclude",
    ]),
    ("grid: {N: [1, 2]}\nexclude: [{N: 1}, {N: 2}]\ntemplate: {cmd: 'x ${N}'}\njobs: [{id: x, cmd: y}]\n", [
        ":2:1: `exclude` takes out every cell of the grid, so no job is left of it"
    ]),
    ("phases:\n  - name: a\n    grid: [{N: 1}, {N: 2}]\n    exclude: [{N: 1}, {N: 2}]\n"
     "    template: {cmd: 'x ${N}'}\n", [
        ":4:5: `exclude` takes out every cell of the grids, so no job is left of them"
    ]),
    # phases
    ("phases:\n  - name: a\n    depends_on: bb\n    jobs: [{id: x, cmd: y}]\n  - name: b\n    depends_on: [c]\n"
     "    jobs: [{id: x2, cmd: y}]\n  - name: c\n    depends_on: [b, c]\n    jobs: [{id: x3, cmd: y}]\n  - name: a\n", [
        ":3:17: there is no phase `bb` (did you mean `b`?): there is `a`, `b`, `c`",
        ":6:5: these phases wait for each other: b -> c -> b",
        ":9:21: the phase `c` cannot wait for itself",
        ":11:11: the phase `a` is there twice: it stands on line 2 already",
    ]),
    ("phases:\n  - name: main\n    jobs: [{id: x, cmd: y}]\njobs: [{id: z, cmd: y}]\n", [
        ":2:11: `main` is the phase of the jobs at the top level: choose another name"
    ]),
    ("phases:\n  - jobs: [{id: x, cmd: y}]\n", [":2:5: entry 1 of `phases` needs `name`"]),
    ("phases:\n  - name: a\n", [":2:5: the phase `a` has no jobs: write `jobs:` or `grid:` into it"]),
    ("project: x\n", [": there are no jobs in it: write `jobs:`, `grid:` or `phases:`"]),
    # cwd
    ("cwd: ~\njobs: [{id: x, cmd: y}]\n", [
        ':1:6: `cwd` must be text, not `~` (nothing): write "~" in quotes for your home'
    ]),
    ("ssh: host\ncwd: work\njobs: [{id: x, cmd: y}]\n", [":2:6: with `ssh`, `cwd` must begin with `/` or `~`"]),
    ("ssh: host\njobs: [{id: x, cmd: y}]\n", [":1:1: a project with `ssh` needs a `cwd` on that host"]),
    ("cwd: $HOME/x\njobs: [{id: x, cmd: y}]\n", [
        ":1:6: `$HOME` would stay as it is, because no shell reads this text (write `~` for the home folder)"
    ]),
    ("jobs:\n  - id: x$HOME\n    cmd: y\n    env: {A: $HOME/a}\n    output_check: $HOME/b\n", [
        ":2:10: `$HOME` would stay as it is, because no shell reads this text (write `$$` for a plain `$`)",
        ":4:14: `$HOME` would stay as it is, because no shell reads this text (write `$$` for a plain `$`, or set the "
        "variable in the command)",
        ":5:19: `$HOME` would stay as it is, because no shell reads this text (write `~` for the home folder)",
    ]),
]  # fmt: skip

WARNINGS: list[tuple[str, list[str]]] = [
    ("jobs: [{id: x}]\n", [
        ":1:8: warning: 1 job has no command (no `cmd`, and no `default_cmd` to fall back on) and will not be launched"
    ]),
    ("grid: {a: [1, 2], b: [1, 2]}\ntemplate: {cmd: 'x ${a}'}\n", [
        ":1:23: warning: `b` varies, but the command does not use it: jobs that differ only in it run the same"
    ]),
    ("grid: {a: [1, 2], b: [1, 2]}\ntemplate: {cmd: 'x ${a} ${b}', output_check: 'out_${a}'}\n", [
        ":2:46: warning: `b` varies, but is not in the outputs: jobs that differ only in it share one output"
    ]),
    ("grid: {a: [1, 2], b: 3}\ntemplate: {cmd: 'x ${a}', output_check: 'out_${a}'}\n", []),
    ("jobs: [{id: a, cmd: 'run $seed \"$seed\" \\$seed', params: {seed: 1}, args: {x: $seed}}]\n", [
        ":1:26: warning: `$seed` is a variable of the shell here; the parameter is `${seed}`",
        ":1:33: warning: `$seed` is a variable of the shell here; the parameter is `${seed}`",
        ":1:78: warning: `$seed` is a variable of the shell here; the parameter is `${seed}`",
    ]),
    ("jobs: [{id: a, cmd: \"awk '$N' $$N\", params: {N: 1}}]\n", []),
    ("grid: {a: [1, 2]}\ntemplate: {cmd: x, env: {A: '${a}'}}\n", []),
    # braces without a dollar
    ("grid: {a: [1, 2], b: [1, 2]}\ntemplate: {cmd: 'x --a {a} {b}{b} {c} {a b}'}\n", [
        ":2:24: warning: `{a}` would reach the program as it is: write `${a}` for the parameter",
        ":2:28: warning: `{b}` would reach the program as it is: write `${b}` for the parameter",
    ]),
    ("default_cmd: run --n {n}\njobs: [{id: a, args: {n: 1}}, {id: b, params: {n: 2}}]\n", [
        ":1:22: warning: `{n}` would reach the program as it is: write `${n}` for the parameter"
    ]),
    ("grid: {a: [1, 2]}\ntemplate: {cmd: 'x {a}.pt ${a}'}\n", []),
    ("grid: {a: [1, 2]}\ntemplate: {cmd: 'x {a}.pt', args: {a: '${a}'}}\n", []),
    ("grid: {a: 1}\ntemplate: {cmd: 'x $a {a}'}\n", [
        ":2:20: warning: `$a` is a variable of the shell here; the parameter is `${a}`"
    ]),
    ("grid: {a: 1}\ntemplate: {cmd: 'x $${a} {{a}}'}\n", []),
    # one value that was meant as many
    *[(f"grid:\n  a: {written}\ntemplate: {{cmd: 'x ${{a}}'}}\n", [f":2:6: warning: `a` is one value, {words}"])
      for written, words in [
        ("range(5)", "the text `range(5)`: write a list: [0, 1, 2, 3, 4]"),
        ("list(range(1, 8, 3))", "the text `list(range(1, 8, 3))`: write a list: [1, 4, 7]"),
        ("range(3, 0, -1)", "the text `range(3, 0, -1)`: write a list: [3, 2, 1]"),
        ("range(100)", "the text `range(100)`: write a list of values, such as [1, 2, 3]"),
        ("range(0, 9, 0)", "the text `range(0, 9, 0)`: write a list of values, such as [1, 2, 3]"),
        ("range(n)", "the text `range(n)`: write a list of values, such as [1, 2, 3]"),
        ("0..4", "the text `0..4`: write a list: [0, 1, 2, 3, 4]"),
        ("1-3", "the text `1-3`: write a list: [1, 2, 3]"),
        ("'[1, b]'", "the text `[1, b]`: write a list: [1, b] (without quotes)"),
        ("1, 2, 3", "the text `1, 2, 3`: write a list: [1, 2, 3]"),
        ("np.arange(3)", "the text `np.arange(3)`: write a list of values, such as [1, 2, 3]"),
        ("range(1, 9999999999999999999999999)",
         "the text `range(1, 9999999999999999999999999)`: write a list of values, such as [1, 2, 3]"),
    ]],
    ("grid: [{a: [1]}, {a: [range(3)]}]\ntemplate: {cmd: 'x ${a}'}\n", [
        ":1:23: warning: `a` is one value, the text `range(3)`: write a list: [0, 1, 2]"
    ]),
    ("grid: {a: ['0..4'], b: 1..x, c: v1-3, d: 2024-01-02, e: 'a, b', f: 5-1}\n"
     "template: {cmd: 'x ${a} ${b} ${c} ${d} ${e} ${f}'}\n", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_told_in_words(text: str, expected: list[str]) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert [str(error) for error in errors] == [f"s.yaml{line}" for line in expected]
    assert project is None


@pytest.mark.parametrize(("text", "expected"), WARNINGS)
def test_warnings_let_the_project_stand(text: str, expected: list[str]) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert [str(error) for error in errors] == [f"s.yaml{line}" for line in expected]
    assert project is not None


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("{id: a, cmd: x, gpus_per_job: many}", "`gpus_per_job` must be a whole number from 0 on, not `many`"),
        ("{id: a, cmd: [x]}", "`cmd` must be text, not a list"),
        ("{id: a, cmd: x, arg: {sed: 1}}", "unknown key `arg` in entry 1 of `jobs` (did you mean `args`?)"),
        ("{id: a, cmd: x, cmd: y}", "the key `cmd` is written twice: it stands on line 3 already"),
        ("{id: a, cmd: x, params: {1a: 1}}", "`1a` is not a name for a parameter: " + CHARACTERS),
        ("{id: a, cmd: x, preconditions: [{path: b}]}", "entry 1 of `preconditions` needs `type`"),
        ("a", "entry 1 of `jobs` must be a mapping such as {id: a, cmd: python train.py}, not `a`"),
        ("{<<: 3, id: a, cmd: x}", "`<<` takes a mapping, such as `*name` of an anchored one"),
        ("*none", "`*none` has no anchor `&none` before it"),
    ],
)
def test_a_mistake_in_one_entry_hides_none_of_another(first: str, told: str) -> None:
    text = f"cwd: $X\njobs:\n  - {first}\n  - {{id: b, cmd: 'x ${{sed}}', params: {{seed: 1}}}}\n  - cmd: x\n"
    _, errors = load_text(text, "s.yaml", "/base")
    assert [(error.line, error.message) for error in errors] == [
        (1, "`$X` would stay as it is, because no shell reads this text (write `$$` for a plain `$`)"),
        (3, told),
        (4, "unknown name `${sed}` (did you mean `seed`?): the job `b` has `seed`"),
        (5, "this job needs an `id`: it has no `params` and no `args` to make one from"),
    ]


def test_a_mistake_in_a_phase_hides_none_of_another() -> None:
    text = (
        "phases:\n  - nam: a\n    jobs: [{id: x, cmd: 'y ${z}'}]\n  - name: b\n    grid: {N: [[1], 2], 1a: 3}\n"
        "    template: {cmd: 'y ${q}'}\n  - name: c\n    depends_on: [a, b]\n    jobs: [{id: y, cmd: 'y ${w}'}]\n"
        "  - name: c\n    jobs: [{id: z, cmd: 'y ${v}'}]\n"
    )
    _, errors = load_text(text, "s.yaml", "/base")
    assert [f"{error.line}:{error.column}: {error.message}" for error in errors] == [
        "2:5: entry 1 of `phases` needs `name`",
        "2:5: unknown key `nam` in entry 1 of `phases` (did you mean `name`?)",
        "3:28: unknown name `${z}`: the job `x` has no parameters",
        "5:16: entry 1 of `N` must be a single value, not a list",
        f"5:25: `1a` is not a name for a parameter: {CHARACTERS}",
        "9:28: unknown name `${w}`: the job `y` has no parameters",
        "10:11: the phase `c` is there twice: it stands on line 7 already",
        "11:28: unknown name `${v}`: the job `z` has no parameters",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "args: [seed]\njobs: [{id: a, cmd: 'x ${seed}'}]\n",
        "args: {-seed: 1}\njobs: [{id: a, cmd: 'x ${seed}'}]\n",
        "arguments: {seed: 1}\njobs: [{id: a, cmd: 'x ${seed}'}]\n",
        "grid: {seed: {a: 1}}\ntemplate: {cmd: 'x ${seed}'}\nexclude: [{seed: 1}]\n",
        "gird: {seed: [1]}\ntemplate: {cmd: 'x ${seed}'}\nexclude: [{seed: 1}]\n",
        "jobs: [{id: a, cmd: 'x ${seed}', params: {seed: [1]}}]\n",
        "jobs: [{ident: a, cmd: x}]\n",
        "jobs: [{cmd: x, params: [seed]}]\n",
        "jobs: [{cmd: x, params: {-a: 1, b: 1}}, {cmd: y, params: {b: 1}}]\n",
        "ssh: h\ncdw: ~/x\njobs: [{id: a, cmd: x}]\n",
        "grid: {N: [1, 2]}\nexclude: [{N: 1}, {N: 2, M: [1]}]\ntemplate: {cmd: 'x ${N}'}\n",
        "phases: [{name: [a], jobs: [{id: a, cmd: x}]}, {name: b, depends_on: a, jobs: [{id: c, cmd: x}]}]\n",
        "phases: [{name: a/b, jobs: [{id: a, cmd: x}]}, {name: b, depends_on: a/b, jobs: [{id: c, cmd: x}]}]\n",
        "job: [{id: a, cmd: x}]\nphases: [{name: b, depends_on: main, jobs: [{id: c, cmd: x}]}]\n",
    ],
)
def test_what_may_only_follow_from_a_mistake_is_not_told(text: str) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is None
    assert len(errors) == 1, errors


def test_aliases_cannot_blow_a_file_up() -> None:
    levels = "abcdefgh"
    lines = [f"x-{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in itertools.pairwise(levels)]
    text = "x-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(lines) + "jobs: []\n"
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is None
    assert [error.message for error in errors] == [
        "the aliases of this file write out to more than 250,000 values: use a grid"
    ]


def test_a_grid_cannot_blow_up_either() -> None:
    values = ", ".join(map(str, range(1000)))
    project, errors = load_text(
        f"grid: {{a: [{values}], b: [{values}]}}\ntemplate: {{cmd: 'x ${{a}} ${{b}}'}}\n", "s.yaml", "/"
    )
    assert project is None
    assert [str(error) for error in errors] == [
        "s.yaml:2:11: this brings the project to 1,000,000 jobs, and 250,000 is the most"
    ]


def test_a_mistake_in_what_all_jobs_share_is_told_once() -> None:
    jobs = "".join(f"  - {{id: j{number}, params: {{a{number}: 1}}}}\n" for number in range(16))
    _, errors = load_text(f"default_cmd: run ${{seed}}\njobs:\n{jobs}", "s.yaml", "/base")
    assert [str(error) for error in errors] == ["s.yaml:1:18: unknown name `${seed}`: the job `j0` has `a0`"]


def test_a_message_cannot_carry_control_characters_to_a_terminal() -> None:
    _, errors = load_text('waves: "\\e[31mred\\nline"\njobs: [{id: x, cmd: y}]\n', "s.yaml", "/base")
    assert errors[0].message == "`waves` must be one of `rolling`, `barrier`, not `\\x1b[31mred\\nline`"


def test_a_file_cannot_hold_more_values_than_memory_does() -> None:
    project, errors = load_text("jobs:\n" + "- []\n" * 500_001, "s.yaml", "/base")
    assert project is None
    assert [str(error) for error in errors] == [
        "s.yaml:500001:3: this file holds more than 500,000 values: use a grid, or split it"
    ]
