"""exq.yaml: what it may say, what is said of mistakes, and what wins over it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from reconciler.spec.configured import ConfiguredSpecs
from reconciler.spec.effective import DEFAULT, VARIABLES, Effective, effective
from reconciler.spec.exq_yaml import GitSource, ProductSettings, is_remote, read_product_settings
from reconciler.spec.files import SpecFolder
from reconciler.spec.schema import settings_schema_text
from reconciler.spec.settings_file import SettingsFile
from reconciler.store.last_good import LastGoodTexts
from reconciler.store.paths import StatePaths
from tests.unit.spec.kept import Kept

NOW = 1_800_000_000.0
LONG_AGO = NOW - 3600


def read(text: str) -> ProductSettings:
    settings, errors = read_product_settings(text, "/home/me/specs/exq.yaml")
    assert errors == () and settings is not None
    return settings


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n\n  # at all\n", "\ufeff# with a mark\n", "~\n"])
def test_it_may_say_nothing(text: str) -> None:
    assert read(text) == ProductSettings(path="/home/me/specs/exq.yaml")


def test_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    settings = read(
        "screen: ~/bin/screen\nnvidia_smi: nvidia-smi-2\nremote_state: ~/state\nssh_config: ./ssh\n"
        "host_names: [a, a.org]\nsource: {git: {path: .}}\nx-mine: {anything: 1}\n"
    )
    assert settings == ProductSettings(
        screen="/home/me/bin/screen",
        nvidia_smi="nvidia-smi-2",
        remote_state="~/state",
        ssh_config="/home/me/specs/ssh",
        host_names=("a", "a.org"),
        source=GitSource(None, "/home/me/specs", "", "HEAD"),
        path="/home/me/specs/exq.yaml",
        lines=settings.lines,
    )
    assert [settings.lines[name] for name in ("screen", "host_names", "source")] == [1, 5, 6]


@pytest.mark.parametrize(
    ("git", "wanted"),
    [
        ("{url: 'git@h:x.git'}", GitSource("git@h:x.git", "", "", "HEAD", 60.0)),
        (
            "{url: 'https://h/x', path: ./a//b/, ref: v1, interval: 5m}",
            GitSource("https://h/x", "", "a/b", "v1", 300.0),
        ),
        ("{url: 'file:///srv/x.git', interval: 2.5}", GitSource("file:///srv/x.git", "", "", "HEAD", 2.5)),
        ("{url: ../repo, path: specs, ref: main}", GitSource(None, "/home/me/repo", "specs", "main")),
        ("{url: /srv/x.git}", GitSource(None, "/srv/x.git", "", "HEAD")),
        ("{path: ../other/specs}", GitSource(None, "/home/me/other/specs", "", "HEAD")),
        ("{path: /srv/x.git, ref: refs/heads/a/b}", GitSource(None, "/srv/x.git", "", "refs/heads/a/b")),
    ],
)
def test_sources(git: str, wanted: GitSource) -> None:
    assert read(f"source: {{git: {git}}}\n").source == wanted


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("https://h/x.git", True),
        ("ssh://me@h:22/x", True),
        ("me@h:x.git", True),
        ("h:x", True),
        ("/srv/x.git", False),
        ("./a:b", False),
        ("../x", False),
        ("x", False),
        ("~/x", False),
    ],
)
def test_what_has_to_be_fetched(url: str, remote: bool) -> None:
    assert is_remote(url) is remote


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scren: x\n", "1:1: unknown key `scren` (did you mean `screen`?)"),
        ("source:\n  git:\n    branch: x\n", "3:5: unknown key `branch` in `git` (did you mean `ref`?)"),
        ("source: {git: {repo: x}}\n", "1:16: unknown key `repo` in `git` (did you mean `url`?)"),
        ("source: {got: {}}\n", "1:10: unknown key `got` in `source` (did you mean `git`?)"),
        ("source: git\n", "1:9: `source` must be a mapping with `git:` in it, not `git`"),
        ("source: {git: {ref: x}}\n", "1:15: `git` needs `url` (a repository) or `path`"),
        ("source: {git: {path: ., interval: soon}}\n", "1:35: `interval` must be seconds, or text such as 90s"),
        ("source: {git: {path: ., interval: 0.5s}}\n", "1:35: `interval` must be at least 1 s, not `0.5s`"),
        ("source: {git: {path: ., interval: 0}}\n", "1:35: `interval` must be at least 1 s, not `0`"),
        ("source: {git: {path: ., interval: 0.001}}\n", "1:35: `interval` must be at least 1 s, not `0.001`"),
        ("source: {git: {path: ., interval: 99999d}}\n", "1:35: `interval` must be at most 30 d, not `99999d`"),
        ("source: {git: {path: ., interval: 1e9}}\n", "1:35: `interval` must be at most 2,592,000, not `1e9`"),
        ("source: {git: {path: ., interval: [1]}}\n", "1:35: `interval` must be seconds, or text such as 90s or 5m"),
        ("source: {git: {path: ., ref: 'a..b'}}\n", "1:25: `a..b` is not the name of a branch, a tag or a commit"),
        ("source: {git: {path: ., ref: --all}}\n", "1:25: `ref` may not begin with a dash"),
        ("source: {git: {url: 'h:x', path: /a}}\n", "1:28: with `url`, `path` is a folder in that repository"),
        ("source: {git: {url: 'h:x', path: a/../../b}}\n", "leads out of it"),
        ("source: {git: {url: 'https://a:b/c@h/x'}}\n", "1:16: `url` has an `@` behind a `/`"),
        ("source:\n  git:\n    url: 'ext::sh -c id'\n", "exq.yaml:3:5: `ext::` makes git run a program"),
        ("source: {git: {url: 'htps://h/x'}}\n", "exq.yaml:1:16: unknown `htps://` in `url`: did you mean `https://`?"),
        ("screen: 5\n", "1:9: `screen` must be text, not `5`"),
        ("host_names: {a: 1}\n", "must be a name, or a list such as [gpu1, gpu1.example.org], not a mapping"),
        ("remote_state: here\n", "1:15: `remote_state` must be absolute, or begin with `~/`, not `here`"),
        ("screen: a\n---\nscreen: b\n", "2:1: a file holds one document: what follows `---` needs"),
        ("[a]\n", "1:1: exq.yaml must be a mapping of settings"),
        ("screen: [\n", "1:9: "),
        ("screen: a\nscreen: b\n", "2:1: the key `screen` is written twice"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    settings, errors = read_product_settings(text, "exq.yaml")
    assert settings is None
    assert any(words in str(error) for error in errors), [str(error) for error in errors]


def test_the_schema_is_one_and_describes_everything() -> None:
    schema = json.loads(settings_schema_text())
    jsonschema.Draft7Validator.check_schema(schema)
    parts = [*schema["properties"].values(), *schema["definitions"]["git"]["properties"].values()]
    assert all(part.get("description") for part in parts)
    assert set(schema["properties"]) == {*VARIABLES, "source"}


def test_a_password_in_a_url_is_not_shown() -> None:
    assert GitSource("https://ann:secret@h/x", "", "", "HEAD").repository == "https://h/x"
    assert GitSource("git@h:x", "", "", "HEAD").repository == "git@h:x"


def test_the_environment_wins_and_each_value_says_where_it_is_from() -> None:
    file = read("screen: s\nnvidia_smi: n\nhost_names: a\n")
    found = effective({"SCREEN": "mine", "EXQ_HOST": "x y", "NVIDIA_SMI": ""}, file)
    assert (found.screen, found.nvidia_smi, found.host_names) == ("mine", "n", ("x", "y"))
    assert (found.remote_state, found.source) == (None, None)
    assert found.origins == {
        "screen": "SCREEN",
        "nvidia_smi": "/home/me/specs/exq.yaml:2",
        "remote_state": DEFAULT,
        "ssh_config": DEFAULT,
        "host_names": "EXQ_HOST",
        "source": DEFAULT,
    }
    assert effective({}, None) == Effective()
    assert effective({}, file).differences(found) == ["screen", "host_names"]


class Place:
    """A specs folder whose exq.yaml is written at times of the test's choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = Kept()
        self.file = self.fresh()

    def fresh(self) -> SettingsFile:
        return SettingsFile(self.folder, self.kept, set())

    def write(self, text: str, at: float = LONG_AGO, name: str = "exq.yaml") -> None:
        (self.folder / name).write_text(text)
        os.utime(self.folder / name, (at, at))
        os.utime(self.folder, (at, at))

    def screen(self, now: float = NOW, *, settle: bool = True) -> str | None:
        self.file.refresh(settle=settle, now=now)
        return self.file.settings.screen if self.file.settings is not None else None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    os.utime(tmp_path, (LONG_AGO, LONG_AGO))
    return Place(tmp_path)


