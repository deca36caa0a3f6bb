"""Five years of nights: partitions, roll-ups, and the views that dashboards read.

Measurements and telemetry lie in one partition a month, made from the time that a run's id begins with. So the
partition key is a part of the natural key that they always had, which keeps every row unique, and every reference to it
as it was. What stays when a month's rows are dropped is rolled up: one row a night, and one a series and night.
"""

from alembic import op

from db.migrations.r0008_views import VIEWS

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None

_PARTITIONS = """
DROP VIEW series_nights, latest_measurements, measurement_facts;
ALTER TABLE telemetry RENAME TO whole_telemetry;
ALTER TABLE measurements RENAME TO whole_measurements;
ALTER TABLE whole_telemetry DROP CONSTRAINT fk_telemetry_measurement, DROP CONSTRAINT pk_telemetry;
ALTER TABLE whole_measurements DROP CONSTRAINT pk_measurements;
DROP INDEX ix_measurements_deployment, ix_measurements_fingerprint_started_at;

CREATE TABLE measurements (LIKE whole_measurements INCLUDING ALL) PARTITION BY RANGE (run_id);
ALTER TABLE measurements
    ADD CONSTRAINT pk_measurements PRIMARY KEY (run_id, cell_id),
    ADD CONSTRAINT fk_measurements_run_id FOREIGN KEY (run_id) REFERENCES runs (run_id),
    ADD CONSTRAINT fk_measurements_deployment FOREIGN KEY (run_id, deployment_id) REFERENCES deployments (run_id,
        deployment_id),
    ADD CONSTRAINT fk_measurements_fingerprint FOREIGN KEY (fingerprint) REFERENCES cases (fingerprint);
CREATE INDEX ix_measurements_deployment ON measurements (run_id, deployment_id);
CREATE INDEX ix_measurements_fingerprint_started_at ON measurements (fingerprint, started_at);
CREATE TABLE telemetry (LIKE whole_telemetry INCLUDING ALL) PARTITION BY RANGE (run_id);
ALTER TABLE telemetry ADD CONSTRAINT pk_telemetry PRIMARY KEY (run_id, cell_id, ordinal);

-- A schema of its own, so that whoever looks at the tables sees the tables.
CREATE SCHEMA months;
-- For runs whose ids begin with no time.
CREATE TABLE months.measurements_other PARTITION OF measurements DEFAULT;
CREATE TABLE months.telemetry_other PARTITION OF telemetry DEFAULT;
-- Partition by partition: checked against the whole of measurements, every row would lock every month of it.
ALTER TABLE months.telemetry_other ADD CONSTRAINT fk_telemetry_other_measurement
    FOREIGN KEY (run_id, cell_id) REFERENCES months.measurements_other (run_id, cell_id);
DO $$
DECLARE
    month DATE;
    part TEXT;
    bounds TEXT;
BEGIN
    FOR month IN
        SELECT DISTINCT to_date(substr(run_id, 1, 6), 'YYYYMM') FROM whole_measurements
        WHERE run_id ~ '^2[0-9]{3}(0[1-9]|1[0-2])[0-9]{2}-' AND run_id < '299912'
    LOOP
        part := to_char(month, 'YYYY_MM');
        bounds := format('FOR VALUES FROM (%L) TO (%L)', to_char(month, 'YYYYMM'),
            to_char(month + INTERVAL '1 month', 'YYYYMM'));
        EXECUTE format('CREATE TABLE months.measurements_%1$s PARTITION OF measurements %2$s', part, bounds);
        EXECUTE format('CREATE TABLE months.telemetry_%1$s PARTITION OF telemetry %2$s', part, bounds);
        EXECUTE format('ALTER TABLE months.telemetry_%1$s ADD CONSTRAINT fk_telemetry_%1$s_measurement '
            'FOREIGN KEY (run_id, cell_id) REFERENCES months.measurements_%1$s (run_id, cell_id)', part);
    END LOOP;
END
$$;
"""

