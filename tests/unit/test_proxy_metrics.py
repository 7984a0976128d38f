"""The proxy's counters: one stretch of shared memory a worker, and their sums in Prometheus's format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from autostack.proxy.metrics import Board, Meter


def told(board: Board) -> dict[str, float]:
    families = text_string_to_metric_families(board.text().decode())
    return {
        sample.name.removeprefix("autostack_proxy_") + sample.labels.get("le", ""): sample.value
        for family in families
        for sample in family.samples
    }


def test_all_workers_are_summed_up():
    board = Board(2)
    for worker in range(2):
        meter = Meter()
        meter.share(board.of(worker))
        meter.hits, meter.store_errors, meter.misses_took_s = 10, 1, [0.02, 3.0]
        meter.hits_took_s = [0.00005]
        meter.publish(connections=7)
    metrics = told(board)
    assert (metrics["hits_total"], metrics["misses_total"], metrics["store_errors_total"]) == (20, 4, 2)
    assert metrics["open_connections"] == 14
    assert metrics["request_duration_seconds_count"] == 24
    assert metrics["request_duration_seconds_bucket0.0001"] == 20
    assert metrics["request_duration_seconds_bucket2.5"] == 22


def test_a_hit_that_was_timed_stands_for_those_that_were_not():
    board, meter = Board(1), Meter()
    meter.share(board.of(0))
    meter.hits, meter.hits_took_s = 100, [0.0002, 0.004]
    meter.publish(0)
    meter.hits = 110
    meter.publish(0)
    metrics = told(board)
    assert metrics["request_duration_seconds_bucket0.00025"] == 50
    assert metrics["request_duration_seconds_count"] == 110


def test_a_worker_that_takes_a_dead_ones_place_goes_on_from_there():
    board = Board(1)
    for _ in range(2):
        meter = Meter()
        meter.share(board.of(0))
        meter.hits += 5
        meter.hits_took_s = [0.001]
        meter.misses_took_s = [0.1]
        meter.publish(3)
    metrics = told(board)
    assert (metrics["hits_total"], metrics["misses_total"], metrics["open_connections"]) == (10, 2, 3)
    assert metrics["request_duration_seconds_count"] == 12