def test_a_file_is_read_again_when_it_changes(place: Place) -> None:
    assert (place.screen(), place.file.is_there, place.file.unknown) == (None, False, False)
    place.write("screen: a\n")
    assert (place.screen(), place.file.is_there) == ("a", True)
    place.write("screen: b\n", LONG_AGO + 1)
    assert place.screen() == "b"
    (place.folder / "exq.yaml").unlink()
    os.utime(place.folder, (LONG_AGO, LONG_AGO))
    assert place.screen() is None


def test_a_broken_one_leaves_the_last_good_one_in_force_over_a_restart_too(place: Place) -> None:
    place.write("screen: a\n")
    assert place.screen() == "a"
    place.write("scren: b\n", LONG_AGO + 1)
    for _ in range(2):
        assert place.screen() == "a"
        assert [str(error).rpartition("/")[2] for error in place.file.errors] == [
            "exq.yaml:1:1: unknown key `scren` (did you mean `screen`?)"
        ]
        assert not place.file.unknown
        place.file = place.fresh()


def test_one_that_could_not_be_kept_is_kept_later(tmp_path: Path) -> None:
    paths, specs = StatePaths(tmp_path / "state"), tmp_path / "specs"
    specs.mkdir()
    (specs / "exq.yaml").write_text("screen: a\n")
    texts = LastGoodTexts(paths, writable=True)
    file = SettingsFile(specs, texts, set())
    file.refresh(settle=False, now=NOW)
    assert texts.problem is not None
    paths.ensure()
    file.refresh(settle=False, now=NOW)
    assert texts.problem is None
    assert LastGoodTexts(paths, writable=False).get(str(specs / "exq.yaml")) == "screen: a\n"


