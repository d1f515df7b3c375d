"""The counters behind `/metrics`, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one server. Each has its own registry, so that two servers in one process do not mix."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("pconv_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.refusals = Counter("pconv_refusals", "Requests refused, by error code.", ["code"], registry=registry)
        self.seconds = Histogram(
            "pconv_request_seconds", "From a request's start to its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.fill_seconds = Histogram(
            "pconv_fill_seconds", "A worker's time for one image.", buckets=_SECONDS, registry=registry
        )
        self.pixels = Counter("pconv_pixels", "Pixels of all images that were filled.", registry=registry)
        self.waiting = Gauge("pconv_queue_length", "Fills that wait for a worker.", registry=registry)
        self.running = Gauge("pconv_running", "Fills that workers compute now.", registry=registry)
        self.dropped = Counter(
            "pconv_dropped", "Fills given up because the client has gone.", ["state"], registry=registry
        )
        self.held_bytes = Gauge("pconv_held_bytes", "Bytes of request bodies in memory.", registry=registry)
        self.held_pixels = Gauge("pconv_held_pixels", "Pixels of decoded images in memory.", registry=registry)

    def page(self) -> bytes:
        return generate_latest(self.registry)
