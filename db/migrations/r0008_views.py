"""The views of step r0008: all that dashboards read, and what a night's roll-up is made by."""

__all__ = ["VIEWS"]

VIEWS = """
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
    deployments.server_version, deployments.cold_start_ns, deployments.model_load_ns, deployments.rss_bytes,
    coalesce(cases.launcher, 'process') AS launcher, measurements.deployment_id, deployments.image,
    deployments.image_digest, measurements.warmup_ns, measurements.measured_ns, measurements.counts,
    measurements.client_cpu_ns_per_request,
    measurements.service_p50_ns, measurements.service_p90_ns, measurements.service_p95_ns, measurements.service_p99_ns
FROM measurements
JOIN cases USING (fingerprint)
JOIN runs ON runs.run_id = measurements.run_id
JOIN deployments
    ON deployments.run_id = measurements.run_id AND deployments.deployment_id = measurements.deployment_id;

-- The newest timing of every series, doubted or not: a reader sees the doubt instead of an older figure. A series whose
-- timings were all dropped by age has none.
CREATE VIEW latest_measurements AS
SELECT measurement_facts.*
FROM latest_cells
JOIN measurement_facts
    ON measurement_facts.run_id = latest_cells.run_id AND measurement_facts.cell_id = latest_cells.cell_id;

-- What a series is, in words and in columns: what dashboards choose by.
CREATE VIEW case_facts AS
SELECT
    fingerprint,
    concat_ws(' ', server, model, 'b' || batch, protocol, CASE load_kind
        WHEN 'closed' THEN 'closed c' || concurrency
        WHEN 'open' THEN concat(arrival, ' ' || burstiness, ' ' || left(trace_sha256, 8), ' ', rate_rps, ' rps')
        WHEN 'peak_share' THEN concat(arrival, ' ' || burstiness, ' ', 100 * peak_share, ' % of peak')
        ELSE concat(search_goal, ' up to c', most_concurrent, ' with p99 <= ' || p99_ms || ' ms')
    END) AS label,
    server, model, model_version, format, precision, options, protocol, batch, load_kind, concurrency, rate_rps,
    arrival, burstiness, trace_sha256, peak_share, search_goal, p99_ms, most_concurrent, threads, hardware, version,
    coalesce(launcher, 'process') AS launcher
FROM cases;

-- One row a series and night whose measurements are not rolled up: one that still runs, or that was added to since.
-- A night whose rounds are all doubted has no figure, so that a gap stays a gap; a tail without an upper bound is
-- doubted by itself.
CREATE VIEW unrolled_series AS
SELECT unrolled.*
FROM runs
CROSS JOIN LATERAL (
    SELECT
        fingerprint, run_id, count(*)::INTEGER AS rounds, (count(*) FILTER (WHERE doubted))::INTEGER AS doubted_rounds,
        sum(ok_count)::BIGINT AS ok_count, sum(failed_count)::BIGINT AS failed_count,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY throughput_rps) FILTER (WHERE NOT doubted) AS throughput_rps,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p50_ns) FILTER (WHERE NOT doubted) AS latency_p50_ns,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p90_ns)
            FILTER (WHERE NOT doubted AND latency_p90_high_ns IS NOT NULL) AS latency_p90_ns,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p95_ns)
            FILTER (WHERE NOT doubted AND latency_p95_high_ns IS NOT NULL) AS latency_p95_ns,
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
    FROM measurements
    WHERE measurements.run_id = runs.run_id
    GROUP BY fingerprint, run_id
) AS unrolled
WHERE NOT EXISTS (SELECT FROM night_rollups WHERE night_rollups.run_id = runs.run_id);

-- One row a series and night, however old. Runs are joined on both sides of the union, or a range of nights would be
-- looked for in all of them.
CREATE VIEW series_nights AS
SELECT
    nights.fingerprint, nights.run_id, nights.suite, nights.run_started_at,
    cases.server, cases.model, cases.format, cases.precision, cases.protocol, cases.batch, cases.load_kind,
    cases.concurrency, cases.rate_rps, cases.arrival, cases.burstiness, cases.trace_sha256, cases.peak_share,
    cases.search_goal, cases.p99_ms, cases.most_concurrent, cases.hardware, cases.version,
    nights.rounds, nights.doubted_rounds, nights.throughput_rps, nights.latency_p50_ns, nights.latency_p99_ns,
    nights.offered_rps, nights.answer_rps, nights.ttft_p50_ns, nights.ttft_p99_ns, nights.itl_p50_ns,
    nights.itl_p99_ns, nights.tokens_per_s, nights.goodput_rps,
    nights.latency_p90_ns, nights.latency_p95_ns, nights.ok_count, nights.failed_count,
    coalesce(cases.launcher, 'process') AS launcher
FROM (
    SELECT runs.suite, runs.started_at AS run_started_at, night_series.*
    FROM runs JOIN night_series ON night_series.run_id = runs.run_id
    UNION ALL
    SELECT runs.suite, runs.started_at, unrolled_series.*
    FROM runs JOIN unrolled_series ON unrolled_series.run_id = runs.run_id
) AS nights
JOIN cases ON cases.fingerprint = nights.fingerprint;

-- One row a judged series and night: the figure with its interval, its doubts, and what was said of it. ``base``: a new
-- history of the series begins here.
CREATE VIEW series_trend AS
SELECT
    points.fingerprint, case_facts.label, points.suite, case_facts.server, case_facts.model, case_facts.format,
    case_facts.precision, case_facts.protocol, case_facts.batch, case_facts.load_kind, case_facts.concurrency,
    case_facts.rate_rps, case_facts.launcher, case_facts.hardware, case_facts.version,
    points.metric, points.run_id, runs.started_at AS night, points.value, points.low, points.high,
    points.doubts <> '{}' AS doubted, points.doubts, judgements.verdict,
    EXISTS (
        SELECT FROM series_baselines AS bases
        WHERE bases.suite = points.suite AND bases.fingerprint = points.fingerprint AND bases.metric = points.metric
            AND bases.since_run_id = points.run_id
    ) AS base,
    judgements.detail AS said, judgements.ratio, runs.status AS run_status
FROM series_points AS points
JOIN runs ON runs.run_id = points.run_id
JOIN case_facts ON case_facts.fingerprint = points.fingerprint
LEFT JOIN judgements ON judgements.run_id = points.run_id AND judgements.fingerprint = points.fingerprint
    AND judgements.metric = points.metric;

-- What is written beside a series where something was said of it, or where it steps.
CREATE VIEW change_notes AS
SELECT
    runs.started_at AS night, judgements.fingerprint, judgements.metric, 'verdict' AS kind,
    concat_ws(': ', judgements.verdict, nullif(judgements.detail, '')) AS text,
    judgements.run_id, judgements.suite, judgements.verdict, judgements.ratio
FROM judgements
JOIN runs ON runs.run_id = judgements.run_id
WHERE judgements.verdict IN ('suspected', 'regressed', 'improved', 'environment')
UNION ALL
SELECT
    runs.started_at, change_points.fingerprint, change_points.metric, 'change_point',
    'steps by ' || to_char(100 * (change_points.after / nullif(change_points.before, 0) - 1), 'FMSG999990.0') || ' %',
    change_points.run_id, change_points.suite, NULL, change_points.after / nullif(change_points.before, 0)
FROM change_points
JOIN runs ON runs.run_id = change_points.run_id;

-- One row a night: how it ended, and how much of it is there. ``unfinished``: it runs, or was killed.
CREATE VIEW night_status AS
SELECT
    runs.run_id, coalesce(runs.suite, 'unknown') AS suite, coalesce(runs.hardware, 'unknown') AS hardware,
    coalesce(runs.started_at, rollups.began_at) AS night, coalesce(runs.status, 'unfinished') AS status,
    coalesce(runs.planned_cells, 0) AS planned,
    coalesce(rollups.measured, (
        SELECT count(*) FROM measurements WHERE measurements.run_id = runs.run_id
    ))::INTEGER AS measured,
    (SELECT count(*) FROM missing_cells WHERE missing_cells.run_id = runs.run_id)::INTEGER AS missing,
    coalesce(rollups.doubted, (
        SELECT count(*) FROM measurements WHERE measurements.run_id = runs.run_id AND measurements.doubted
    ))::INTEGER AS doubted,
    (
        SELECT count(*) FROM deployments
        WHERE deployments.run_id = runs.run_id AND deployments.failure_kind IS NOT NULL
    )::INTEGER AS failed_deployments,
    extract(epoch FROM runs.finished_at - runs.started_at)::DOUBLE PRECISION AS duration_s,
    (SELECT count(*) FROM alerts WHERE alerts.opened_run_id = runs.run_id)::INTEGER AS alerts_opened,
    runs.finished_at, runs.detail, runs.context, coalesce(rollups.raw_dropped, false) AS raw_dropped
FROM runs
LEFT JOIN night_rollups AS rollups ON rollups.run_id = runs.run_id;

-- One row an alert, for tables.
CREATE VIEW alert_list AS
SELECT
    number, suite, kind, state, title, opened_at, nights, subject, detail, severity, series, live, closed_at,
    opened_run_id, last_run_id, why, judged_by_person, false_alarm, members, changed,
    extract(epoch FROM coalesce(closed_at, now()) - opened_at)::DOUBLE PRECISION AS open_s,
    members -> 0 -> 'key' ->> 'fingerprint' AS first_fingerprint, members -> 0 -> 'key' ->> 'metric' AS first_metric
FROM alert_facts;

-- One row a start of a server, whether it came up or not. Those of which nothing but the name is left are not there.
CREATE VIEW deployment_facts AS
SELECT
    deployments.run_id, runs.started_at AS night, deployments.server, deployments.model, deployments.format,
    deployments.precision, deployments.launcher, deployments.server_version, deployments.cold_start_ns,
    deployments.model_load_ns, deployments.rss_bytes, deployments.failure_kind, deployments.failure,
    runs.suite, runs.hardware, deployments.deployment_id, deployments.round, deployments.started_at,
    deployments.options, deployments.environment, deployments.image, deployments.image_digest, deployments.limits,
    deployments.log_path, deployments.log_tail
FROM deployments
JOIN runs ON runs.run_id = deployments.run_id
WHERE deployments.started_at IS NOT NULL;

-- One row a sample of what was observed beside a cell. ``at`` takes the engine's own start, a second or two, for
-- nothing.
CREATE VIEW telemetry_facts AS
SELECT
    telemetry.run_id, telemetry.cell_id,
    measurements.started_at + measurements.warmup_ns / 1000 * INTERVAL '1 microsecond'
        + samples.offset_ms * INTERVAL '1 millisecond' AS at,
    telemetry.source, telemetry.metric, samples.value,
    samples.offset_ms, measurements.fingerprint, measurements.deployment_id, measurements.round
FROM telemetry
JOIN measurements ON measurements.run_id = telemetry.run_id AND measurements.cell_id = telemetry.cell_id
CROSS JOIN LATERAL unnest(telemetry.offset_ms, telemetry."values") AS samples (offset_ms, value);

-- The same of accelerators alone. ``source``: which one.
CREATE VIEW gpu_facts AS
SELECT run_id, cell_id, at, metric, value, source, fingerprint, deployment_id, round
FROM telemetry_facts
WHERE source LIKE 'gpu%';
"""
