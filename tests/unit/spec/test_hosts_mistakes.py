"""Several machines: every mistake in words, and nothing that only follows from another one."""

from __future__ import annotations

import pytest

from reconciler.spec.load import load_text
from tests.unit.spec.staged import JOB, TOP, staged

NAMES = [
    ("'-oProxyCommand=x'", "`-oProxyCommand=x` may not begin with `-`"),
    ("'@a'", "`@a` may not begin with `@`"),
    ("..", "`..` may not begin with `.`"),
    ("'a b'", "`a b` may not hold blanks"),
    ("'a, b'", "`a, b` may not hold `,`: write a list, such as [a, b]"),
    ("ssh://a", "`ssh://a` may not hold `/`"),
    ("a;b", "`a;b` may not hold `;`"),
    ("a$(b)", "`a$(b)` may not hold `$`"),
    ("'gpu*'", "`gpu*` may not hold `*`"),
    ('"a\\x07"', "`a\\x07` may not hold the character U+0007"),
    ("user@", "`user@` must be a host, or `user@host`"),
    ("user@-x", "`user@-x` must be a host, or `user@host`"),
    ("a@b@c", "`a@b@c` must be a host, or `user@host`"),
    ("gpu:22", "`gpu:22` may not end in a port: give it a name with `HostName` and `Port` in your ssh_config"),
    ("a" * 256, f"`{'a' * 57}...` is 256 bytes long, and 255 is the most"),
]


@pytest.mark.parametrize(("name", "told"), NAMES)
@pytest.mark.parametrize(
    ("before", "after"), [("ssh: ", ""), ("hosts: ", ""), ("hosts: [h, ", "]"), ("hosts: [{name: ", "}]")]
)
def test_names_that_no_host_can_have(before: str, after: str, name: str, told: str) -> None:
    project, errors = load_text(f"{before}{name}{after}\n{TOP}", "s.yaml", "/base")
    assert [str(error) for error in errors] == [f"s.yaml:1:{len(before) + 1}: the host's name {told}"]
    assert project is None


ANYWHERE = (
    "Write `shared_fs: true` if these hosts share their disks, `fetch: true` to bring the outputs over before a job "
    "starts, or one host for both phases"
)

