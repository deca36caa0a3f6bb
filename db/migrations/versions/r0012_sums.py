"""Sums and counts of whole nights, which panels would otherwise read every cell and point of all years for."""

from alembic import op

revision = "r0012"
down_revision = "r0011"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE night_servers (
    run_id TEXT NOT NULL,
    server TEXT NOT NULL,
    ok_count BIGINT NOT NULL,
    failed_count BIGINT NOT NULL,
    CONSTRAINT pk_night_servers PRIMARY KEY (run_id, server),
    CONSTRAINT fk_night_servers_run_id FOREIGN KEY (run_id) REFERENCES night_rollups (run_id) ON DELETE CASCADE,
    CONSTRAINT ck_night_servers_not_negative CHECK (ok_count >= 0 AND failed_count >= 0)
);
CREATE TABLE night_doubts (
    run_id TEXT NOT NULL,
    suite TEXT NOT NULL,
    server TEXT NOT NULL,
    reason TEXT NOT NULL,
    series INTEGER NOT NULL,
    CONSTRAINT pk_night_doubts PRIMARY KEY (run_id, suite, server, reason),
    CONSTRAINT fk_night_doubts_run_id FOREIGN KEY (run_id) REFERENCES runs (run_id),
    CONSTRAINT ck_night_doubts_not_negative CHECK (series >= 0)
);
CREATE INDEX ix_judgements_noted ON judgements (fingerprint, metric, run_id)
    WHERE verdict IN ('suspected', 'regressed', 'improved', 'environment');
"""

# From what is never dropped, so that nights whose measurements are gone have theirs as well.
_FILL = """
INSERT INTO night_servers (run_id, server, ok_count, failed_count)
SELECT night_series.run_id, cases.server, sum(night_series.ok_count), sum(night_series.failed_count)
FROM night_series JOIN cases ON cases.fingerprint = night_series.fingerprint
GROUP BY night_series.run_id, cases.server;

INSERT INTO night_doubts (run_id, suite, server, reason, series)
SELECT doubted.run_id, doubted.suite, cases.server, doubted.reason, count(*)
FROM (
    SELECT DISTINCT points.run_id, points.suite, points.fingerprint, doubt.reason
    FROM series_points AS points CROSS JOIN LATERAL unnest(points.doubts) AS doubt (reason)
    WHERE points.doubts <> '{}'
) AS doubted
JOIN cases ON cases.fingerprint = doubted.fingerprint
GROUP BY doubted.run_id, doubted.suite, cases.server, doubted.reason;
"""

_VIEWS = """
-- One row a night and server: its requests inside the measured windows. Runs are joined on both sides of the union, or
-- a range of nights would be looked for in all of them.
CREATE VIEW server_nights AS
SELECT
    runs.run_id, runs.started_at AS night, runs.suite, runs.hardware, night_servers.server, night_servers.ok_count,
    night_servers.failed_count
FROM runs JOIN night_servers ON night_servers.run_id = runs.run_id
UNION ALL
SELECT
    runs.run_id, runs.started_at, runs.suite, runs.hardware, unrolled.server, unrolled.ok_count, unrolled.failed_count
FROM runs
CROSS JOIN LATERAL (
    SELECT
        cases.server, sum(measurements.ok_count)::BIGINT AS ok_count,
        sum(measurements.failed_count)::BIGINT AS failed_count
    FROM measurements JOIN cases ON cases.fingerprint = measurements.fingerprint
    WHERE measurements.run_id = runs.run_id
    GROUP BY cases.server
) AS unrolled
WHERE NOT EXISTS (SELECT FROM night_rollups WHERE night_rollups.run_id = runs.run_id);

-- One row a night, server and reason: how many of its judged series are doubted for that, each once.
CREATE VIEW doubt_nights AS
SELECT
    doubts.run_id, runs.started_at AS night, doubts.suite, runs.hardware, doubts.server, doubts.reason, doubts.series
FROM night_doubts AS doubts
JOIN runs ON runs.run_id = doubts.run_id;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_FILL)
    op.execute(_VIEWS)
