"""Read-only views for dashboards: they hide the joins, and decide nothing."""

from alembic import op

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None

_VIEWS = """
-- One row a timed cell, with its series and its night.
CREATE VIEW measurement_facts AS
SELECT
    measurements.run_id, measurements.cell_id, measurements.round, measurements.started_at,
    runs.suite, runs.started_at AS run_started_at,
    cases.fingerprint, cases.server, cases.model, cases.format, cases.precision, cases.options, cases.protocol,
    cases.batch, cases.load_kind, cases.concurrency, cases.rate_rps, cases.arrival, cases.hardware, cases.version,
    measurements.ok_count, measurements.failed_count, measurements.doubted, measurements.doubts,
    measurements.offered_rps,
    measurements.throughput_rps, measurements.throughput_low_rps, measurements.throughput_high_rps,
    measurements.throughput_rps * cases.batch AS inferences_per_s,
    measurements.latency_p50_ns, measurements.latency_p50_low_ns, measurements.latency_p50_high_ns,
    measurements.latency_p90_ns, measurements.latency_p90_low_ns, measurements.latency_p90_high_ns,
    measurements.latency_p95_ns, measurements.latency_p95_low_ns, measurements.latency_p95_high_ns,
    measurements.latency_p99_ns, measurements.latency_p99_low_ns, measurements.latency_p99_high_ns,
    deployments.server_version, deployments.cold_start_ns, deployments.model_load_ns, deployments.rss_bytes
FROM measurements
JOIN cases USING (fingerprint)
JOIN runs ON runs.run_id = measurements.run_id
JOIN deployments
    ON deployments.run_id = measurements.run_id AND deployments.deployment_id = measurements.deployment_id;

-- The newest timing of every series, doubted or not: a reader sees the doubt instead of an older figure.
CREATE VIEW latest_measurements AS
SELECT DISTINCT ON (fingerprint) * FROM measurement_facts ORDER BY fingerprint, started_at DESC;

-- One row a series and night. A night whose rounds are all doubted has no figure, so that a gap stays a gap; a tail
-- without an upper bound is doubted by itself.
CREATE VIEW series_nights AS
SELECT
    fingerprint, run_id, suite, run_started_at, server, model, format, precision, protocol, batch, load_kind,
    concurrency, rate_rps, arrival, hardware, version,
    count(*) AS rounds,
    count(*) FILTER (WHERE doubted) AS doubted_rounds,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY throughput_rps) FILTER (WHERE NOT doubted) AS throughput_rps,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p50_ns) FILTER (WHERE NOT doubted) AS latency_p50_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p99_ns)
        FILTER (WHERE NOT doubted AND latency_p99_high_ns IS NOT NULL) AS latency_p99_ns
FROM measurement_facts
GROUP BY
    fingerprint, run_id, suite, run_started_at, server, model, format, precision, protocol, batch, load_kind,
    concurrency, rate_rps, arrival, hardware, version;
"""


def upgrade() -> None:
    op.execute(_VIEWS)
