"""What is written down reads back the same; anything else is known to be damaged."""

from __future__ import annotations

import json

import pytest

from reconciler.model.enums import Reason
from reconciler.model.ledger import JobRecord, Verdict
from reconciler.store.records import ATTEMPT, RUN, VERDICT, RecordDamaged, job_to_text, jobs_from_texts, parse_json
from tests.unit.store.samples import NOW, OUT_OF_MEMORY, SUCCEEDED, attempt, done_job, open_job, run_of

JOBS = [
    JobRecord("p/new"),
    open_job("p/a"),
    done_job("p/b"),
    JobRecord("p/found", (), SUCCEEDED, "g9"),
    JobRecord("p/stopped", (attempt("p/stopped", 3, kill_at=NOW, kill_reason=Reason.HUNG_TAIL),), stopped_by="ann@box"),
    JobRecord("p/ü \N{SNOWMAN}", (attempt("p/ü \N{SNOWMAN}", session=None, gpus=(), gpu_indices=()),), retry_after=2),
]


@pytest.mark.parametrize("record", JOBS, ids=lambda record: record.key)
def test_a_job_reads_back_the_same(record: JobRecord) -> None:
    assert jobs_from_texts([job_to_text(record)]) == [record]


def test_the_text_is_one_ascii_line_without_defaults() -> None:
    text = job_to_text(done_job("p/ü"))
    assert text.isascii() and "\n" not in text
    assert "kill_at" not in text
    assert json.loads(text)["completed"] == 2, "the verdict of attempt 2 is not written twice"


def test_unknown_fields_of_a_newer_version_are_skipped() -> None:
    data = json.loads(job_to_text(done_job("p/b")))
    data["new"] = {"deep": [1]}
    data["attempts"][0]["new"] = 1
    data["attempts"][0]["verdict"]["new"] = None
    assert jobs_from_texts([json.dumps(data)]) == [done_job("p/b")]


def test_whole_numbers_do_for_times() -> None:
    assert VERDICT.read({**VERDICT.write(SUCCEEDED), "at": 5}) == Verdict(
        SUCCEEDED.status, SUCCEEDED.reason, SUCCEEDED.message, 5.0
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "1"),
        ("number", True),
        ("number", 1.5),
        ("number", None),
        ("generation", 7),
        ("generation", None),
        ("host", ["local"]),
        ("gpus", "GPU-a"),
        ("gpus", ["GPU-a", 3]),
        ("gpu_indices", [True]),
        ("gpu_indices", None),
        ("intended_at", "now"),
        ("intended_at", 10**400),
        ("pid", 1.0),
        ("launched", 1),
        ("kill_reason", "NoSuchReason"),
        ("verdict", "completed"),
        ("verdict", {"status": "completed"}),
        ("verdict", {**VERDICT.write(OUT_OF_MEMORY), "status": "exploded"}),
    ],
)
def test_a_wrong_type_is_damage(field: str, value: object) -> None:
    data = ATTEMPT.write(attempt("p/a"))
    assert ATTEMPT.read(data) == attempt("p/a")
    with pytest.raises(RecordDamaged):
        ATTEMPT.read({**data, field: value})


@pytest.mark.parametrize("field", ["job", "number", "generation", "session", "intended_at"])
def test_a_missing_field_is_damage(field: str) -> None:
    data = ATTEMPT.write(attempt("p/a"))
    del data[field]
    with pytest.raises(RecordDamaged, match=f"{field} is missing"):
        ATTEMPT.read(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"p/a"',
        '{"key":"p/a"}',
        '{"key":7,"attempts":[]}',
        '{"key":"p/a","attempts":{}}',
        '{"key":"p/a","attempts":[1]}',
        '{"key":"p/a","attempts":[],"retry_after":NaN}',
        '{"key":"p/a","attempts":[],"completed":1}',
        '{"key":"p/a","attempts":[]},{"key":"p/b","attempts":[]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(RecordDamaged):
        jobs_from_texts([text])


def test_attempts_out_of_order_are_damage() -> None:
    data = json.loads(job_to_text(done_job("p/b")))
    data["attempts"].reverse()
    with pytest.raises(RecordDamaged, match="order"):
        jobs_from_texts([json.dumps(data)])


def test_a_run_reads_back_the_same() -> None:
    assert RUN.read(parse_json(json.dumps(RUN.write(run_of("p", 3))))) == run_of("p", 3)