def test_one_that_never_loaded_says_nothing_of_the_source(place: Place) -> None:
    place.write("source: [\n")
    assert place.screen() is None
    assert place.file.unknown
    place.write("", LONG_AGO + 1)
    assert place.screen() is None
    assert not place.file.unknown


def test_one_that_is_being_written_counts_as_it_was(place: Place) -> None:
    place.write("screen: a\n")
    place.screen()
    place.write("screen: ", NOW)
    assert (place.screen(NOW + 0.1), place.file.unsettled) == ("a", True)
    place.write("screen: b\n", NOW + 0.2)
    assert (place.screen(NOW + 1), place.file.unsettled) == ("b", False)
    (place.folder / "exq.yaml").unlink()
    os.utime(place.folder, (NOW + 2, NOW + 2))
    assert place.screen(NOW + 2.1) == "b", "editors take it away for a moment"
    assert place.screen(NOW + 3) is None


def test_two_of_them_are_one_too_many(place: Place) -> None:
    place.write("screen: a\n")
    place.write("screen: b\n", name="exq.yml")
    place.screen()
    assert "there is exq.yml, too: keep one of the two" in str(place.file.errors[0])
    (place.folder / "exq.yaml").unlink()
    assert place.screen() == "b"


def test_in_a_folder_that_others_can_write_to_it_counts_as_it_was(place: Place) -> None:
    place.write("screen: a\n")
    assert place.screen() == "a"
    place.folder.chmod(0o777)
    place.write("screen: evil\n", LONG_AGO + 1)
    assert place.screen() == "a"
    assert "others could put another in its place" in str(place.file.errors[0])
    place.file = place.fresh()
    assert place.screen() == "a"
    place.folder.chmod(0o755)
    assert place.screen() == "evil"
    place.write("screen: b\n", LONG_AGO + 2)
    (place.folder / "exq.yaml").chmod(0o666)
    assert place.screen() == "evil"
    assert "everyone on this machine could write to it" in str(place.file.errors[0])


