"""The user's own ssh, for people to type and for programs to start."""

from __future__ import annotations

import pytest

from reconciler.host.ssh.by_hand import CONFIG_VARIABLE, config_file, ssh_argv, ssh_to, use_config


@pytest.mark.parametrize(
    ("config", "typed", "started"),
    [
        (None, "ssh 'my box'", ["ssh", "-t", "--", "my box"]),
        ("/my lab/config", "ssh -F '/my lab/config' 'my box'", ["ssh", "-F", "/my lab/config", "-t", "--", "my box"]),
    ],
)
def test_one_command_for_both(
    monkeypatch: pytest.MonkeyPatch, config: str | None, typed: str, started: list[str]
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "")
    use_config(config)
    assert (ssh_to("my box"), ssh_argv("my box", "-t")) == (typed, started)


def test_a_host_is_never_an_option() -> None:
    assert ssh_argv("-oProxyCommand=x")[-2:] == ["--", "-oProxyCommand=x"]


def test_no_setting_leaves_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/mine")
    use_config(None)
    assert config_file() == "/mine"