MISTAKES: list[tuple[str, list[str]]] = [
    # the hosts of a project
    (f"ssh: a\nhosts: [a]\n{TOP}", [
        ":2:1: `ssh` and `hosts` both say where to run: write one of them (`ssh: a` is the same as `hosts: [a]`)"
    ]),
    (f"hosts: [a]\nssh: a\n{TOP}", [
        ":2:1: `ssh` and `hosts` both say where to run: write one of them (`ssh: a` is the same as `hosts: [a]`)"
    ]),
    (f"hosts: [a, b, {{name: a}}, b]\n{TOP}", [
        ":1:22: the host `a` is listed twice", ":1:26: the host `b` is listed twice"
    ]),
    (f"hosts: []\n{TOP}", [
        ":1:8: `hosts` must be a list such as [a, b], with {name: c, gpus: [0, 1]} where a host has settings of its "
        "own, not an empty list"
    ]),
    (f"hosts: {{a: {{gpus: [0]}}}}\n{TOP}", [
        ":1:8: `hosts` must be a list such as [a, b], with {name: c, gpus: [0, 1]} where a host has settings of its "
        "own, not a mapping"
    ]),
    (f"hosts: [a, '', {{name: ''}}]\n{TOP}", [":1:12: entry 2 of `hosts` must not be empty",
                                              ":1:23: `name` must not be empty"]),
    (f"hosts: [a, 7]\n{TOP}", [
        ":1:12: entry 2 of `hosts` must be a host's name, or a mapping such as {name: a, gpus: [0, 1]}, not `7`"
    ]),
    (f"hosts: [{{gpus: [0]}}]\n{TOP}", [":1:9: entry 1 of `hosts` needs `name`"]),
    (f"hosts: [{{host: a, gpu: [0]}}]\n{TOP}", [
        ":1:9: entry 1 of `hosts` needs `name`",
        ":1:10: unknown key `host` in entry 1 of `hosts` (did you mean `name`?)",
        ":1:19: unknown key `gpu` in entry 1 of `hosts` (did you mean `gpus`?)",
    ]),
    (f"host: a\n{TOP}", [":1:1: unknown key `host` (did you mean `hosts`?)"]),
    (f"hosts: [{{name: a, max_parallel: 0}}]\n{TOP}", [
        ":1:33: `max_parallel` must be a whole number from 1 on, not `0`"
    ]),
    # their GPUs
    (f"hosts: [{{name: a, gpus: none}}, {{name: b, gpus: [x, MIG-1]}}, {{name: c, gpus: []}}]\n{TOP}", [
        ":1:25: `gpus` must be a list such as [0, 1], or `all`, not `none`",
        ":1:49: entry 1 of `gpus` must be a GPU's index or its UUID, not `x`",
        ":1:52: entry 2 of `gpus` must be a GPU's index or its GPU- UUID (MIG slices cannot be used), not `MIG-1`",
        ":1:77: `gpus` must be a list such as [0, 1], or `all`, not an empty list",
    ]),
    (f"hosts: [{{name: a, gpus: [1, 1]}}]\n{TOP}", [":1:29: GPU `1` is listed twice"]),
    (f"gpus: none\nhosts: [{{name: a, gpus: [0]}}, {{name: b, gpus: all}}]\n{TOP}", [
        ":2:19: a host cannot have `gpus` in a project with `gpus: none`: take one of the two out",
        ":2:41: a host cannot have `gpus` in a project with `gpus: none`: take one of the two out",
    ]),
    (f"hosts: [{{name: a, gpus: [0]}}, {{name: b, gpus: [0, 1]}}]\ngpus_per_job: 3\n{TOP}", [
        ":2:15: a job cannot have 3 GPUs: none of its hosts has more than 2 in its `gpus`"
    ]),
    (f"hosts: [a, b]\ngpus: [0]\ngpus_per_job: 2\n{TOP}", [":3:15: a job cannot have 2 GPUs: `gpus` lists 1"]),
    ("hosts: [{name: a, gpus: [0]}, b]\ncwd: /w\n"
     "phases: [{name: p, hosts: a, gpus_per_job: 2, jobs: [{id: x, cmd: y}]}]\n", [
        ":3:44: a job cannot have 2 GPUs: none of its hosts has more than 1 in its `gpus`"
    ]),
    # cwd
    (f"hosts: [a]\ncwd: work\n{JOB}", [":2:6: with `hosts`, `cwd` must begin with `/` or `~`"]),
    (f"hosts: [local, a]\ncwd: work\n{JOB}", [":2:6: with `hosts`, `cwd` must begin with `/` or `~`"]),
    (f"hosts: [local, a]\n{JOB}", [":1:1: a project with `hosts` needs a `cwd` that each of its hosts has"]),
    # the hosts of a phase
    (staged("hosts: [gpu-a, gpu-b]", ", hosts: gpu-bb", ", hosts: [gpu-a, gpu-a, zzz]"), [
        ":3:22: there is no host `gpu-bb` (did you mean `gpu-b`?): the project has `gpu-a`, `gpu-b`",
        ":4:30: the host `gpu-a` is listed twice",
        ":4:37: there is no host `zzz`: the project has `gpu-a`, `gpu-b`",
    ]),
    (staged("ssh: h", ", hosts: i"), [":3:22: there is no host `i`: the project has `h`"]),
    (staged("gpus: all", ", hosts: i"), [
        ":3:22: there is no host `i`: list the hosts in `hosts` at the top of the file first"
    ]),
    (staged("hosts: [h, i]", ", hosts: []", ", ssh: h"), [
        ":3:22: `hosts` must be the name of a host, or a list of names, not an empty list",
        ":4:15: unknown key `ssh` in entry 2 of `phases` (did you mean `hosts`?)",
    ]),
    # flags
    (f"shared_fs: yes\nfetch: 1\npush:\n{JOB}", [
        ":1:12: `shared_fs` must be true or false, not `yes`",
        ":2:8: `fetch` must be true or false, not `1`",
        ":3:6: `push` must be true or false, not empty",
    ]),
    (f"collect: [a]\n{JOB}", [":1:10: `collect` must be true, false or a folder, not a list"]),
    (f"collect: $HOME/x\n{JOB}", [
        ":1:10: the folder of `collect` may not hold a `$`, which no shell reads here: write a path (`~` is the home "
        "folder)"
    ]),
    (f'collect: "a\\e"\n{JOB}', [
        ":1:10: the folder of `collect` may not hold control characters: write a path (`~` is the home folder)"
    ]),
    # outputs that stay on another host
    (staged("hosts: [h, i]"), [
        ":4:27: the phase `b` may not find the outputs of `a`: the jobs of both run on `h`, `i`. "
        f"{ANYWHERE} (`hosts: h`)"
    ]),
    (staged("hosts: [h, i]", ", hosts: h", ", hosts: i"), [
        ":4:37: the phase `b` may not find the outputs of `a`: that one runs on `h`, and `b` on `i`. "
        f"{ANYWHERE} (`hosts: h`)"
    ]),
    (staged("hosts: [h, i, j]", ", hosts: [h, i]", ", hosts: [j, i]", ", expected_output: o"), [
        ":4:42: the phase `b` may not find the outputs of `a`: that one runs on `h`, `i`, and `b` on `i`, `j`. "
        f"{ANYWHERE} (`hosts: i`)"
    ]),
    (staged("hosts: [h, i]\nfetch: true", second=", fetch: false"), [
        ":5:41: the phase `b` may not find the outputs of `a`: the jobs of both run on `h`, `i`. "
        f"{ANYWHERE} (`hosts: h`)"
    ]),
    (staged("hosts: [h, i]", ", fetch: true", ", push: true"), [
        ":4:39: the phase `b` may not find the outputs of `a`: the jobs of both run on `h`, `i`. "
        f"{ANYWHERE} (`hosts: h`)"
    ]),
    ("hosts: [local, i]\ncwd: ~/w\noutput_check: o\njobs: [{id: x, cmd: y}]\n"
     "phases: [{name: p, depends_on: [main], jobs: [{id: z, cmd: y}]}]\n", [
        ":5:33: the phase `p` may not find the outputs of `main`: the jobs of both run on `local`, `i`. "
        f"{ANYWHERE} (`hosts: local`)"
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_told_in_words(text: str, expected: list[str]) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert [str(error) for error in errors] == [f"s.yaml{line}" for line in expected]
    assert project is None


ONE_HOST = "the phases that need each other run on one host"

WARNINGS: list[tuple[str, list[str]]] = [
    (staged("hosts: [h]", second=", fetch: true"), [
        ":4:15: warning: `fetch` has nothing to bring: all jobs run on one host, `h`"
    ]),
    (staged("ssh: h", first=", push: true"), [
        ":3:15: warning: `push` has nothing to bring: all jobs run on one host, `h`"
    ]),
    (f"fetch: true\npush: true\n{JOB}", [
        ":1:1: warning: `fetch` has nothing to bring: all jobs run on one host, `local`",
        ":2:1: warning: `push` has nothing to bring: all jobs run on one host, `local`",
    ]),
    (staged("hosts: [h, i]", second=", fetch: true", outputs=""), [
        ":4:15: warning: `fetch` has nothing to bring: `a` has no `output_check`"
    ]),
    (staged("hosts: [h, i]", first=", push: true", outputs=""), [
        ":3:15: warning: `push` has nothing to bring: `a` has no `output_check`"
    ]),
    (staged("hosts: [h, i]", ", fetch: true, hosts: h", ", push: true, hosts: h"), [
        ":3:15: warning: `fetch` has nothing to bring: the phase `a` waits for no other",
        ":4:15: warning: `push` has nothing to bring: no phase waits for `b`",
    ]),
    (staged("hosts: [h, i]", ", hosts: h", ", hosts: h, fetch: true"), [
        f":4:25: warning: `fetch` has nothing to bring: {ONE_HOST}"
    ]),
    (f"hosts: [h, i]\nfetch: true\n{TOP}", [
        ":2:1: warning: `fetch` has nothing to bring: no phase that it holds for waits for another"
    ]),
    (f"hosts: [h, i]\npush: true\n{TOP}", [
        ":2:1: warning: `push` has nothing to bring: no phase waits for one that it holds for"
    ]),
    (staged("hosts: [h, i]\nshared_fs: true", second=", fetch: true"), [
        ":5:15: warning: `fetch` has nothing to bring: with `shared_fs: true` the hosts see the same files"
    ]),
    # told once for all that take it over, and not where it brings something for one of them
    (staged("hosts: [h, i]\npush: true", outputs=""), [
        ":2:1: warning: `push` has nothing to bring: `a` has no `output_check`"
    ]),
    (staged("hosts: [h, i]\npush: true", second=", push: false"), []),
    (staged("hosts: [h, i]\nfetch: true", second=", fetch: true"), [
        ":2:1: warning: `fetch` has nothing to bring: no phase that it holds for waits for another"
    ]),
    (staged("hosts: [h]\nfetch: true", ", fetch: false", ", fetch: false"), []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WARNINGS)
def test_warnings_let_the_project_stand(text: str, expected: list[str]) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert [str(error) for error in errors] == [f"s.yaml{line}" for line in expected]
    assert project is not None


@pytest.mark.parametrize(
    "text",
    [
        staged("hosts: [h, a/b]", ", hosts: h", ", hosts: a/b"),
        staged("hosts: [h, 7]", ", hosts: h", ", hosts: i"),
        staged("host: [h, i]", ", hosts: h", ", hosts: i"),
        staged("hosts: [h, {gpus: [0]}]", ", hosts: h", ", hosts: i"),
        staged("hosts: [h, i]\nshared_fs: yes"),
        staged("hosts: [h, i]\nshred_fs: true"),
        staged("hosts: [h, i]", second=", fetch: on"),
        staged("hosts: [h, i]", second=", fech: true"),
        staged("hosts: [h, i]", first=", push: on"),
        staged("hosts: [h, i]", ", hosts: h", ", hosts: j"),
        staged("hosts: [h, i]", ", hosts: [[h]]", ", hosts: h"),
        f"hosts: [h, i]\ncdw: ~/x\n{JOB}",
    ],
)
def test_what_may_only_follow_from_a_mistake_is_not_told(text: str) -> None:
    project, errors = load_text(text, "s.yaml", "/base")
    assert project is None
    assert len(errors) == 1, errors