_ROLL_UPS = """
CREATE TABLE night_rollups (
    run_id TEXT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE,
    measured INTEGER NOT NULL,
    doubted INTEGER NOT NULL,
    raw_dropped BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_night_rollups PRIMARY KEY (run_id),
    CONSTRAINT fk_night_rollups_run_id FOREIGN KEY (run_id) REFERENCES runs (run_id),
    CONSTRAINT ck_night_rollups_not_negative CHECK (measured >= 0 AND doubted >= 0)
);
CREATE TABLE night_series (
    fingerprint TEXT NOT NULL,
    run_id TEXT NOT NULL,
    rounds INTEGER NOT NULL,
    doubted_rounds INTEGER NOT NULL,
    ok_count BIGINT NOT NULL,
    failed_count BIGINT NOT NULL,
    throughput_rps DOUBLE PRECISION,
    latency_p50_ns DOUBLE PRECISION,
    latency_p90_ns DOUBLE PRECISION,
    latency_p95_ns DOUBLE PRECISION,
    latency_p99_ns DOUBLE PRECISION,
    offered_rps DOUBLE PRECISION,
    answer_rps DOUBLE PRECISION,
    ttft_p50_ns DOUBLE PRECISION,
    ttft_p99_ns DOUBLE PRECISION,
    itl_p50_ns DOUBLE PRECISION,
    itl_p99_ns DOUBLE PRECISION,
    tokens_per_s DOUBLE PRECISION,
    goodput_rps DOUBLE PRECISION,
    CONSTRAINT pk_night_series PRIMARY KEY (fingerprint, run_id),
    CONSTRAINT fk_night_series_fingerprint FOREIGN KEY (fingerprint) REFERENCES cases (fingerprint),
    CONSTRAINT fk_night_series_run_id FOREIGN KEY (run_id) REFERENCES night_rollups (run_id) ON DELETE CASCADE
);
CREATE INDEX ix_night_series_run_id ON night_series (run_id);
CREATE TABLE latest_cells (
    fingerprint TEXT NOT NULL,
    run_id TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_latest_cells PRIMARY KEY (fingerprint),
    CONSTRAINT fk_latest_cells_fingerprint FOREIGN KEY (fingerprint) REFERENCES cases (fingerprint)
);
CREATE TABLE judged_series (
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    suite TEXT NOT NULL,
    CONSTRAINT pk_judged_series PRIMARY KEY (fingerprint, metric, suite)
);
INSERT INTO judged_series (fingerprint, metric, suite) SELECT DISTINCT fingerprint, metric, suite FROM series_points;
-- A series over all its nights is asked for without its suite.
ALTER TABLE series_points
    DROP CONSTRAINT pk_series_points,
    ADD CONSTRAINT pk_series_points PRIMARY KEY (fingerprint, metric, suite, run_id);
ALTER TABLE change_points
    DROP CONSTRAINT pk_change_points,
    ADD CONSTRAINT pk_change_points PRIMARY KEY (fingerprint, metric, suite, run_id);
"""

# A generated column is computed anew, and so is not among those that are copied.
_FILL = """
DO $$
DECLARE
    filled TEXT;
    names TEXT;
BEGIN
    FOREACH filled IN ARRAY ARRAY['measurements', 'telemetry'] LOOP
        SELECT string_agg(quote_ident(attname), ', ') INTO names FROM pg_attribute
        WHERE attrelid = filled::REGCLASS AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
        EXECUTE format('INSERT INTO %1$I (%2$s) SELECT %2$s FROM %3$I', filled, names, 'whole_' || filled);
    END LOOP;
END
$$;
"""

_LATEST = """
DROP TABLE whole_telemetry, whole_measurements;
INSERT INTO latest_cells
SELECT DISTINCT ON (fingerprint) fingerprint, run_id, cell_id, started_at FROM measurements
ORDER BY fingerprint, started_at DESC, run_id DESC, cell_id DESC;
"""


def upgrade() -> None:
    op.execute(_PARTITIONS)
    op.execute(_FILL)
    op.execute(_ROLL_UPS)
    op.execute(_LATEST)
    op.execute(VIEWS)
