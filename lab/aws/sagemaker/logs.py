"""A job's output on its way to CloudWatch: log events, and the metrics found in them."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
METRIC_NAMESPACE = "/aws/sagemaker/TrainingJobs"
_FLUSH_SECONDS = 0.3
# A PutLogEvents takes 10,000 events and 1 MiB, an event 256 KiB with 26 bytes of overhead:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_BATCH_EVENTS = 2000
_BATCH_BYTES = 900_000
_EVENT_BYTES = 200_000


class JobLogs:
    """Takes lines and ships them in order; all are delivered when ``close`` returns."""

    def __init__(
        self,
        job: str,
        logs: Any,
        metrics: Any,
        definitions: Iterable[Mapping[str, str]],
        folder: Path,
    ) -> None:
        self._job = job
        self._logs = logs
        self._cloudwatch = metrics
        self._definitions = [(item["Name"], re.compile(item["Regex"])) for item in definitions]
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._events: dict[str, list[tuple[int, str]]] = {}
        self._points: list[tuple[str, float, float]] = []
        self._known: set[str] = set()
        self._refused = False
        self.final: dict[str, tuple[float, float]] = {}
        # The last lines, for a failure that left no failure file.
        self.tail: list[str] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._ship, daemon=True)
        self._thread.start()

    def line(self, stream: str, text: str) -> None:
        """Take one line of a stream such as ``algo-1-1700000000``."""
        now = time.time()
        with self._lock:
            self.tail = [*self.tail[-99:], text]
            if text:
                pieces = [
                    text[start : start + _EVENT_BYTES // 4]
                    for start in range(0, len(text), _EVENT_BYTES // 4)
                ]
                self._events.setdefault(stream, []).extend((int(now * 1000), p) for p in pieces)
            for name, pattern in self._definitions:
                for match in pattern.finditer(text):
                    try:
                        value = float(match.group(1))
                    except (ValueError, IndexError, TypeError):
                        continue
                    self.final[name] = (value, now)
                    self._points.append((name, value, now))

    def close(self) -> None:
        """Deliver everything and stop."""
        self._closing.set()
        self._thread.join()

    def _ship(self) -> None:
        while not self._closing.wait(_FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            events, self._events = self._events, {}
            points, self._points = self._points, []
        for stream, lines in events.items():
            name = f"{self._job}/{stream}"
            with (self._folder / f"{stream}.log").open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for _, text in lines)
            for batch in _batches(lines):
                self._call(self._put_events, name, batch)
        for start in range(0, len(points), 500):
            self._call(self._put_points, points[start : start + 500])

    def _put_events(self, name: str, batch: list[tuple[int, str]]) -> None:
        if name not in self._known:
            _ignoring_existing(self._logs.create_log_group, logGroupName=LOG_GROUP)
            _ignoring_existing(
                self._logs.create_log_stream, logGroupName=LOG_GROUP, logStreamName=name
            )
            self._known.add(name)
        self._logs.put_log_events(
            logGroupName=LOG_GROUP,
            logStreamName=name,
            logEvents=[{"timestamp": when, "message": text} for when, text in batch],
        )

    def _put_points(self, points: list[tuple[str, float, float]]) -> None:
        dimensions = [{"Name": "TrainingJobName", "Value": self._job}]
        self._cloudwatch.put_metric_data(
            Namespace=METRIC_NAMESPACE,
            MetricData=[
                {"MetricName": name, "Value": value, "Timestamp": when, "Dimensions": dimensions}
                for name, value, when in points
            ],
        )

    def _call(self, function: Any, *arguments: Any) -> None:
        """Call CloudWatch; go on without logs where the role may not write them."""
        try:
            function(*arguments)
        except (ClientError, BotoCoreError) as error:
            if not self._refused:
                print(f"{self._job}: logs or metrics not delivered: {error}", file=sys.stderr)
            self._refused = True


def _ignoring_existing(call: Any, **arguments: Any) -> None:
    try:
        call(**arguments)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        # A role may write to the group without the right to make it; the stack makes it.
        if code == "ResourceAlreadyExistsException":
            return
        if "logStreamName" in arguments or "AccessDenied" not in str(code):
            raise


def _batches(lines: list[tuple[int, str]]) -> Iterable[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    size = 0
    for line in lines:
        length = len(line[1].encode()) + 26
        if batch and (len(batch) == _BATCH_EVENTS or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield batch
