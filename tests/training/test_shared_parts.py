"""What both backends share: handles, names, waiting, the ladder of tries, metrics from a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.backends.base import JobState, JobStatus
from training.errors import JobFailedError, MalformedHandleError
from training.handle import JobHandle
from training.log_metric import metrics_in
from training.naming import NAME_LIMIT, job_name, new_key
from training.retry import Ladder, TransientError, retry_after_seconds
from training.waiting import WaitTimeoutError, wait

HANDLE = JobHandle("aws", "us-east-1", "digits-1")


@pytest.mark.parametrize(
    "text", ["aws-sagemaker://us-east-1/digits-1", "azure-ml://my_ws-1/digits-1"]
)
def test_a_handle_is_read_as_it_is_written(text: str) -> None:
    assert str(JobHandle.parse(text)) == text


@given(st.text(max_size=40))
def test_what_is_no_handle_is_an_error_that_shows_one(text: str) -> None:
    with pytest.raises(MalformedHandleError, match="aws-sagemaker://us-east-1/"):
        JobHandle.parse(f"x{text}")


NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9]*(-[a-zA-Z0-9]+)*", fullmatch=True).filter(
    lambda name: len(name) <= 40
)


@given(NAMES, st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_a_jobs_name_fits_both_clouds_and_belongs_to_one_key(
    base: str, key: str, other: str
) -> None:
    name = job_name(base, key)
    assert len(name) <= NAME_LIMIT
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name), name
    assert job_name(base, key) == name
    assert (job_name(base, other) == name) == (key == other)


def test_new_keys_sort_by_time_and_differ() -> None:
    early, late = (
        new_key(datetime(2026, 1, 2, tzinfo=UTC)),
        new_key(datetime(2026, 1, 3, tzinfo=UTC)),
    )
    assert early.startswith("20260102-000000-")
    assert early < late
    assert len({new_key() for _ in range(50)}) > 40


class Readings:
    """A backend that gives one reading after the other."""

    def __init__(self, *states: JobState) -> None:
        self._states = iter(states)

    def status(self, handle: JobHandle) -> JobStatus:
        return JobStatus(handle=handle, state=next(self._states), cloud_state="", reason="why")


def clock_of(sleeps: list[float]) -> Any:
    return lambda: sum(sleeps)


def test_waiting_polls_with_growing_pauses_and_tells_each_change() -> None:
    readings: Any = Readings(
        JobState.QUEUED, *[JobState.RUNNING] * 20, JobState.STOPPING, JobState.STOPPED
    )
    sleeps: list[float] = []
    seen: list[JobState] = []
    status = wait(
        readings, HANDLE, sleep=sleeps.append, on_change=lambda status: seen.append(status.state)
    )
    assert status.state is JobState.STOPPED
    assert seen == [JobState.QUEUED, JobState.RUNNING, JobState.STOPPING, JobState.STOPPED]
    assert sleeps == sorted(sleeps)
    assert sleeps[0] == 1
    assert sleeps[-1] == 15


def test_waiting_gives_up_in_time_and_says_that_the_job_goes_on() -> None:
    readings: Any = Readings(*[JobState.RUNNING] * 100)
    sleeps: list[float] = []
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        wait(readings, HANDLE, timeout_seconds=20, sleep=sleeps.append, clock=clock_of(sleeps))
    assert sum(sleeps) == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.STOPPED])
def test_a_job_that_did_not_succeed_is_an_error_where_that_is_asked(state: JobState) -> None:
    readings: Any = Readings(state)
    with pytest.raises(JobFailedError, match=f"ended as {state}: why"):
        wait(readings, HANDLE, raise_on_failure=True)


def test_only_three_states_are_the_end() -> None:
    assert {state for state in JobState if state.is_terminal} == {"SUCCEEDED", "FAILED", "STOPPED"}


def failing(times: int, error: Exception) -> Any:
    answers: Iterator[Any] = iter([error] * times)

    def call() -> str:
        found = next(answers, None)
        if found is not None:
            raise found
        return "answer"

    return call


def test_the_ladder_waits_as_long_as_it_is_asked_within_reason() -> None:
    sleeps: list[float] = []
    assert Ladder(sleeps.append).run(failing(2, TransientError("busy", 3.0))) == "answer"
    assert sleeps == [3.0, 3.0]
    sleeps.clear()
    Ladder(sleeps.append).run(failing(1, TransientError("busy", 1e9)))
    assert sleeps == [300.0]


def test_the_ladder_ends_and_lets_other_errors_through_at_once() -> None:
    sleeps: list[float] = []
    with pytest.raises(TransientError):
        Ladder(sleeps.append).run(failing(99, TransientError("busy")))
    assert len(sleeps) == 5
    sleeps.clear()
    with pytest.raises(KeyError):
        Ladder(sleeps.append).run(failing(1, KeyError("bug")))
    assert sleeps == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-1", 0.0), (None, None), ("soon", None),
     ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=lambda: 60.0) == seconds


def test_a_metric_is_the_last_number_that_its_expression_finds() -> None:
    lines = ["loss=0.5 acc=1e-2", "loss=nothing", "loss=0.25", "other"]
    found = metrics_in(lines, {"acc": r"acc=(\S+)", "loss": r"loss=(\S+)", "none": "(x)"})
    assert [(metric.name, metric.value) for metric in found] == [("acc", 0.01), ("loss", 0.25)]


def test_the_package_gives_what_a_notebook_needs() -> None:
    import training

    for name in training.__all__:
        assert getattr(training, name).__module__.startswith("training"), name
    assert callable(training.wait)
    with pytest.raises(AttributeError):
        training.nothing  # noqa: B018
