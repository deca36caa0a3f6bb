"""Judging: series over nights, what was said of them and what confirmed it, the alerts and messages that came of it."""

from alembic import op

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE kits (
    sha256 TEXT NOT NULL,
    files JSONB NOT NULL,
    CONSTRAINT pk_kits PRIMARY KEY (sha256)
);
CREATE TABLE run_kits (
    run_id TEXT NOT NULL,
    server TEXT NOT NULL,
    kit_sha256 TEXT NOT NULL,
    CONSTRAINT pk_run_kits PRIMARY KEY (run_id, server),
    CONSTRAINT fk_run_kits_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id),
    CONSTRAINT fk_run_kits_kit_sha256 FOREIGN KEY(kit_sha256) REFERENCES kits (sha256)
);
CREATE TABLE canaries (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    canary TEXT NOT NULL,
    device TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration_ns DOUBLE PRECISION,
    duration_low_ns DOUBLE PRECISION,
    duration_high_ns DOUBLE PRECISION,
    failure TEXT,
    CONSTRAINT pk_canaries PRIMARY KEY (run_id, round, canary, device, started_at),
    CONSTRAINT ck_canaries_duration_interval CHECK (duration_ns >= 0 AND duration_low_ns <= duration_ns AND
        duration_ns <= duration_high_ns AND (duration_ns IS NOT NULL OR num_nonnulls(duration_low_ns,
        duration_high_ns) = 0)),
    CONSTRAINT ck_canaries_not_negative CHECK (round >= 0),
    CONSTRAINT ck_canaries_done_or_failed CHECK (duration_ns IS NOT NULL OR failure IS NOT NULL),
    CONSTRAINT fk_canaries_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE gate_findings (
    run_id TEXT NOT NULL,
    cell_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    expectation TEXT NOT NULL,
    figures TEXT[] NOT NULL,
    detail TEXT NOT NULL,
    CONSTRAINT pk_gate_findings PRIMARY KEY (run_id, cell_key, reason, expectation, figures),
    CONSTRAINT fk_gate_findings_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE judgements (
    run_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    suite TEXT NOT NULL,
    verdict TEXT NOT NULL,
    detail TEXT NOT NULL,
    since TEXT,
    last_before TEXT,
    nights INTEGER,
    before_value DOUBLE PRECISION,
    before_low_value DOUBLE PRECISION,
    before_high_value DOUBLE PRECISION,
    after_value DOUBLE PRECISION,
    after_low_value DOUBLE PRECISION,
    after_high_value DOUBLE PRECISION,
    ratio DOUBLE PRECISION GENERATED ALWAYS AS (after_value / nullif(before_value, 0)) STORED,
    p_value DOUBLE PRECISION,
    firm BOOLEAN,
    confirmation_id TEXT,
    CONSTRAINT pk_judgements PRIMARY KEY (run_id, fingerprint, metric),
    CONSTRAINT ck_judgements_before_interval CHECK (before_value >= 0 AND before_low_value <= before_value AND
        before_value <= before_high_value AND (before_value IS NOT NULL OR num_nonnulls(before_low_value,
        before_high_value) = 0)),
    CONSTRAINT ck_judgements_after_interval CHECK (after_value >= 0 AND after_low_value <= after_value AND
        after_value <= after_high_value AND (after_value IS NOT NULL OR num_nonnulls(after_low_value,
        after_high_value) = 0)),
    CONSTRAINT ck_judgements_change CHECK (num_nulls(since, last_before, nights, before_value, after_value, p_value,
        firm) IN (0, 7)),
    CONSTRAINT ck_judgements_not_negative CHECK (nights >= 0),
    CONSTRAINT ck_judgements_p_value_is_a_probability CHECK (p_value BETWEEN 0 AND 1),
    CONSTRAINT fk_judgements_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE INDEX ix_judgements_series ON judgements (fingerprint, metric);
CREATE TABLE trials (
    run_id TEXT NOT NULL,
    confirmation_id TEXT NOT NULL,
    pair INTEGER NOT NULL,
    side TEXT NOT NULL,
    place INTEGER NOT NULL,
    deployment_id TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    figures JSONB NOT NULL,
    failure TEXT,
    CONSTRAINT pk_trials PRIMARY KEY (run_id, confirmation_id, pair, side, place),
    CONSTRAINT ck_trials_not_negative CHECK (pair >= 0 AND place >= 0),
    CONSTRAINT fk_trials_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE confirmations (
    run_id TEXT NOT NULL,
    confirmation_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    suite TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    good_run_id TEXT NOT NULL,
    changed JSONB NOT NULL,
    unrestored JSONB NOT NULL,
    ratio_value DOUBLE PRECISION,
    ratio_low_value DOUBLE PRECISION,
    ratio_high_value DOUBLE PRECISION,
    pairs INTEGER NOT NULL,
    spent_ns BIGINT NOT NULL,
    CONSTRAINT pk_confirmations PRIMARY KEY (run_id, confirmation_id, fingerprint, metric),
    CONSTRAINT ck_confirmations_ratio_interval CHECK (ratio_value >= 0 AND ratio_low_value <= ratio_value AND
        ratio_value <= ratio_high_value AND (ratio_value IS NOT NULL OR num_nonnulls(ratio_low_value,
        ratio_high_value) = 0)),
    CONSTRAINT ck_confirmations_not_negative CHECK (pairs >= 0 AND spent_ns >= 0),
    CONSTRAINT fk_confirmations_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE series_points (
    suite TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    run_id TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION,
    high DOUBLE PRECISION,
    doubts TEXT[] NOT NULL,
    CONSTRAINT pk_series_points PRIMARY KEY (suite, fingerprint, metric, run_id),
    CONSTRAINT ck_series_points_finite CHECK (value > '-Infinity' AND value < 'Infinity'),
    CONSTRAINT ck_series_points_interval CHECK (low <= value AND value <= high),
    CONSTRAINT fk_series_points_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE INDEX ix_series_points_run_id ON series_points (run_id);
CREATE TABLE series_baselines (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    suite TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    since_run_id TEXT NOT NULL,
    why TEXT NOT NULL,
    anchor DOUBLE PRECISION,
    anchor_low DOUBLE PRECISION,
    anchor_high DOUBLE PRECISION,
    CONSTRAINT pk_series_baselines PRIMARY KEY (number),
    CONSTRAINT uq_series_baselines_series UNIQUE (suite, fingerprint, metric, since_run_id),
    CONSTRAINT ck_series_baselines_anchor_interval CHECK (anchor_low <= anchor AND anchor <= anchor_high AND (anchor
        IS NOT NULL OR num_nonnulls(anchor_low, anchor_high) = 0)),
    CONSTRAINT fk_series_baselines_since_run_id FOREIGN KEY(since_run_id) REFERENCES runs (run_id)
);
CREATE TABLE change_points (
    suite TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metric TEXT NOT NULL,
    run_id TEXT NOT NULL,
    before DOUBLE PRECISION NOT NULL,
    after DOUBLE PRECISION NOT NULL,
    p_value DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_change_points PRIMARY KEY (suite, fingerprint, metric, run_id),
    CONSTRAINT ck_change_points_p_value_is_a_probability CHECK (p_value BETWEEN 0 AND 1),
    CONSTRAINT fk_change_points_run_id FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
CREATE TABLE alerts (
    number INTEGER GENERATED ALWAYS AS IDENTITY,
    suite TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    title TEXT NOT NULL,
    detail TEXT NOT NULL,
    members JSONB NOT NULL,
    changed JSONB NOT NULL,
    severity DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL,
    opened_run_id TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_run_id TEXT NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    why TEXT NOT NULL,
    CONSTRAINT pk_alerts PRIMARY KEY (number),
    CONSTRAINT ck_alerts_closed_or_live CHECK ((closed_at IS NULL) = (state IN ('open', 'acknowledged')))
);
CREATE INDEX ix_alerts_opened_at ON alerts (opened_at);
CREATE UNIQUE INDEX uq_alerts_live ON alerts (suite, kind, subject) WHERE closed_at IS NULL;
CREATE TABLE alert_nights (
    number INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    CONSTRAINT pk_alert_nights PRIMARY KEY (number, run_id),
    CONSTRAINT fk_alert_nights_number FOREIGN KEY(number) REFERENCES alerts (number)
);
CREATE TABLE alert_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    number INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    from_state TEXT,
    to_state TEXT NOT NULL,
    who TEXT NOT NULL,
    by_person BOOLEAN NOT NULL,
    run_id TEXT,
    why TEXT NOT NULL,
    CONSTRAINT pk_alert_events PRIMARY KEY (id),
    CONSTRAINT fk_alert_events_number FOREIGN KEY(number) REFERENCES alerts (number)
);
CREATE INDEX ix_alert_events_number ON alert_events (number);
CREATE TABLE notices (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    run_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    written_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    sending_since TIMESTAMP WITH TIME ZONE,
    settled_at TIMESTAMP WITH TIME ZONE,
    error TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_notices PRIMARY KEY (id),
    CONSTRAINT uq_notices_run_id UNIQUE (run_id, channel),
    CONSTRAINT ck_notices_not_negative CHECK (attempts >= 0),
    CONSTRAINT ck_notices_state_shape CHECK (CASE state WHEN 'waiting' THEN num_nonnulls(sending_since, settled_at)
        = 0 WHEN 'sending' THEN sending_since IS NOT NULL AND settled_at IS NULL ELSE settled_at IS NOT NULL END)
);
"""

_VIEWS = """
-- One row a judged series and night: the figure, what was said of it, and the change it was said for.
CREATE VIEW judgement_nights AS
SELECT
    judgements.run_id, runs.started_at AS run_started_at, runs.hardware, judgements.suite,
    judgements.fingerprint, judgements.metric,
    cases.server, cases.model, cases.format, cases.precision, cases.options, cases.protocol, cases.batch,
    cases.load_kind, cases.concurrency, cases.rate_rps, cases.version,
    series_points.value, series_points.low, series_points.high, series_points.doubts,
    judgements.verdict, judgements.detail,
    judgements.since AS since_run_id, began.started_at AS since_started_at,
    judgements.last_before AS last_good_run_id, judgements.nights,
    judgements.before_value, judgements.before_low_value, judgements.before_high_value,
    judgements.after_value, judgements.after_low_value, judgements.after_high_value,
    judgements.ratio, judgements.p_value, judgements.firm,
    judgements.confirmation_id, confirmations.outcome, confirmations.ratio_value AS confirmed_ratio,
    confirmations.ratio_low_value AS confirmed_ratio_low, confirmations.ratio_high_value AS confirmed_ratio_high
FROM judgements
JOIN runs ON runs.run_id = judgements.run_id
LEFT JOIN cases ON cases.fingerprint = judgements.fingerprint
LEFT JOIN series_points ON series_points.suite = judgements.suite
    AND series_points.fingerprint = judgements.fingerprint AND series_points.metric = judgements.metric
    AND series_points.run_id = judgements.run_id
LEFT JOIN runs AS began ON began.run_id = judgements.since
LEFT JOIN confirmations ON confirmations.run_id = judgements.run_id
    AND confirmations.confirmation_id = judgements.confirmation_id
    AND confirmations.fingerprint = judgements.fingerprint AND confirmations.metric = judgements.metric;

-- Every night's machine: one row a canary, over the rounds.
CREATE VIEW canary_nights AS
SELECT
    canaries.run_id, runs.started_at AS run_started_at, runs.suite, runs.hardware, canaries.canary, canaries.device,
    count(canaries.duration_ns) AS times, count(canaries.failure) AS failures,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY canaries.duration_ns) AS duration_ns,
    min(canaries.duration_ns) AS duration_least_ns, max(canaries.duration_ns) AS duration_most_ns
FROM canaries
JOIN runs ON runs.run_id = canaries.run_id
GROUP BY canaries.run_id, runs.started_at, runs.suite, runs.hardware, canaries.canary, canaries.device;

-- Where the whole history of a series steps, for annotations.
CREATE VIEW change_point_facts AS
SELECT
    change_points.suite, change_points.fingerprint, change_points.metric, change_points.run_id,
    runs.started_at AS run_started_at, cases.server, cases.model, cases.format, cases.precision, cases.protocol,
    cases.batch, cases.load_kind, cases.concurrency, cases.rate_rps,
    change_points.before, change_points.after, change_points.after / nullif(change_points.before, 0) AS ratio,
    change_points.p_value
FROM change_points
JOIN runs ON runs.run_id = change_points.run_id
LEFT JOIN cases ON cases.fingerprint = change_points.fingerprint;

-- One row an alert, with how often it was found and what people said of it. ``judged_by_person``: it is closed, and a
-- person acknowledged it or closed it; what only the recovery closed nobody has judged.
CREATE VIEW alert_facts AS
SELECT
    alerts.*, jsonb_array_length(alerts.members) AS series,
    (SELECT count(*) FROM alert_nights WHERE alert_nights.number = alerts.number) AS nights,
    alerts.closed_at IS NULL AS live,
    alerts.closed_at IS NOT NULL AND EXISTS (
        SELECT FROM alert_events WHERE alert_events.number = alerts.number AND by_person
    ) AS judged_by_person,
    alerts.state = 'false' AS false_alarm
FROM alerts;

-- How many of the alerts of the last 90 days that people judged were true, with Wilson's 95 % interval.
CREATE VIEW alert_precision AS
WITH counted AS (
    SELECT
        kind, count(*) AS raised, count(*) FILTER (WHERE judged_by_person) AS judged,
        (count(*) FILTER (WHERE judged_by_person AND NOT false_alarm))::DOUBLE PRECISION AS true_alerts
    FROM alert_facts
    WHERE opened_at > now() - INTERVAL '90 days'
    GROUP BY GROUPING SETS ((kind), ())
), shares AS (
    SELECT *, nullif(judged, 0)::DOUBLE PRECISION AS n, true_alerts / nullif(judged, 0) AS share, 3.841459 AS z2
    FROM counted
)
SELECT
    coalesce(kind, 'all') AS kind, raised, judged, true_alerts::BIGINT AS true_alerts, share,
    greatest(0, (share + z2 / (2 * n) - sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n)))) / (1 + z2 / n))
        AS share_low,
    least(1, (share + z2 / (2 * n) + sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n)))) / (1 + z2 / n))
        AS share_high
FROM shares;
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_VIEWS)
