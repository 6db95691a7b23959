"""``/metrics`` for Prometheus: this process's requests, and the queue and the workers as the database knows them.

Labels are bounded: route templates, status classes, problem codes of our own, classes of work; never an id, a name or
a path of a user. Every API process tells the same of queue and workers, so take the maximum over them, and the sum of
the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.doorbell import Doorbell
from jobs.store import list_workers, queue_lines, worker_counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_CODES = 120  # our codes are fewer; a bug must not make a label for every request
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """Counters of this process and a reader of the records.

    Args:
        database: queue, workers and what these have counted.
        silent_s: a worker that was not heard of for so long is not counted.
        bell: its state is told too.
    """

    def __init__(self, database: Database, silent_s: float, bell: Doorbell) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "spikebit_http_requests", "Requests", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "spikebit_http_request_seconds", "Time to the head of the answer", buckets=_SECONDS, registry=self._registry
        )
        self._problems = Counter("spikebit_problems", "Problem documents", ("code",), registry=self._registry)
        self._bytes = Counter("spikebit_http_bytes", "Bytes of bodies", ("direction",), registry=self._registry)
        self._codes: set[str] = set()
        self._registry.register(_Records(database, silent_s, bell))

    def request(self, route: str, method: str, status: int, seconds: float, came: int, went: int) -> None:
        """One request is answered. ``route`` is a template, such as ``/v1/jobs/{job_id}``."""
        self._requests.labels(route, method, f"{status // 100}xx").inc()
        self._seconds.observe(seconds)
        self._bytes.labels("in").inc(came)
        self._bytes.labels("out").inc(went)

    def problem(self, code: str) -> None:
        """One problem document is sent."""
        if code not in self._codes and len(self._codes) >= MOST_CODES:
            code = "other"
        self._codes.add(code)
        self._problems.labels(code).inc()

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)


class _Records(Collector):
    def __init__(self, database: Database, silent_s: float, bell: Doorbell) -> None:
        self._database = database
        self._silent_s = silent_s
        self._bell = bell

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is asked of the database when this is registered."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]:
        """Families, read now; a database that does not answer is told by ``spikebit_database_up``."""
        up = GaugeMetricFamily("spikebit_database_up", "1: the database answers")
        try:
            lines = queue_lines(self._database)
            workers = list_workers(self._database, self._silent_s)
            counts = worker_counts(self._database)
        except SQLAlchemyError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        depth = GaugeMetricFamily("spikebit_jobs", "Unfinished work", labels=("job_class", "status"))
        age = GaugeMetricFamily("spikebit_oldest_seconds", "Age of the oldest", labels=("job_class", "status"))
        for line in lines:
            depth.add_metric((line.job_class, line.status), line.number)
            age.add_metric((line.job_class, line.status), line.oldest_s)
        yield from (depth, age)
        alive = GaugeMetricFamily("spikebit_workers", "Live workers", labels=("job_class", "state"))
        for job_class, state in sorted({(worker.job_class, worker.state) for worker in workers}):
            alive.add_metric((job_class, state), sum((w.job_class, w.state) == (job_class, state) for w in workers))
        yield alive
        yield from _counted(counts)
        yield from self._rings()

    def _rings(self) -> Iterator[CounterMetricFamily]:
        state = self._bell.state()
        rings = CounterMetricFamily("spikebit_rings", "Rings of the doorbell", labels=("outcome",))
        for outcome, number in (("rung", state.rung), ("failed", state.failed), ("dropped", state.dropped)):
            rings.add_metric((outcome,), number)
        yield rings


def _counted(counts: dict[str, float]) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
    """What the workers have counted (``worker.counts``)."""
    attempts = CounterMetricFamily("spikebit_attempts", "Attempts that ended", labels=("job_class", "outcome"))
    for name, number in sorted(counts.items()):
        kind, _, rest = name.partition(":")
        if kind == "attempts":
            job_class, _, outcome = rest.partition(":")
            attempts.add_metric((job_class, outcome), number)
    yield attempts
    losses = CounterMetricFamily("spikebit_lease_losses", "Leases that ran out")
    losses.add_metric((), counts.get("lease_losses", 0.0))
    published = CounterMetricFamily("spikebit_published_bytes", "Bytes that jobs published")
    published.add_metric((), counts.get("bytes_published", 0.0))
    yield from (losses, published)
    latency = HistogramMetricFamily("spikebit_claim_seconds", "From claimable to claimed")
    bounds = sorted((float(name.rpartition(":")[2]), number) for name, number in counts.items() if ":le:" in name)
    total = counts.get("claim_latency:count", 0.0)
    buckets = [(f"{bound:g}", number) for bound, number in bounds]
    latency.add_metric((), [*buckets, ("+Inf", total)], counts.get("claim_latency:sum", 0.0))
    yield latency
