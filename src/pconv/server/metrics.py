"""What ``/metrics`` tells Prometheus; each server has its own registry, so that two in one process do not mix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter("pconv_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.refusals = Counter("pconv_refusals", "Requests refused, by reason.", ["code"], registry=self.registry)
        self.seconds = Histogram(
            "pconv_request_seconds", "From a request's first byte to its answer.", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.fill_seconds = Histogram(
            "pconv_fill_seconds", "A worker's time for one photo.", buckets=_SECONDS, registry=self.registry
        )
        self.pixels = Counter("pconv_pixels", "Pixels of all photos that were filled.", registry=self.registry)
        self.waiting = Gauge("pconv_queue_length", "Fills that wait for a worker.", registry=self.registry)
        self.running = Gauge("pconv_running", "Fills that workers are at.", registry=self.registry)
        self.dropped = Counter(
            "pconv_dropped", "Fills given up because nobody waits any more.", ["state"], registry=self.registry
        )
        self.held_bytes = Gauge("pconv_held_bytes", "Request bodies in memory.", registry=self.registry)
        self.held_pixels = Gauge("pconv_held_pixels", "Decoded photos in memory.", registry=self.registry)

    def page(self) -> bytes:
        return generate_latest(self.registry)