AWAY = [
    pytest.param(lambda folder: folder.rename(folder.with_name("away")), "No such file or directory", id="gone"),
    pytest.param(
        lambda folder: (folder.rename(folder.with_name("away")), folder.touch()), "Not a directory", id="no folder"
    ),
    pytest.param(
        lambda folder: (folder.rename(folder.with_name("away")), folder.symlink_to(folder.name)),
        "Too many levels of symbolic links",
        id="no way to it",
    ),
]


@pytest.fixture
def inner(tmp_path: Path) -> Place:
    """In a folder that a test can take away."""
    (tmp_path / "specs").mkdir()
    os.utime(tmp_path / "specs", (LONG_AGO, LONG_AGO))
    return Place(tmp_path / "specs")


def bring_back(folder: Path) -> None:
    if folder.is_symlink() or folder.exists():
        folder.unlink()
    folder.with_name("away").rename(folder)


@pytest.mark.parametrize(("take_away", "why"), AWAY)
def test_a_folder_that_is_away_does_not_say_that_there_is_none(
    inner: Place, take_away: Callable[[Path], object], why: str
) -> None:
    inner.write("screen: a\n")
    assert inner.screen() == "a"
    take_away(inner.folder)
    for _ in range(2):
        assert (inner.screen(), inner.file.unknown) == ("a", False)
        assert why in str(inner.file.errors[0])
        inner.file = inner.fresh()  # over a restart too
    bring_back(inner.folder)
    assert (inner.screen(), inner.file.errors) == ("a", ())


@pytest.mark.parametrize(("take_away", "why"), AWAY)
def test_what_was_never_seen_is_unknown_while_the_folder_is_away(
    inner: Place, take_away: Callable[[Path], object], why: str
) -> None:
    inner.write("screen: a\n")
    take_away(inner.folder)
    assert inner.screen() is None
    assert inner.file.unknown and why in str(inner.file.errors[0])
    bring_back(inner.folder)
    assert (inner.screen(), inner.file.unknown) == ("a", False)


@pytest.mark.parametrize(("take_away", "why"), AWAY)
def test_a_folder_without_one_stays_without_one(inner: Place, take_away: Callable[[Path], object], why: str) -> None:
    assert (inner.screen(), inner.file.unknown) == (None, False)
    take_away(inner.folder)
    assert (inner.screen(), inner.file.unknown, inner.file.errors) == (None, False, ())
    bring_back(inner.folder)
    inner.write("screen: a\n")
    assert inner.screen() == "a"


def test_one_that_was_taken_away_long_ago_does_not_come_back(place: Place) -> None:
    place.write("source: {git: {path: .}}\n")
    place.screen()
    (place.folder / "exq.yaml").unlink()
    os.utime(place.folder, (LONG_AGO, LONG_AGO))
    place.screen()
    place.write("screen: [\n")
    for _ in range(2):
        place.screen()
        assert not place.file.unknown
        assert place.file.settings is None or place.file.settings.source is None
        place.file = place.fresh()


def test_a_link_that_leads_nowhere_is_not_none(place: Place) -> None:
    place.write("screen: a\n")
    place.screen()
    (place.folder / "exq.yaml").unlink()
    (place.folder / "exq.yaml").symlink_to("nowhere")
    os.utime(place.folder, (LONG_AGO, LONG_AGO))
    assert place.screen() == "a"
    assert "it is a link to a file that does not exist" in str(place.file.errors[0])


def test_a_source_that_is_taken_out_is_closed(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    place = Place(tmp_path / "specs")
    plain, calls = SpecFolder(place.folder, Kept()), list[str]()

    def opened(source: GitSource) -> SpecFolder:
        calls.append(source.ref)
        return plain

    specs = ConfiguredSpecs(plain, place.file, opened, lambda: calls.append("closed"))
    place.write("source: {git: {path: ., ref: main}}\n")
    specs.load(settle=True, now=NOW)
    place.write("screen: a\n", LONG_AGO + 1)
    for _ in range(2):
        specs.load(settle=True, now=NOW)
    assert calls == ["main", "closed"]


def test_a_mistake_that_stays_makes_no_new_wish(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    place = Place(tmp_path / "specs")
    plain = SpecFolder(place.folder, Kept())
    specs = ConfiguredSpecs(plain, place.file, lambda _: plain)
    place.write("source: [\n")
    assert specs.load(settle=True, now=NOW) is specs.load(settle=True, now=NOW + 1)
