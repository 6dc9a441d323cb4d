"""What the agent reports of screens, GPUs, the disk, logs and damaged folders: facts, or why there are none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.host.agent import Agent
from tests.integration.host.conftest import Box, wait_for

PATH = "p/j/1"


@pytest.mark.needs("screen")
class TestSessions:
    @pytest.fixture(autouse=True)
    def folder(self, screen_dir: Path) -> Path:
        return screen_dir

    def ask(self, box: Box) -> dict[str, Any]:
        answer: dict[str, Any] = box.ask("probe", sessions=True)["sessions"]
        return answer

    def test_none_and_some(self, box: Box, folder: Path) -> None:
        facts = self.ask(box)
        assert (facts["exit"], facts["dir"], facts["dir_ok"], facts["timed_out"]) == (1, str(folder), True, False)
        assert "No Sockets found" in facts["text"]
        box.launch(PATH, "sleep 60\n", "screen")
        wait_for(lambda: ".exq.p.j.1\t" in self.ask(box)["text"])
        assert self.ask(box)["exit"] == 0

    @pytest.mark.parametrize(
        ("fault", "message"),
        [("mode", "has mode 755, it must be 700"), ("file", "is not a folder"), ("missing", "No such file")],
    )
    def test_a_wrong_folder_is_not_no_sessions(self, box: Box, folder: Path, fault: str, message: str) -> None:
        assert self.ask(box)["dir_ok"] is True
        if fault == "mode":
            folder.chmod(0o755)
        else:
            folder.rmdir()
            if fault == "file":
                folder.touch()
        facts = self.ask(box)
        assert facts["dir_ok"] is False
        assert message in facts["dir_message"]
        if fault == "file":
            folder.unlink()
            folder.mkdir()
        folder.chmod(0o700)

    @pytest.mark.root
    def test_a_folder_of_another_user(self, box: Box, folder: Path) -> None:
        os.chown(folder, 65534, 65534)
        facts = self.ask(box)
        os.chown(folder, 0, 0)
        assert facts["dir_ok"] is False
        assert "belongs to another user" in facts["dir_message"]


def test_without_screen_it_says_so(root: Path) -> None:
    agent = Agent(str(root / "state"), {"screen": "/nonexistent/screen"})
    reply = agent.handle({"op": "probe", "sessions": True})
    assert reply["screen_installed"] is False
    assert reply["sessions"]["exit"] == 127


@pytest.fixture
def smi(root: Path) -> Path:
    """A program in the place of nvidia-smi; a test writes what it does."""
    program = root / "nvidia-smi"
    program.touch()
    program.chmod(0o755)
    return program


class TestGpus:
    def ask(self, agent: Agent) -> dict[str, Any]:
        answer: dict[str, Any] = agent.handle({"op": "probe", "gpus": True})["gpus"]
        return answer

    def test_texts_and_owners(self, box: Box, root: Path, smi: Path) -> None:
        box.launch(PATH, "exec sleep 60\n")
        pid = box.running(PATH)["started"]["pid"]
        wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
        smi.write_text(
            "#!/bin/sh\ncase $1 in\n"
            "*query-gpu*) echo '0, GPU-1, NVIDIA L40S, 10, 46068, 0' ;;\n"
            f"*) echo '{pid}, GPU-1, 15690'; echo '1, GPU-1, 4'; echo '99999999, GPU-1, [N/A]' ;;\nesac\n"
        )
        facts = self.ask(Agent(str(box.state), {"nvidia_smi": str(smi)}))
        assert facts["query"] == {
            "text": "0, GPU-1, NVIDIA L40S, 10, 46068, 0\n", "exit": 0, "timed_out": False, "missing": False,
        }  # fmt: skip
        assert facts["owners"][str(pid)]["attempt"] == PATH
        assert facts["owners"][str(pid)]["command"] == "sleep 60"
        assert set(facts["owners"]) == {str(pid), "1"}
        assert facts["owners"]["1"]["user"] == "root"

    def test_missing(self, root: Path) -> None:
        facts = self.ask(Agent(str(root / "state"), {"nvidia_smi": "/nonexistent/nvidia-smi"}))
        assert facts["query"]["missing"] is facts["apps"]["missing"] is True

    def test_failing(self, root: Path, smi: Path) -> None:
        smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
        facts = self.ask(Agent(str(root / "state"), {"nvidia_smi": str(smi)}))
        assert facts["query"]["exit"] == 18
        assert "version mismatch" in facts["query"]["text"]

    def test_hanging_is_waited_for_once(self, root: Path, smi: Path) -> None:
        """A child that cannot be reaped stays the one outstanding; here one that takes its time to die."""
        calls = root / "calls"
        smi.write_text(f"#!/bin/sh\necho call >>{calls}\nexec sleep 60\n")
        agent = Agent(str(root / "state"), {"nvidia_smi": str(smi), "deadline_s": 0.4})
        facts = self.ask(agent)
        assert facts["query"]["timed_out"] is facts["apps"]["timed_out"] is True
        assert facts["query"]["exit"] < 0
        smi.write_text("#!/bin/sh\necho '0, GPU-1, x, 1, 2, 3'\n")
        assert (
            wait_for(lambda: (again := self.ask(agent))["query"]["exit"] == 0 and again)["query"]["timed_out"] is False
        )
        assert calls.read_text().count("call") == 2

    def test_one_that_cannot_be_killed_is_not_started_again(self, root: Path, smi: Path, monkeypatch: Any) -> None:
        calls = root / "calls"
        smi.write_text(f"#!/bin/sh\necho call >>{calls}\nexec sleep 60\n")
        agent = Agent(str(root / "state"), {"nvidia_smi": str(smi), "deadline_s": 0.4})
        killed: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", lambda pid, _number: killed.append(pid))
            for _ in range(3):
                assert self.ask(agent)["query"]["timed_out"] is True
        assert calls.read_text().count("call") == 2, "one call for each of the two queries"
        for pid in set(killed):
            os.killpg(pid, 9)


class TestAttempts:
    def test_an_absent_folder_is_absent(self, box: Box) -> None:
        box.write("p/other/1", "exit 0\n")
        facts = box.facts(PATH)
        assert facts["exists"] is facts["claimed"] is facts["revoked"] is facts["tree_alive"] is False
        assert facts["started"] is facts["exited"] is facts["setup_error"] is None

    def test_a_missing_state_folder_is_unknown(self, box: Box) -> None:
        """An unmounted disk must not read as: no attempt was ever made."""
        assert "is not there" in box.facts(PATH)["unknown"]

    @pytest.mark.parametrize("name", ["started.json", "exit.json"])
    @pytest.mark.parametrize(
        "content", ["not json\n", "[1]\n", "\0\0\0\n", "[" * 100_000 + "\n", "{}" + "\0" * (1 << 20)]
    )
    def test_damage_is_unknown(self, box: Box, name: str, content: str) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "claim").write_text("shim x 1 1\n")
        (folder / name).write_text(content)
        assert f"{name} is damaged" in box.facts(PATH)["unknown"]

    @pytest.mark.parametrize("name", ["started.json", "exit.json"])
    @pytest.mark.parametrize("content", ["", '{"code":0,"upti', "\0\0\0"])
    def test_a_record_cut_short_was_never_made(self, box: Box, name: str, content: str) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "claim").write_text("shim x 1 1\n")
        (folder / name).write_text(content)
        assert box.facts(PATH)["started" if name == "started.json" else "exited"] is None

    def test_started_record_without_a_process_is_damaged(self, box: Box) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "claim").write_text("shim x 1 1\n")
        for content in (
            "{}",
            '{"boot_id":"x"}',
            '{"boot_id":"x","pid":1e999,"start_ticks":1}',
            '{"boot_id":"x","pid":{}}',
        ):
            (folder / "started.json").write_text(content + "\n")
            assert "damaged" in box.facts(PATH)["unknown"]

    def test_a_claim_that_names_no_process_hides_only_its_own_attempt(self, box: Box) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        folder = box.write(PATH, "exit 0\n")
        for content in (f"shim {boot} x y", f"shim {boot} -1 -1", f"shim {boot} {'9' * 400} 1", "garbage", "shim"):
            (folder / "claim").write_text(content + "\n")
            facts = box.facts(PATH)
            assert facts["claimed"] and not facts["shim_alive"]

    def test_a_shim_that_has_not_signed_its_claim_is_alive(self, box: Box) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "claim").touch()
        assert box.facts(PATH)["shim_alive"] is False
        script = box.state / "shim-0.sh"
        script.write_text("sleep 60; :\n")
        stand_in = subprocess.Popen(["sh", str(script), str(folder)], start_new_session=True)
        try:
            wait_for(lambda: box.facts(PATH)["shim_alive"])
        finally:
            os.killpg(stand_in.pid, 9)
            stand_in.wait()

    def test_log_facts(self, box: Box) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "log").write_bytes(b"x" * 70000 + b"\xff end")
        facts = box.facts(PATH)
        assert facts["log_bytes"] == 70005
        assert len(facts["log_tail"]) == 65536
        assert facts["log_tail"].endswith("x\ufffd end")
        assert box.facts(PATH, tail=False)["log_tail"] == ""
        assert abs(facts["log_at"] - time.time()) < 3600

    def test_a_removed_lock_file_does_not_hide_the_tree(self, box: Box) -> None:
        box.launch(PATH, "setsid sleep 60 & touch ready; exit 0\n")
        box.exited(PATH)
        box.job_lock(PATH).unlink()
        assert box.facts(PATH, scan=False)["tree_alive"] is True

    def test_strays(self, box: Box, other_box: Box) -> None:
        for owner, path in ((box, PATH), (box, "p/k/3"), (other_box, "p/l/1")):
            owner.launch(path, "sleep 60\n")
            owner.running(path)
        reply = box.ask("probe", attempts=[{"path": PATH}], strays=True)
        assert reply["strays"] == ["p/k/3"]
        assert box.ask("probe", strays=True)["strays"] == [PATH, "p/k/3"]

    def test_a_probe_never_fails_an_attempt(self, box: Box) -> None:
        for number in range(30):
            box.launch(f"p/j/{number}", "exit 0\n")
            while not box.facts(f"p/j/{number}", scan=False)["exited"]:
                continue
            assert box.exited(f"p/j/{number}")["exited"]["code"] == 0


class TestFiles:
    def test_read_log_in_pieces(self, box: Box) -> None:
        folder = box.write(PATH, "exit 0\n")
        (folder / "log").write_text("añb€c")
        text, offset = "", 0
        while offset < 8:
            reply = box.ask("read_log", path=PATH, offset=offset, max_bytes=3)
            assert reply["offset"] > offset
            text, offset = text + reply["text"], reply["offset"]
        assert (text, reply["size"]) == ("añb€c", 8)
        assert box.ask("read_log", path=PATH, offset=8, max_bytes=9) == {"text": "", "offset": 8, "size": 8}
        assert box.ask("read_log", path=PATH, offset=-1, max_bytes=9)["text"] == "c"
        assert box.ask("read_log", path=PATH, offset=99, max_bytes=9)["text"] == "añb€c"
        assert box.ask("read_log", path="p/none/1", offset=0, max_bytes=9) == {"text": "", "offset": 0, "size": 0}

    def test_write_file(self, box: Box, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(root))
        assert box.ask("write_file", path="~/a/b/summary.md", text="é\n") == {"written": True}
        written = root / "a" / "b" / "summary.md"
        assert written.read_text(encoding="utf-8") == "é\n"
        assert [entry.name for entry in written.parent.iterdir()] == ["summary.md"]
        assert not written.stat().st_mode & stat.S_IXUSR
        assert box.ask("write_file", path="relative", text="")["kind"] == "refused"

    @pytest.mark.parametrize("request_", [{}, {"op": "nothing"}, {"op": "launch", "path": PATH}, {"op": "settle"}])
    def test_wrong_requests_are_errors_not_exceptions(self, box: Box, request_: dict[str, Any]) -> None:
        reply = box.agent.handle(request_)
        assert set(reply) == {"error", "kind"}

    def test_answers_are_json(self, box: Box) -> None:
        box.launch(PATH, "exit 0\n")
        box.exited(PATH)
        probe = box.ask("probe", attempts=[{"path": PATH}], sessions=True, gpus=True, disk=True, strays=True)
        for reply in (probe, box.ask("hello")):
            assert json.loads(json.dumps(reply)) == reply

    def test_looking_makes_no_files(self, box: Box) -> None:
        reply = box.ask("probe", attempts=[], sessions=False, disk=True, strays=True)
        assert reply["disk"]["free_mib"] > 0
        assert not box.state.exists()

    @pytest.mark.parametrize("state", ["/proc/none/exq", "{folder}/file/exq"])
    def test_a_state_folder_that_cannot_be_made_has_no_room(self, state: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        reply = Agent(state.format(folder=tmp_path), {}).handle(
            {"op": "probe", "attempts": [], "sessions": False, "disk": True}
        )
        assert reply["disk"]["writable"] is False
        assert "cannot be created in" in reply["disk"]["message"]
