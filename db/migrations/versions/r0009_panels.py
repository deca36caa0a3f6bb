"""What dashboards read beyond r0008: a calendar with its holes, gaps, figures of a cell, clocks, latency by bucket."""

from alembic import op

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE night_latency (
    fingerprint TEXT NOT NULL,
    run_id TEXT NOT NULL,
    upper_ns BIGINT[] NOT NULL,
    requests BIGINT[] NOT NULL,
    CONSTRAINT pk_night_latency PRIMARY KEY (fingerprint, run_id),
    CONSTRAINT fk_night_latency_fingerprint FOREIGN KEY (fingerprint) REFERENCES cases (fingerprint),
    CONSTRAINT fk_night_latency_run_id FOREIGN KEY (run_id) REFERENCES night_rollups (run_id) ON DELETE CASCADE
);
"""

_VIEWS = """
-- One row a series, night and step of latency: how many successful requests took up to so long, and longer than the
-- step before. Nights that are not rolled up yet have none.
CREATE VIEW latency_nights AS
SELECT
    nights.fingerprint, nights.run_id, runs.started_at AS night, runs.suite, runs.hardware,
    steps.upper_ns, steps.requests
FROM night_latency AS nights
JOIN runs ON runs.run_id = nights.run_id
CROSS JOIN LATERAL unnest(nights.upper_ns, nights.requests) AS steps (upper_ns, requests);

-- Every night of a suite on a kind of machine, and a row without a run in each hole between two that is half as wide
-- again as the suite's usual pace: a line drawn over it breaks there.
CREATE VIEW suite_calendar AS
WITH nights AS (
    SELECT suite, hardware, started_at AS night, run_id, lead(started_at) OVER paced AS next
    FROM runs
    WHERE started_at IS NOT NULL
    WINDOW paced AS (PARTITION BY suite, hardware ORDER BY started_at)
), pace AS (
    SELECT suite, hardware, percentile_cont(0.5) WITHIN GROUP (ORDER BY next - night) AS usual
    FROM nights
    GROUP BY suite, hardware
)
SELECT suite, hardware, night, run_id FROM nights
UNION ALL
SELECT nights.suite, nights.hardware, nights.night + pace.usual, NULL
FROM nights
JOIN pace ON pace.suite = nights.suite AND pace.hardware = nights.hardware
WHERE nights.next - nights.night > 1.5 * pace.usual;

-- The series that a suite has ever judged.
CREATE VIEW series_facts AS
SELECT judged.suite, case_facts.*
FROM (SELECT DISTINCT suite, fingerprint FROM judged_series) AS judged
JOIN case_facts ON case_facts.fingerprint = judged.fingerprint;

-- One row a planned cell that was not timed.
CREATE VIEW missing_facts AS
SELECT
    missing_cells.run_id, runs.started_at AS night, runs.suite, runs.hardware, missing_cells.cell_id,
    missing_cells.round, missing_cells.server, missing_cells.model, missing_cells.format, missing_cells.precision,
    missing_cells.protocol, missing_cells.batch, missing_cells.load_kind, missing_cells.concurrency,
    missing_cells.rate_rps, missing_cells.reason, missing_cells.detail
FROM missing_cells
JOIN runs ON runs.run_id = missing_cells.run_id;

-- One row a timed cell with the single figures of its telemetry. ``gpus``: those that did any work in its window; their
-- energy alone counts, and none of it where a GPU's own counter was too coarse for the window.
CREATE VIEW cell_facts AS
SELECT
    measurements.run_id, measurements.cell_id, measurements.round, measurements.started_at,
    runs.suite, runs.started_at AS night, cases.fingerprint, cases.server, cases.model, cases.hardware, cases.batch,
    measurements.doubted, measurements.ok_count, measurements.ok_count * cases.batch AS inferences,
    told.queue_us_per_request, told.compute_us_per_request, told.batch_size_mean, told.rss_slope_bytes_per_s,
    told.rss_bytes, gpu.gpus, gpu.energy_j,
    gpu.energy_j / nullif(measurements.ok_count * cases.batch, 0) AS joules_per_inference
FROM measurements
JOIN runs ON runs.run_id = measurements.run_id
JOIN cases ON cases.fingerprint = measurements.fingerprint
CROSS JOIN LATERAL (
    SELECT
        max("values"[1]) FILTER (WHERE metric = 'triton_queue_us_per_request') AS queue_us_per_request,
        max("values"[1]) FILTER (WHERE metric = 'triton_compute_us_per_request') AS compute_us_per_request,
        max("values"[1]) FILTER (WHERE metric = 'triton_batch_size_mean') AS batch_size_mean,
        max("values"[1]) FILTER (WHERE metric = 'rss_slope_bytes_per_s') AS rss_slope_bytes_per_s,
        max("values"[cardinality("values")]) FILTER (WHERE metric = 'rss_bytes') AS rss_bytes
    FROM telemetry
    WHERE telemetry.run_id = measurements.run_id AND telemetry.cell_id = measurements.cell_id AND source = 'server'
) AS told
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE busy)::INTEGER AS gpus,
        CASE WHEN bool_and(energy_valid) FILTER (WHERE busy) THEN sum(energy_j) FILTER (WHERE busy) END AS energy_j
    FROM (
        SELECT
            bool_or(metric = 'utilisation_percent' AND 0 < ANY ("values")) AS busy,
            max("values"[1]) FILTER (WHERE metric = 'energy_j') AS energy_j,
            max("values"[1]) FILTER (WHERE metric = 'energy_valid') = 1 AS energy_valid
        FROM telemetry
        WHERE telemetry.run_id = measurements.run_id AND telemetry.cell_id = measurements.cell_id
            AND source LIKE 'gpu%'
        GROUP BY source
    ) AS each
) AS gpu;

-- One row a night and GPU, over one sample from the middle of every cell: how fast it ran, how hot, and how often held.
CREATE VIEW gpu_nights AS
SELECT
    telemetry.run_id, runs.started_at AS night, runs.suite, runs.hardware, telemetry.source AS gpu, telemetry.metric,
    count(*) AS cells,
    min(middle.value) AS least,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY middle.value) AS median,
    max(middle.value) AS most
FROM telemetry
JOIN runs ON runs.run_id = telemetry.run_id
CROSS JOIN LATERAL (SELECT telemetry."values"[(cardinality(telemetry."values") + 1) / 2] AS value) AS middle
WHERE telemetry.source LIKE 'gpu%'
GROUP BY telemetry.run_id, runs.started_at, runs.suite, runs.hardware, telemetry.source, telemetry.metric;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_VIEWS)
