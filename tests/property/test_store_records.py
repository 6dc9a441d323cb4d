"""Any record reads back the same; any other JSON is read or refused, never a surprise."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.enums import JobStatus, Reason
from reconciler.model.ledger import AttemptRecord, JobRecord, ProjectRun, Request, Verdict
from reconciler.store.records import (
    ATTEMPT,
    REQUEST,
    RUN,
    RecordDamaged,
    Shape,
    job_to_text,
    jobs_from_texts,
    parse_json,
    to_json,
)

texts = st.text(max_size=12)
times = st.floats(allow_nan=False, allow_infinity=False)
verdicts = st.builds(Verdict, st.sampled_from(JobStatus), st.sampled_from(Reason), texts, times)


def attempts(job: str, number: int) -> st.SearchStrategy[AttemptRecord]:
    return st.builds(
        AttemptRecord,
        job=st.just(job),
        number=st.just(number),
        generation=texts,
        host=texts,
        launcher=texts,
        session=st.none() | texts,
        gpus=st.lists(texts, max_size=3).map(tuple),
        gpu_indices=st.lists(st.integers(0, 99), max_size=3).map(tuple),
        intended_at=times,
        revision=texts,
        outputs_before=st.lists(texts, max_size=2).map(tuple),
        daemon=texts,
        launched=st.booleans(),
        pid=st.none() | st.integers(1, 1 << 22),
        started_at=st.none() | times,
        ended_at=st.none() | times,
        exit_code=st.none() | st.integers(0, 255),
        kill_at=st.none() | times,
        kill_last_at=st.none() | times,
        kill_reason=st.none() | st.sampled_from(Reason),
        verdict=st.none() | verdicts,
        released=st.booleans(),
        retry_at=st.none() | times,
    )


@st.composite
def jobs(draw: st.DrawFn) -> JobRecord:
    key = draw(texts)
    numbers = sorted(draw(st.sets(st.integers(1, 1000), max_size=3)))
    tried = tuple(draw(attempts(key, number)) for number in numbers)
    given_by_attempt = [a.verdict for a in tried if a.verdict is not None]
    completed = st.none() | verdicts | (st.sampled_from(given_by_attempt) if given_by_attempt else st.none())
    optional = st.none() | texts
    return JobRecord(key, tried, draw(completed), draw(optional), draw(optional), draw(st.integers(0, 1000)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.lists(jobs(), max_size=3))
def test_jobs_read_back_the_same(records: list[JobRecord]) -> None:
    assert jobs_from_texts([job_to_text(record) for record in records]) == records


@settings(max_examples=60)
@given(st.builds(ProjectRun, texts, st.integers(1), times, texts, st.none() | times))
def test_runs_read_back_the_same(run: ProjectRun) -> None:
    assert RUN.read(parse_json(to_json(RUN.write(run)))) == run


@settings(max_examples=150)
@given(jobs(), st.data())
def test_a_job_with_one_wrong_field_is_read_or_refused(record: JobRecord, data: st.DataObject) -> None:
    stored = json.loads(job_to_text(record))
    place: Any = stored
    if stored["attempts"] and data.draw(st.booleans()):
        place = stored["attempts"][0]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        (found,) = jobs_from_texts([json.dumps(stored)])
    except RecordDamaged:
        return
    assert jobs_from_texts([job_to_text(found)]) == [found], "what is taken is a true record"


@pytest.mark.parametrize("shape", [ATTEMPT, RUN, REQUEST])
@settings(max_examples=100)
@given(data=json_values | st.dictionaries(st.sampled_from([*AttemptRecord.__slots__, *Request.__slots__]), json_values))
def test_any_json_is_read_or_refused(shape: Shape[Any], data: object) -> None:
    with suppress(RecordDamaged):
        shape.read(data)
