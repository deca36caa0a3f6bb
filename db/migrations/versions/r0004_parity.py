"""More of what parity says, also over the wire; the memory of exports."""

from alembic import op

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE run_artifacts
    ADD COLUMN peak_rss_bytes BIGINT,
    DROP CONSTRAINT ck_run_artifacts_not_negative,
    ADD CONSTRAINT ck_run_artifacts_not_negative CHECK (export_ns >= 0 AND peak_rss_bytes >= 0);
ALTER TABLE parity
    ADD COLUMN rmse DOUBLE PRECISION,
    ADD COLUMN nrmse DOUBLE PRECISION,
    ADD COLUMN top5_agreement DOUBLE PRECISION,
    ADD COLUMN diverges_at TEXT,
    DROP CONSTRAINT ck_parity_not_negative,
    ADD CONSTRAINT ck_parity_not_negative CHECK (max_abs >= 0 AND max_rel >= 0 AND top1_agreement >= 0
        AND rmse >= 0 AND nrmse >= 0 AND top5_agreement >= 0);
CREATE TABLE wire_parity (
    run_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    protocol TEXT NOT NULL,
    batch INTEGER NOT NULL,
    output TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    server TEXT NOT NULL,
    model TEXT NOT NULL,
    format TEXT NOT NULL,
    precision TEXT NOT NULL,
    max_abs DOUBLE PRECISION NOT NULL,
    max_rel DOUBLE PRECISION NOT NULL,
    rmse DOUBLE PRECISION NOT NULL,
    nrmse DOUBLE PRECISION NOT NULL,
    cosine DOUBLE PRECISION NOT NULL,
    top1_agreement DOUBLE PRECISION,
    top5_agreement DOUBLE PRECISION,
    items INTEGER NOT NULL,
    answered BOOLEAN NOT NULL,
    passed BOOLEAN NOT NULL,
    detail TEXT NOT NULL,
    CONSTRAINT pk_wire_parity PRIMARY KEY (run_id, deployment_id, protocol, batch, output),
    CONSTRAINT ck_wire_parity_not_negative CHECK (max_abs >= 0 AND max_rel >= 0 AND rmse >= 0 AND nrmse >= 0
        AND top1_agreement >= 0 AND top5_agreement >= 0 AND items >= 0),
    CONSTRAINT ck_wire_parity_batch_positive CHECK (batch > 0),
    CONSTRAINT fk_wire_parity_run_id FOREIGN KEY(run_id, deployment_id)
        REFERENCES deployments (run_id, deployment_id),
    CONSTRAINT fk_wire_parity_artifact_sha256 FOREIGN KEY(artifact_sha256) REFERENCES artifacts (sha256)
);
"""

_VIEWS = """
-- One row an export, output and night, with what made it: drift between exporter versions is a step in its series.
CREATE VIEW parity_nights AS
SELECT
    parity.run_id, runs.suite, runs.started_at AS run_started_at, runs.hardware,
    parity.model, run_artifacts.model_version, parity.format, parity.precision, run_artifacts.weights, parity.output,
    parity.artifact_sha256, run_artifacts.exporter,
    bool_and(parity.passed) AS passed,
    max(parity.max_abs) AS max_abs,
    max(parity.nrmse) AS nrmse,
    min(parity.cosine) AS cosine,
    min(parity.top1_agreement) AS top1_agreement,
    min(parity.top5_agreement) AS top5_agreement,
    max(parity.diverges_at) AS diverges_at
FROM parity
JOIN runs ON runs.run_id = parity.run_id
JOIN run_artifacts ON run_artifacts.run_id = parity.run_id AND run_artifacts.sha256 = parity.artifact_sha256
    AND run_artifacts.model = parity.model AND run_artifacts.format = parity.format
    AND run_artifacts.precision = parity.precision
GROUP BY
    parity.run_id, runs.suite, runs.started_at, runs.hardware, parity.model, run_artifacts.model_version,
    parity.format, parity.precision, run_artifacts.weights, parity.output, parity.artifact_sha256,
    run_artifacts.exporter;

-- The same of what servers answered, one row a server, protocol and night.
CREATE VIEW wire_parity_nights AS
SELECT
    wire_parity.run_id, runs.suite, runs.started_at AS run_started_at, runs.hardware,
    wire_parity.server, wire_parity.model, wire_parity.format, wire_parity.precision, wire_parity.protocol,
    wire_parity.output, wire_parity.artifact_sha256,
    count(DISTINCT wire_parity.deployment_id) AS deployments,
    bool_and(wire_parity.passed) AS passed,
    bool_and(wire_parity.answered) AS answered,
    min(wire_parity.items) AS items,
    max(wire_parity.max_abs) AS max_abs,
    max(wire_parity.nrmse) AS nrmse,
    min(wire_parity.cosine) AS cosine
FROM wire_parity
JOIN runs ON runs.run_id = wire_parity.run_id
GROUP BY
    wire_parity.run_id, runs.suite, runs.started_at, runs.hardware, wire_parity.server, wire_parity.model,
    wire_parity.format, wire_parity.precision, wire_parity.protocol, wire_parity.output, wire_parity.artifact_sha256;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_VIEWS)
