"""How `exq doctor` shows what it found."""

from __future__ import annotations

from reconciler.model.doctor import Check, CheckStatus
from reconciler.view.doctor import doctor_json, render_checks, render_summary
from reconciler.view.style import Style
from tests.unit.view.factories import NOW

OK = Check("gpu1", "python", CheckStatus.OK, "Python 3.8.10")
LONG = "ssh gpu1 'mkdir -p /data/with/a/very/long/name/that/does/not/fit/on/the/line/at/all/however/wide'"
WARNING = Check("gpu1", "linger", CheckStatus.WARNING, "Linger=no", "loginctl enable-linger")
ERROR = Check("gpu1", "cwd", CheckStatus.ERROR, "there is no folder", LONG, tuple(f"p/{i}" for i in range(6)))


def test_a_line_each_with_what_mends_it() -> None:
    assert render_checks("gpu1", [OK, WARNING], Style()).splitlines() == [
        "gpu1",
        "  = ok       python         Python 3.8.10",
        "  ~ warning  linger         Linger=no",
        "                            mend: loginctl enable-linger",
    ]


def test_the_jobs_are_named_and_a_command_is_never_broken() -> None:
    lines = render_checks("gpu1", [ERROR], Style(width=80)).splitlines()
    assert "6 jobs (p/0, p/1, p/2, p/3 and 2 more)" in " ".join(" ".join(lines).split())
    assert any(line.strip() == f"mend: {LONG}" for line in lines)


def test_a_command_in_a_sentence_is_not_broken_either() -> None:
    mend = f"compare the fingerprint, which is a longer sentence, then: `{LONG}`"
    lines = render_checks("a", [Check("a", "host key", CheckStatus.ERROR, "new", mend)], Style()).splitlines()
    assert any(line.strip() == f"`{LONG}`" for line in lines)


def test_titles() -> None:
    assert render_checks(None, [], Style()) == "specs and exq\n"
    assert render_checks("local", [], Style()) == "this machine\n"


def test_the_end_says_how_many_and_what_comes_next() -> None:
    assert render_summary([OK, WARNING, ERROR]) == "1 error, 1 warning, 1 ok\n"
    assert render_summary([OK, WARNING, WARNING]) == "0 errors, 2 warnings, 1 ok\nNext: exq diff\n"


def test_json() -> None:
    found = doctor_json([OK, ERROR], NOW)
    assert (found["schema"], found["ok"], found["summary"]) == (
        "exq.doctor/v1",
        False,
        {"ok": 1, "warning": 0, "error": 1},
    )
    assert found["checks"][0] == {
        "host": "gpu1",
        "name": "python",
        "status": "ok",
        "message": "Python 3.8.10",
        "mend": None,
        "jobs": [],
    }
    assert found["checks"][1]["mend"] == LONG
    assert doctor_json([OK, WARNING], NOW)["ok"] is True
