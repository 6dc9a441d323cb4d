"""What changed in the specs from one look to the next, a sentence for each file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.model.spec import Desired, Job, Project, SpecFile
from reconciler.view.source import is_settings, settings_mistake
from reconciler.view.words import count


@dataclass(frozen=True, slots=True)
class News:
    """What is new with the file at `path`, as a whole sentence. `broken`: it does not load."""

    path: str
    text: str
    broken: bool = False


def spec_news(before: Desired, after: Desired) -> list[News]:
    """The files that were added, changed, broken, mended or taken away; one that is being written is none of it."""
    if before is after:
        return []
    old = {file.path: file for file in before.files}
    news = _source_news(before, after)
    for file in after.files:
        path, was = file.path, old.get(file.path)
        if file.broken and (words := _broken(was, file, before, after)):
            news.append(News(path, f"{path} is broken, {words}", broken=True))
        elif not (file.broken or file.unsettled) and (words := _changed(was, file, before, after)):
            news.append(News(path, f"{path}{words}"))
    kept = {file.path for file in after.files}
    gone = [path for path in old if path not in kept and not is_settings(path)]
    return news + _settings_news(before, after) + [News(path, _gone(path, _project(before, path))) for path in gone]


def _settings_news(before: Desired, after: Desired) -> list[News]:
    """That exq.yaml broke, or was mended or taken away. It is among the files only while it is being written."""
    was, now = settings_mistake(before), settings_mistake(after)
    if now is None and was is not None and not any(is_settings(file.path) for file in after.files):
        return [News(was.path, f"{was.path} has no mistake any more")]
    if now is None or (was is not None and str(was) == str(now)):
        return []
    stays = "what it said when it last loaded stays in force" if after.version else "so nothing is asked for"
    return [News(now.path, f"{now.path} is broken, {stays}: {now}", broken=True)]


def _source_news(before: Desired, after: Desired) -> list[News]:
    """That another commit is in force now, or that the specs come from somewhere else."""
    was, now = before.source, after.source
    if now is None:
        return [] if was is None else [News("", "the specs are those of the folder now, as its files are")]
    if now.commit is None or (was is not None and (was.repository, was.commit) == (now.repository, now.commit)):
        return []
    since = f", after {was.commit[:7]}" if was is not None and was.commit and was.repository == now.repository else ""
    return [News("", f"the specs are at {now.commit[:7]} now, `{now.ref}` of {now.repository}{since}")]


def _project(desired: Desired, path: str) -> Project | None:
    return next((project for project in desired.projects.values() if project.source == path), None)


def _broken(old: SpecFile | None, file: SpecFile, before: Desired, after: Desired) -> str:
    """That it does not load, with the first mistake; nothing when it said so before."""
    errors = [str(error) for error in after.errors if error.path == file.path and not error.warning]
    known = [str(error) for error in before.errors if error.path == file.path and not error.warning]
    if not errors or (old is not None and old.broken and errors == known):
        return ""
    stays = "the last version that loaded stays in force" if file.last_good else "nothing is changed for its jobs"
    more = f" (and {count(len(errors) - 1, 'more mistake')}: exq validate)" if len(errors) > 1 else ""
    return f"{stays}: {errors[0]}{more}"


def _changed(old: SpecFile | None, file: SpecFile, before: Desired, after: Desired) -> str:
    was, now = _project(before, file.path), _project(after, file.path)
    if now is None:
        return ""
    words = _differences(was, now)
    if old is not None and old.broken:
        return f" loads again: {words or _jobs(now)}"
    return f": {words}" if words else ""


def _differences(was: Project | None, now: Project) -> str:
    """`15 jobs (6 new, 1 gone, 2 changed)`; nothing where only places in the file moved."""
    if was is now:
        return ""
    before = {job.key: job for job in was.jobs()} if was else {}
    after = {job.key: job for job in now.jobs()}
    changed = sum(key in before and _plain(before[key]) != _plain(job) for key, job in after.items())
    numbers = ((len(after.keys() - before.keys()), "new"), (len(before.keys() - after.keys()), "gone"))
    words = [f"{number:,} {word}" for number, word in (*numbers, (changed, "changed")) if number]
    if not words and was is not None and _settings(was) != _settings(now):
        words = ["settings changed"]
    return f"{_jobs(now)} ({', '.join(words)})" if words else ""


def _plain(job: Job) -> Job:
    return replace(job, source="")


def _settings(project: Project) -> tuple[object, ...]:
    """All but the jobs."""
    return replace(project, phases=()), [(phase.name, phase.depends_on) for phase in project.phases]


def _jobs(project: Project) -> str:
    return count(sum(1 for _ in project.jobs()), "job")


def _gone(path: str, project: Project | None) -> str:
    return f"{path} is gone" + (f", and with it {_jobs(project)}" if project is not None else "")
