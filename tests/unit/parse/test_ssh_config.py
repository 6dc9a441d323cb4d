"""What `ssh -G` prints, as options."""

from __future__ import annotations

import pytest

from reconciler.parse.ssh_config import (
    BadConfig,
    Jump,
    SshOptions,
    check_destination,
    check_user,
    expand,
    parse_jumps,
    parse_options,
)

MINIMAL = "hostname box\nuser ada\n"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", SshOptions("box", "ada")),
        ("port 2222\nidentitiesonly yes\n", SshOptions("box", "ada", port=2222, identities_only=True)),
        (
            "identityfile ~/a b\nidentityfile none\nidentityfile /c\n",
            SshOptions("box", "ada", identity_files=("~/a b", "/c")),
        ),
        (
            "userknownhostsfile /a b/known ~/known2 %d/known3\n",
            SshOptions("box", "ada", user_known_hosts=("/a b/known", "~/known2", "%d/known3")),
        ),
        ("globalknownhostsfile none\nproxycommand none\nproxyjump none\n", SshOptions("box", "ada")),
        ("connecttimeout 7\n", SshOptions("box", "ada", connect_timeout_s=7.0)),
        ("connecttimeout none\nidentityagent none\n", SshOptions("box", "ada", identity_agent="none")),
        ("proxyjump a,b\nproxyusefdpass yes\n", SshOptions("box", "ada", proxy_jump="a,b", proxy_use_fdpass=True)),
        ("proxycommand nc %h %p\n", SshOptions("box", "ada", proxy_command="nc %h %p")),
        ("addressfamily inet6\nhostkeyalias X\n", SshOptions("box", "ada", address_family="inet6", host_key_alias="X")),
    ],
)
def test_options(text: str, options: SshOptions) -> None:
    assert parse_options(MINIMAL + text) == options


@pytest.mark.parametrize("text", ["user ada\n", "hostname box\n", MINIMAL + "port x\n", MINIMAL + "port 70000\n"])
def test_options_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadConfig):
        parse_options(text)


@pytest.mark.parametrize(
    ("text", "jumps"),
    [
        ("gate", (Jump("gate"),)),
        ("ada@gate:2201, other", (Jump("gate", "ada", 2201), Jump("other"))),
        ("ssh://ada@gate:2201/", (Jump("gate", "ada", 2201),)),
        ("ada@[fe80::1]:22", (Jump("fe80::1", "ada", 22),)),
        ("a@b@gate", (Jump("gate", "a@b"),)),
        ("gate,,other", None),
        ("gate:70000", None),
        ("gate:ssh", None),
    ],
)
def test_jumps(text: str, jumps: tuple[Jump, ...] | None) -> None:
    if jumps is None:
        with pytest.raises(BadConfig):
            parse_jumps(text)
    else:
        assert parse_jumps(text) == jumps


@pytest.mark.parametrize(
    ("text", "result"),
    [("%h:%p %%h", "box:22 %h"), ("${HOME}/x", "/home/ada/x"), ("$HOME", "$HOME"), ("%z", None), ("${NOT}", None)],
)
def test_expand(text: str, result: str | None) -> None:
    tokens, environment = {"h": "box", "p": "22"}, {"HOME": "/home/ada"}
    if result is None:
        with pytest.raises(BadConfig, match="stands for nothing"):
            expand(text, tokens, environment)
    else:
        assert expand(text, tokens, environment) == result


@pytest.mark.parametrize("name", ["box", "ada@box", "10.0.0.1", "::1", "fe80::1%eth0", "my_box-2.example.org"])
def test_names_of_hosts(name: str) -> None:
    check_destination(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a\nb", "a'b", "a`b", "$x", "a;b", "a|b", "a/b", "@box", "-l@box", "a b@box", "ada@", "é"]
)
def test_what_is_no_name_of_a_host(name: str) -> None:
    with pytest.raises(BadConfig):
        check_destination(name)


@pytest.mark.parametrize("user", ["", "-oX", "a b", "a;b", "a\\", "a$(b)"])
def test_what_is_no_name_of_a_user(user: str) -> None:
    with pytest.raises(BadConfig):
        check_user(user)
