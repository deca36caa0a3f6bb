"""Loads that are bursty, recorded, relative or searched for; streamed answers; what ended a cell; the client itself."""

from alembic import op

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE cases
    ADD COLUMN burstiness DOUBLE PRECISION,
    ADD COLUMN trace_sha256 TEXT,
    ADD COLUMN peak_share DOUBLE PRECISION,
    ADD COLUMN search_goal TEXT,
    ADD COLUMN p99_ms DOUBLE PRECISION,
    ADD COLUMN most_concurrent INTEGER,
    DROP CONSTRAINT ck_cases_load_shape,
    ADD CONSTRAINT ck_cases_load_shape CHECK (CASE load_kind
        WHEN 'closed' THEN concurrency IS NOT NULL AND num_nonnulls(rate_rps, arrival, burstiness, trace_sha256,
            peak_share, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'open' THEN num_nulls(rate_rps, arrival) = 0
            AND num_nonnulls(concurrency, peak_share, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'peak_share' THEN num_nulls(peak_share, arrival) = 0
            AND num_nonnulls(concurrency, rate_rps, trace_sha256, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'search' THEN num_nulls(search_goal, arrival, most_concurrent) = 0
            AND num_nonnulls(concurrency, rate_rps, trace_sha256, peak_share) = 0
        ELSE false
    END),
    ADD CONSTRAINT ck_cases_load_positive CHECK (concurrency > 0 AND rate_rps > 0 AND burstiness > 0
        AND peak_share > 0 AND p99_ms > 0 AND most_concurrent > 0);
ALTER TABLE missing_cells
    ADD COLUMN burstiness DOUBLE PRECISION,
    ADD COLUMN trace_sha256 TEXT,
    ADD COLUMN peak_share DOUBLE PRECISION,
    ADD COLUMN search_goal TEXT,
    ADD COLUMN p99_ms DOUBLE PRECISION,
    ADD COLUMN most_concurrent INTEGER,
    DROP CONSTRAINT ck_missing_cells_load_shape,
    ADD CONSTRAINT ck_missing_cells_load_shape CHECK (CASE load_kind
        WHEN 'closed' THEN concurrency IS NOT NULL AND num_nonnulls(rate_rps, arrival, burstiness, trace_sha256,
            peak_share, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'open' THEN num_nulls(rate_rps, arrival) = 0
            AND num_nonnulls(concurrency, peak_share, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'peak_share' THEN num_nulls(peak_share, arrival) = 0
            AND num_nonnulls(concurrency, rate_rps, trace_sha256, search_goal, p99_ms, most_concurrent) = 0
        WHEN 'search' THEN num_nulls(search_goal, arrival, most_concurrent) = 0
            AND num_nonnulls(concurrency, rate_rps, trace_sha256, peak_share) = 0
        ELSE false
    END),
    ADD CONSTRAINT ck_missing_cells_load_positive CHECK (concurrency > 0 AND rate_rps > 0 AND burstiness > 0
        AND peak_share > 0 AND p99_ms > 0 AND most_concurrent > 0);
-- Cells timed before there were other ends ended by their duration.
ALTER TABLE measurements
    ADD COLUMN ended_by TEXT NOT NULL DEFAULT 'duration',
    ADD COLUMN pacing TEXT,
    ADD COLUMN hiccups_ns JSONB NOT NULL DEFAULT '{}',
    ADD COLUMN ceiling_share DOUBLE PRECISION,
    ADD COLUMN stream_tokens BIGINT,
    ADD COLUMN stream_slo JSONB,
    ADD COLUMN ttft_p50_ns DOUBLE PRECISION,
    ADD COLUMN ttft_p50_low_ns DOUBLE PRECISION,
    ADD COLUMN ttft_p50_high_ns DOUBLE PRECISION,
    ADD COLUMN ttft_p99_ns DOUBLE PRECISION,
    ADD COLUMN ttft_p99_low_ns DOUBLE PRECISION,
    ADD COLUMN ttft_p99_high_ns DOUBLE PRECISION,
    ADD COLUMN itl_p50_ns DOUBLE PRECISION,
    ADD COLUMN itl_p50_low_ns DOUBLE PRECISION,
    ADD COLUMN itl_p50_high_ns DOUBLE PRECISION,
    ADD COLUMN itl_p99_ns DOUBLE PRECISION,
    ADD COLUMN itl_p99_low_ns DOUBLE PRECISION,
    ADD COLUMN itl_p99_high_ns DOUBLE PRECISION,
    ADD COLUMN tokens_per_s DOUBLE PRECISION,
    ADD COLUMN tokens_low_per_s DOUBLE PRECISION,
    ADD COLUMN tokens_high_per_s DOUBLE PRECISION,
    ADD COLUMN goodput_rps DOUBLE PRECISION,
    ADD COLUMN goodput_low_rps DOUBLE PRECISION,
    ADD COLUMN goodput_high_rps DOUBLE PRECISION,
    ADD COLUMN answer_rps DOUBLE PRECISION,
    ADD COLUMN answer_low_rps DOUBLE PRECISION,
    ADD COLUMN answer_high_rps DOUBLE PRECISION,
    ADD COLUMN search JSONB,
    ADD CONSTRAINT ck_measurements_ttft_p50_interval CHECK (ttft_p50_ns >= 0
        AND ttft_p50_low_ns <= ttft_p50_ns AND ttft_p50_ns <= ttft_p50_high_ns
        AND (ttft_p50_ns IS NOT NULL OR num_nonnulls(ttft_p50_low_ns, ttft_p50_high_ns) = 0)),
    ADD CONSTRAINT ck_measurements_ttft_p99_interval CHECK (ttft_p99_ns >= 0
        AND ttft_p99_low_ns <= ttft_p99_ns AND ttft_p99_ns <= ttft_p99_high_ns
        AND (ttft_p99_ns IS NOT NULL OR num_nonnulls(ttft_p99_low_ns, ttft_p99_high_ns) = 0)),
    ADD CONSTRAINT ck_measurements_itl_p50_interval CHECK (itl_p50_ns >= 0
        AND itl_p50_low_ns <= itl_p50_ns AND itl_p50_ns <= itl_p50_high_ns
        AND (itl_p50_ns IS NOT NULL OR num_nonnulls(itl_p50_low_ns, itl_p50_high_ns) = 0)),
    ADD CONSTRAINT ck_measurements_itl_p99_interval CHECK (itl_p99_ns >= 0
        AND itl_p99_low_ns <= itl_p99_ns AND itl_p99_ns <= itl_p99_high_ns
        AND (itl_p99_ns IS NOT NULL OR num_nonnulls(itl_p99_low_ns, itl_p99_high_ns) = 0)),
    ADD CONSTRAINT ck_measurements_tokens_interval CHECK (tokens_per_s >= 0
        AND tokens_low_per_s <= tokens_per_s AND tokens_per_s <= tokens_high_per_s
        AND (tokens_per_s IS NOT NULL OR num_nonnulls(tokens_low_per_s, tokens_high_per_s) = 0)),
    ADD CONSTRAINT ck_measurements_goodput_interval CHECK (goodput_rps >= 0
        AND goodput_low_rps <= goodput_rps AND goodput_rps <= goodput_high_rps
        AND (goodput_rps IS NOT NULL OR num_nonnulls(goodput_low_rps, goodput_high_rps) = 0)),
    ADD CONSTRAINT ck_measurements_answer_interval CHECK (answer_rps >= 0
        AND answer_low_rps <= answer_rps AND answer_rps <= answer_high_rps
        AND (answer_rps IS NOT NULL OR num_nonnulls(answer_low_rps, answer_high_rps) = 0)),
    ADD CONSTRAINT ck_measurements_stream CHECK (num_nulls(stream_tokens, stream_slo, tokens_per_s) IN (0, 3)),
    ADD CONSTRAINT ck_measurements_search CHECK (num_nulls(answer_rps, search) IN (0, 2)),
    DROP CONSTRAINT ck_measurements_not_negative,
    ADD CONSTRAINT ck_measurements_not_negative CHECK (round >= 0 AND warmup_ns >= 0 AND measured_ns >= 0
        AND ok_count >= 0 AND failed_count >= 0 AND offered_rps >= 0 AND client_cpu_ns_per_request >= 0
        AND ceiling_share >= 0 AND stream_tokens >= 0);
ALTER TABLE measurements ALTER COLUMN ended_by DROP DEFAULT, ALTER COLUMN hiccups_ns DROP DEFAULT;
CREATE TABLE calibrations (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    model TEXT NOT NULL,
    batch INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    request_bytes BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    ceiling_rps DOUBLE PRECISION NOT NULL,
    ceiling_low_rps DOUBLE PRECISION,
    ceiling_high_rps DOUBLE PRECISION,
    floor_p50_ns DOUBLE PRECISION,
    floor_p50_low_ns DOUBLE PRECISION,
    floor_p50_high_ns DOUBLE PRECISION,
    floor_p90_ns DOUBLE PRECISION,
    floor_p90_low_ns DOUBLE PRECISION,
    floor_p90_high_ns DOUBLE PRECISION,
    floor_p95_ns DOUBLE PRECISION,
    floor_p95_low_ns DOUBLE PRECISION,
    floor_p95_high_ns DOUBLE PRECISION,
    floor_p99_ns DOUBLE PRECISION,
    floor_p99_low_ns DOUBLE PRECISION,
    floor_p99_high_ns DOUBLE PRECISION,
    other_quantiles JSONB NOT NULL,
    client_cpu_ns_per_request DOUBLE PRECISION NOT NULL,
    ceiling_by TEXT NOT NULL,
    failure TEXT,
    CONSTRAINT pk_calibrations PRIMARY KEY (run_id, round, protocol, model, batch, started_at),
    CONSTRAINT ck_calibrations_ceiling_interval CHECK (ceiling_rps >= 0
        AND ceiling_low_rps <= ceiling_rps AND ceiling_rps <= ceiling_high_rps
        AND (ceiling_rps IS NOT NULL OR num_nonnulls(ceiling_low_rps, ceiling_high_rps) = 0)),
    CONSTRAINT ck_calibrations_floor_p50_interval CHECK (floor_p50_ns >= 0
        AND floor_p50_low_ns <= floor_p50_ns AND floor_p50_ns <= floor_p50_high_ns
        AND (floor_p50_ns IS NOT NULL OR num_nonnulls(floor_p50_low_ns, floor_p50_high_ns) = 0)),
    CONSTRAINT ck_calibrations_floor_p90_interval CHECK (floor_p90_ns >= 0
        AND floor_p90_low_ns <= floor_p90_ns AND floor_p90_ns <= floor_p90_high_ns
        AND (floor_p90_ns IS NOT NULL OR num_nonnulls(floor_p90_low_ns, floor_p90_high_ns) = 0)),
    CONSTRAINT ck_calibrations_floor_p95_interval CHECK (floor_p95_ns >= 0
        AND floor_p95_low_ns <= floor_p95_ns AND floor_p95_ns <= floor_p95_high_ns
        AND (floor_p95_ns IS NOT NULL OR num_nonnulls(floor_p95_low_ns, floor_p95_high_ns) = 0)),
    CONSTRAINT ck_calibrations_floor_p99_interval CHECK (floor_p99_ns >= 0
        AND floor_p99_low_ns <= floor_p99_ns AND floor_p99_ns <= floor_p99_high_ns
        AND (floor_p99_ns IS NOT NULL OR num_nonnulls(floor_p99_low_ns, floor_p99_high_ns) = 0)),
    CONSTRAINT ck_calibrations_batch_positive CHECK (batch > 0),
    CONSTRAINT ck_calibrations_not_negative CHECK (round >= 0 AND request_bytes >= 0 AND response_bytes >= 0
        AND client_cpu_ns_per_request >= 0),
    CONSTRAINT fk_calibrations_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
"""

# A view's columns cannot be changed in place. Apart from the new columns these are the views of before.
_VIEWS = """
DROP VIEW series_nights, latest_measurements, measurement_facts;

-- One row a timed cell, with its series and its night.
CREATE VIEW measurement_facts AS
SELECT
    measurements.run_id, measurements.cell_id, measurements.round, measurements.started_at,
    runs.suite, runs.started_at AS run_started_at,
    cases.fingerprint, cases.server, cases.model, cases.format, cases.precision, cases.options, cases.protocol,
    cases.batch, cases.load_kind, cases.concurrency, cases.rate_rps, cases.arrival, cases.burstiness,
    cases.trace_sha256, cases.peak_share, cases.search_goal, cases.p99_ms, cases.most_concurrent,
    cases.hardware, cases.version,
    measurements.ok_count, measurements.failed_count, measurements.doubted, measurements.doubts,
    measurements.offered_rps,
    measurements.throughput_rps, measurements.throughput_low_rps, measurements.throughput_high_rps,
    measurements.throughput_rps * cases.batch AS inferences_per_s,
    measurements.latency_p50_ns, measurements.latency_p50_low_ns, measurements.latency_p50_high_ns,
    measurements.latency_p90_ns, measurements.latency_p90_low_ns, measurements.latency_p90_high_ns,
    measurements.latency_p95_ns, measurements.latency_p95_low_ns, measurements.latency_p95_high_ns,
    measurements.latency_p99_ns, measurements.latency_p99_low_ns, measurements.latency_p99_high_ns,
    measurements.ended_by, measurements.pacing, measurements.ceiling_share, measurements.stream_tokens,
    measurements.ttft_p50_ns, measurements.ttft_p50_low_ns, measurements.ttft_p50_high_ns,
    measurements.ttft_p99_ns, measurements.ttft_p99_low_ns, measurements.ttft_p99_high_ns,
    measurements.itl_p50_ns, measurements.itl_p50_low_ns, measurements.itl_p50_high_ns,
    measurements.itl_p99_ns, measurements.itl_p99_low_ns, measurements.itl_p99_high_ns,
    measurements.tokens_per_s, measurements.tokens_low_per_s, measurements.tokens_high_per_s,
    measurements.goodput_rps, measurements.goodput_low_rps, measurements.goodput_high_rps,
    measurements.answer_rps, measurements.answer_low_rps, measurements.answer_high_rps,
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
    concurrency, rate_rps, arrival, burstiness, trace_sha256, peak_share, search_goal, p99_ms, most_concurrent,
    hardware, version,
    count(*) AS rounds,
    count(*) FILTER (WHERE doubted) AS doubted_rounds,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY throughput_rps) FILTER (WHERE NOT doubted) AS throughput_rps,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p50_ns) FILTER (WHERE NOT doubted) AS latency_p50_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p99_ns)
        FILTER (WHERE NOT doubted AND latency_p99_high_ns IS NOT NULL) AS latency_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY offered_rps) FILTER (WHERE NOT doubted) AS offered_rps,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY answer_rps) FILTER (WHERE NOT doubted) AS answer_rps,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_p50_ns) FILTER (WHERE NOT doubted) AS ttft_p50_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_p99_ns)
        FILTER (WHERE NOT doubted AND ttft_p99_high_ns IS NOT NULL) AS ttft_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY itl_p50_ns) FILTER (WHERE NOT doubted) AS itl_p50_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY itl_p99_ns)
        FILTER (WHERE NOT doubted AND itl_p99_high_ns IS NOT NULL) AS itl_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY tokens_per_s) FILTER (WHERE NOT doubted) AS tokens_per_s,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY goodput_rps) FILTER (WHERE NOT doubted) AS goodput_rps
FROM measurement_facts
GROUP BY
    fingerprint, run_id, suite, run_started_at, server, model, format, precision, protocol, batch, load_kind,
    concurrency, rate_rps, arrival, burstiness, trace_sha256, peak_share, search_goal, p99_ms, most_concurrent,
    hardware, version;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_VIEWS)
