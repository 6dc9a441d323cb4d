"""The helper that notes what attempts ran with: whatever one program or one attempt is like, the others are noted."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from reconciler.host import provenance
from reconciler.spec.git_remote import Remote


class TestPrograms:
    def run(self, script: str, patience_s: float = 30, limit: int = 1 << 20) -> tuple[int, bytes, str, bool]:
        until = time.monotonic() + patience_s
        return provenance.run(["sh", "-c", script], "/", dict(os.environ), until, limit)

    def test_what_it_says(self) -> None:
        assert self.run("echo out; echo err >&2; exit 3") == (3, b"out\n", "err\n", False)

    @pytest.mark.parametrize("closes", ["exec >&- 2>&-;", "exec >&-;", ""])
    def test_one_that_lives_on_is_killed_at_the_deadline(self, tmp_path: Path, closes: str) -> None:
        """Also where it has nothing more to say: nobody waits for its end alone."""
        pid = tmp_path / "pid"
        with pytest.raises(provenance.Problem, match="sh gave no answer in time"):
            self.run(f"echo $$ >{pid}; {closes} exec sleep 600", patience_s=0.5)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)

    def test_what_it_starts_and_leaves_is_killed_too(self, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        with pytest.raises(provenance.Problem):
            self.run(f"sleep 600 & echo $! >{pid}", patience_s=0.5)
        for _ in range(500):
            if not Path(f"/proc/{pid.read_text().strip()}/status").exists():
                break
            if "zombie" in Path(f"/proc/{pid.read_text().strip()}/status").read_text():
                break
            time.sleep(0.01)
        else:
            raise AssertionError("it lives")

    def test_complaints_have_a_limit_and_are_read_to_the_end(self) -> None:
        code, text, complaint, cut = self.run("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo done; exit 1")
        assert (code, text, cut) == (1, b"done\n", False)
        assert len(complaint) == provenance.COMPLAINT_MAX_BYTES

    def test_complaints_without_end_end_at_the_deadline(self) -> None:
        with pytest.raises(provenance.Problem, match="in time"):
            self.run("exec yes >&2", patience_s=0.5)

    def test_output_that_is_too_long_is_cut_off(self) -> None:
        _, text, _, cut = self.run("exec yes", limit=1000)
        assert (len(text), cut) == (1000, True)


class TestQueue:
    ODD = {  # noqa: RUF012
        "a NUL": ("intent.json", '{"cwd": "a\\u0000b"}'),
        "no time": ("provenance.json", '{"code": {"commit": "abc"}}'),
        "too deep": ("provenance.json", "[" * 100_000),
        "not a text": ("intent.json", '{"cwd": ["x"], "commit": {}}'),
    }

    def ask(self, state: Path, job: str, marker: str | None = None) -> Path:
        folder = state / "attempts" / "p" / job / "1"
        folder.mkdir(parents=True)
        (folder / "intent.json").write_text('{"cwd": "/"}')
        (folder / "exit.json").write_text("{}")
        queue = state / "provenance" / "queue"
        queue.mkdir(parents=True, exist_ok=True)
        (queue / f"p%{job}%1").write_text(f"p/{job}/1\n" if marker is None else marker)
        return folder

    def noted(self, folder: Path) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((folder / "provenance.json").read_text())
        return found

    @pytest.mark.parametrize("odd", ODD)
    def test_one_that_is_odd_keeps_no_other_from_being_noted(self, tmp_path: Path, odd: str) -> None:
        folders = [self.ask(tmp_path, job) for job in "abc"]
        name, text = self.ODD[odd]
        (folders[1] / name).write_text(text)
        provenance.work(str(tmp_path))
        assert list((tmp_path / "provenance" / "queue").iterdir()) == []
        for folder in (folders[0], folders[2]):
            assert self.noted(folder)["code"]["problem"] == "/ is in no git repository"
            assert "did not come as far" in self.noted(folder)["environment"]["problem"]
        there = self.noted(folders[1])
        if odd == "no time":
            assert there["code"] == {"commit": "abc"}, "what was noted before is kept"
        assert any("problem" in there[part] for part in ("code", "environment"))

    def test_a_marker_that_names_nothing_is_taken_away(self, tmp_path: Path) -> None:
        self.ask(tmp_path, "a", marker="p/a/1\0x\n")
        folder = self.ask(tmp_path, "b")
        provenance.work(str(tmp_path))
        assert list((tmp_path / "provenance" / "queue").iterdir()) == []
        assert "problem" in self.noted(folder)["code"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/x.git", "https://example.org/x.git"),
        ("https://ann@example.org/x.git", "https://example.org/x.git"),
        ("https://ann:word@example.org:8443/x.git", "https://example.org:8443/x.git"),
        ("https://ann:p@ss@example.org/x.git", "https://example.org/x.git"),
        ("https://ann:s3c/ret@example.org/x.git", "https://example.org/x.git"),
        ("https://ann:a?b#c@example.org/x.git", "https://example.org/x.git"),
        ("HTTPS://ann:word@example.org/x", "HTTPS://example.org/x"),
        ("ssh://git@example.org/x.git", "ssh://example.org/x.git"),
        ("ssh://git@example.org/a@b.git", "ssh://example.org/a@b.git"),
        ("file:///srv/a@b.git", "file:///srv/a@b.git"),
        ("git@example.org:x.git", "git@example.org:x.git"),
        ("/srv/a@b", "/srv/a@b"),
        ("", ""),
    ],
)
def test_an_address_is_noted_without_its_password(url: str, shown: str) -> None:
    assert provenance.without_password(url) == shown
    assert Remote(url).shown == shown, "specs and notes show the same"
