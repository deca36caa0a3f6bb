"""The tables of the first version."""

from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE artifacts (
    sha256 TEXT NOT NULL,
    format TEXT NOT NULL,
    size_bytes BIGINT,
    CONSTRAINT pk_artifacts PRIMARY KEY (sha256),
    CONSTRAINT ck_artifacts_not_negative CHECK (size_bytes >= 0)
);
CREATE TABLE runs (
    run_id TEXT NOT NULL,
    suite TEXT,
    seed BIGINT,
    started_at TIMESTAMP WITH TIME ZONE,
    hardware TEXT,
    context JSONB,
    suite_yaml TEXT,
    planned_cells INTEGER,
    finished_at TIMESTAMP WITH TIME ZONE,
    status TEXT,
    spent_ns JSONB,
    own_ns_per JSONB,
    detail TEXT,
    CONSTRAINT pk_runs PRIMARY KEY (run_id),
    CONSTRAINT ck_runs_started CHECK (num_nulls(suite, seed, started_at, hardware, context, suite_yaml,
        planned_cells) IN (0, 7)),
    CONSTRAINT ck_runs_finished CHECK (num_nulls(finished_at, status, spent_ns, own_ns_per, detail) IN (0, 5)),
    CONSTRAINT ck_runs_not_negative CHECK (planned_cells >= 0)
);
CREATE INDEX ix_runs_started_at ON runs (started_at);
CREATE TABLE cases (
    fingerprint TEXT NOT NULL,
    server TEXT NOT NULL,
    model TEXT NOT NULL,
    format TEXT NOT NULL,
    precision TEXT NOT NULL,
    options JSONB NOT NULL,
    protocol TEXT NOT NULL,
    batch INTEGER NOT NULL,
    load_kind TEXT NOT NULL,
    concurrency INTEGER,
    rate_rps DOUBLE PRECISION,
    arrival TEXT,
    model_version INTEGER NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    threads INTEGER NOT NULL,
    hardware TEXT NOT NULL,
    version INTEGER NOT NULL,
    CONSTRAINT pk_cases PRIMARY KEY (fingerprint),
    CONSTRAINT ck_cases_batch_positive CHECK (batch > 0),
    CONSTRAINT ck_cases_load_shape CHECK ((load_kind = 'closed' AND concurrency > 0 AND num_nonnulls(rate_rps,
        arrival) = 0) OR (load_kind = 'open' AND concurrency IS NULL AND rate_rps > 0 AND arrival IS NOT NULL)),
    CONSTRAINT ck_cases_not_negative CHECK (threads >= 0),
    CONSTRAINT fk_cases_artifact_sha256 FOREIGN KEY(artifact_sha256) REFERENCES artifacts (sha256)
);
CREATE TABLE deployments (
    run_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    round INTEGER,
    server TEXT,
    server_version TEXT,
    environment TEXT,
    model TEXT,
    format TEXT,
    precision TEXT,
    options JSONB,
    started_at TIMESTAMP WITH TIME ZONE,
    cold_start_ns BIGINT,
    model_load_ns BIGINT,
    rss_bytes BIGINT,
    limits JSONB,
    log_path TEXT,
    failure_kind TEXT,
    failure TEXT,
    log_tail TEXT,
    CONSTRAINT pk_deployments PRIMARY KEY (run_id, deployment_id),
    CONSTRAINT ck_deployments_started CHECK (num_nulls(round, server, server_version, environment, model,
        format, precision, options, started_at, limits, log_path, log_tail) IN (0, 12)),
    CONSTRAINT ck_deployments_not_negative CHECK (round >= 0 AND cold_start_ns >= 0 AND model_load_ns >= 0
        AND rss_bytes >= 0),
    CONSTRAINT fk_deployments_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE missing_cells (
    run_id TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    server TEXT NOT NULL,
    model TEXT NOT NULL,
    format TEXT NOT NULL,
    precision TEXT NOT NULL,
    options JSONB NOT NULL,
    protocol TEXT NOT NULL,
    batch INTEGER NOT NULL,
    load_kind TEXT NOT NULL,
    concurrency INTEGER,
    rate_rps DOUBLE PRECISION,
    arrival TEXT,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    CONSTRAINT pk_missing_cells PRIMARY KEY (run_id, cell_id),
    CONSTRAINT ck_missing_cells_batch_positive CHECK (batch > 0),
    CONSTRAINT ck_missing_cells_load_shape CHECK ((load_kind = 'closed' AND concurrency > 0
        AND num_nonnulls(rate_rps, arrival) = 0) OR (load_kind = 'open' AND concurrency IS NULL
        AND rate_rps > 0 AND arrival IS NOT NULL)),
    CONSTRAINT ck_missing_cells_not_negative CHECK (round >= 0),
    CONSTRAINT fk_missing_cells_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE parity (
    run_id TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    model TEXT NOT NULL,
    format TEXT NOT NULL,
    precision TEXT NOT NULL,
    output TEXT NOT NULL,
    batch INTEGER NOT NULL,
    max_abs DOUBLE PRECISION NOT NULL,
    max_rel DOUBLE PRECISION NOT NULL,
    cosine DOUBLE PRECISION NOT NULL,
    top1_agreement DOUBLE PRECISION,
    passed BOOLEAN NOT NULL,
    detail TEXT NOT NULL,
    CONSTRAINT pk_parity PRIMARY KEY (run_id, artifact_sha256, model, format, precision, output, batch),
    CONSTRAINT ck_parity_not_negative CHECK (max_abs >= 0 AND max_rel >= 0 AND top1_agreement >= 0),
    CONSTRAINT ck_parity_batch_positive CHECK (batch > 0),
    CONSTRAINT fk_parity_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id),
    CONSTRAINT fk_parity_artifact_sha256 FOREIGN KEY(artifact_sha256) REFERENCES artifacts (sha256)
);
CREATE TABLE run_artifacts (
    run_id TEXT NOT NULL,
    model TEXT NOT NULL,
    model_version INTEGER NOT NULL,
    format TEXT NOT NULL,
    precision TEXT NOT NULL,
    weights TEXT NOT NULL,
    sha256 TEXT,
    export_ns BIGINT,
    cached BOOLEAN NOT NULL,
    exporter JSONB NOT NULL,
    reproducible BOOLEAN NOT NULL,
    failure TEXT,
    CONSTRAINT pk_run_artifacts PRIMARY KEY (run_id, model, model_version, format, precision, weights),
    CONSTRAINT ck_run_artifacts_not_negative CHECK (export_ns >= 0),
    CONSTRAINT ck_run_artifacts_exported_or_failed CHECK (sha256 IS NOT NULL OR failure IS NOT NULL),
    CONSTRAINT fk_run_artifacts_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id),
    CONSTRAINT fk_run_artifacts_sha256 FOREIGN KEY(sha256) REFERENCES artifacts (sha256)
);
CREATE TABLE measurements (
    run_id TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    deployment_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    warmup_ns BIGINT NOT NULL,
    measured_ns BIGINT NOT NULL,
    ok_count BIGINT NOT NULL,
    failed_count BIGINT NOT NULL,
    counts JSONB NOT NULL,
    offered_rps DOUBLE PRECISION,
    throughput_rps DOUBLE PRECISION NOT NULL,
    throughput_low_rps DOUBLE PRECISION,
    throughput_high_rps DOUBLE PRECISION,
    latency_p50_ns DOUBLE PRECISION,
    latency_p50_low_ns DOUBLE PRECISION,
    latency_p50_high_ns DOUBLE PRECISION,
    latency_p90_ns DOUBLE PRECISION,
    latency_p90_low_ns DOUBLE PRECISION,
    latency_p90_high_ns DOUBLE PRECISION,
    latency_p95_ns DOUBLE PRECISION,
    latency_p95_low_ns DOUBLE PRECISION,
    latency_p95_high_ns DOUBLE PRECISION,
    latency_p99_ns DOUBLE PRECISION,
    latency_p99_low_ns DOUBLE PRECISION,
    latency_p99_high_ns DOUBLE PRECISION,
    service_p50_ns DOUBLE PRECISION,
    service_p50_low_ns DOUBLE PRECISION,
    service_p50_high_ns DOUBLE PRECISION,
    service_p90_ns DOUBLE PRECISION,
    service_p90_low_ns DOUBLE PRECISION,
    service_p90_high_ns DOUBLE PRECISION,
    service_p95_ns DOUBLE PRECISION,
    service_p95_low_ns DOUBLE PRECISION,
    service_p95_high_ns DOUBLE PRECISION,
    service_p99_ns DOUBLE PRECISION,
    service_p99_low_ns DOUBLE PRECISION,
    service_p99_high_ns DOUBLE PRECISION,
    other_quantiles JSONB NOT NULL,
    lag_ns JSONB NOT NULL,
    client_cpu_ns_per_request DOUBLE PRECISION,
    doubts JSONB NOT NULL,
    doubted BOOLEAN GENERATED ALWAYS AS (jsonb_path_exists(doubts, '$[*] ? (@.figures.size() == 0)')) STORED NOT NULL,
    context JSONB NOT NULL,
    histogram BYTEA NOT NULL,
    CONSTRAINT pk_measurements PRIMARY KEY (run_id, cell_id),
    CONSTRAINT ck_measurements_throughput_interval CHECK (throughput_rps >= 0
        AND throughput_low_rps <= throughput_rps AND throughput_rps <= throughput_high_rps
        AND (throughput_rps IS NOT NULL OR num_nonnulls(throughput_low_rps, throughput_high_rps) = 0)),
    CONSTRAINT ck_measurements_latency_p50_interval CHECK (latency_p50_ns >= 0
        AND latency_p50_low_ns <= latency_p50_ns AND latency_p50_ns <= latency_p50_high_ns
        AND (latency_p50_ns IS NOT NULL OR num_nonnulls(latency_p50_low_ns, latency_p50_high_ns) = 0)),
    CONSTRAINT ck_measurements_latency_p90_interval CHECK (latency_p90_ns >= 0
        AND latency_p90_low_ns <= latency_p90_ns AND latency_p90_ns <= latency_p90_high_ns
        AND (latency_p90_ns IS NOT NULL OR num_nonnulls(latency_p90_low_ns, latency_p90_high_ns) = 0)),
    CONSTRAINT ck_measurements_latency_p95_interval CHECK (latency_p95_ns >= 0
        AND latency_p95_low_ns <= latency_p95_ns AND latency_p95_ns <= latency_p95_high_ns
        AND (latency_p95_ns IS NOT NULL OR num_nonnulls(latency_p95_low_ns, latency_p95_high_ns) = 0)),
    CONSTRAINT ck_measurements_latency_p99_interval CHECK (latency_p99_ns >= 0
        AND latency_p99_low_ns <= latency_p99_ns AND latency_p99_ns <= latency_p99_high_ns
        AND (latency_p99_ns IS NOT NULL OR num_nonnulls(latency_p99_low_ns, latency_p99_high_ns) = 0)),
    CONSTRAINT ck_measurements_service_p50_interval CHECK (service_p50_ns >= 0
        AND service_p50_low_ns <= service_p50_ns AND service_p50_ns <= service_p50_high_ns
        AND (service_p50_ns IS NOT NULL OR num_nonnulls(service_p50_low_ns, service_p50_high_ns) = 0)),
    CONSTRAINT ck_measurements_service_p90_interval CHECK (service_p90_ns >= 0
        AND service_p90_low_ns <= service_p90_ns AND service_p90_ns <= service_p90_high_ns
        AND (service_p90_ns IS NOT NULL OR num_nonnulls(service_p90_low_ns, service_p90_high_ns) = 0)),
    CONSTRAINT ck_measurements_service_p95_interval CHECK (service_p95_ns >= 0
        AND service_p95_low_ns <= service_p95_ns AND service_p95_ns <= service_p95_high_ns
        AND (service_p95_ns IS NOT NULL OR num_nonnulls(service_p95_low_ns, service_p95_high_ns) = 0)),
    CONSTRAINT ck_measurements_service_p99_interval CHECK (service_p99_ns >= 0
        AND service_p99_low_ns <= service_p99_ns AND service_p99_ns <= service_p99_high_ns
        AND (service_p99_ns IS NOT NULL OR num_nonnulls(service_p99_low_ns, service_p99_high_ns) = 0)),
    CONSTRAINT fk_measurements_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id),
    CONSTRAINT fk_measurements_deployment FOREIGN KEY(run_id, deployment_id) REFERENCES deployments (run_id,
        deployment_id),
    CONSTRAINT ck_measurements_not_negative CHECK (round >= 0 AND warmup_ns >= 0 AND measured_ns >= 0
        AND ok_count >= 0 AND failed_count >= 0 AND offered_rps >= 0 AND client_cpu_ns_per_request >= 0),
    CONSTRAINT fk_measurements_fingerprint FOREIGN KEY(fingerprint) REFERENCES cases (fingerprint)
);
CREATE INDEX ix_measurements_deployment ON measurements (run_id, deployment_id);
CREATE INDEX ix_measurements_fingerprint_started_at ON measurements (fingerprint, started_at);
CREATE TABLE telemetry (
    run_id TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    source TEXT NOT NULL,
    metric TEXT NOT NULL,
    offset_ms INTEGER[] NOT NULL,
    values DOUBLE PRECISION[] NOT NULL,
    CONSTRAINT pk_telemetry PRIMARY KEY (run_id, cell_id, ordinal),
    CONSTRAINT fk_telemetry_measurement FOREIGN KEY(run_id, cell_id) REFERENCES measurements (run_id, cell_id)
);
"""


def upgrade() -> None:
    op.execute(_TABLES)
