"""Figures shown for no more than they are: each with its own doubts, per GPU where GPUs are known, series by name."""

from alembic import op

revision = "r0011"
down_revision = "r0010"
branch_labels = None
depends_on = None

_MEDIANS = {
    "throughput_rps": "throughput_rps",
    "latency_p50_ns": "p50",
    "latency_p90_ns": "p90",
    "latency_p95_ns": "p95",
    "latency_p99_ns": "p99",
    "offered_rps": "offered_rps",
    "answer_rps": "answer_rps",
    "ttft_p50_ns": "ttft_p50",
    "ttft_p99_ns": "ttft_p99",
    "itl_p50_ns": "itl_p50",
    "itl_p99_ns": "itl_p99",
    "tokens_per_s": "tokens_per_s",
    "goodput_rps": "goodput_rps",
}
"""What is kept of a night over its rounds, and what a doubt that is not of the whole cell calls it."""
_TAILS = ("latency_p90_ns", "latency_p95_ns", "latency_p99_ns", "ttft_p99_ns", "itl_p99_ns")
_JUDGED = (
    *("throughput_rps", "latency_p50_ns", "latency_p99_ns", "answer_rps", "tokens_per_s", "ttft_p50_ns"),
    "itl_p50_ns",
)


def _doubted(column: str) -> str:
    """SQL over ``measurements``: a doubt names this figure or the whole cell, or it is a tail without upper bound."""
    names = (_MEDIANS[column], *(("throughput",) if column == "throughput_rps" else ()))
    concerned = " || ".join(("@.figures.size() == 0", *(f'@.figures[*] == "{name}"' for name in names)))
    doubted = f"jsonb_path_exists(measurements.doubts, '$[*] ? ({concerned})')"
    return f"{doubted} OR measurements.{column.removesuffix('_ns')}_high_ns IS NULL" if column in _TAILS else doubted


def _median(column: str) -> str:
    """SQL: over the rounds in which nothing is said against it."""
    over = f"percentile_cont(0.5) WITHIN GROUP (ORDER BY measurements.{column})"
    return f"{over} FILTER (WHERE NOT ({_doubted(column)})) AS {column}"


# Of one cell. Without telemetry nobody knows: that is null, unless the machine has no GPU at all.
_GPU = """
    SELECT
        CASE
            WHEN runs.context ->> 'gpu' = 'none' THEN 0
            WHEN count(busy) > 0 THEN (count(*) FILTER (WHERE busy))::INTEGER
        END AS gpus,
        CASE WHEN bool_and(energy_valid) FILTER (WHERE busy) THEN sum(energy_j) FILTER (WHERE busy) END AS energy_j
    FROM (
        SELECT
            bool_or(0 < ANY ("values")) FILTER (WHERE metric = 'utilisation_percent') AS busy,
            max("values"[1]) FILTER (WHERE metric = 'energy_j') AS energy_j,
            max("values"[1]) FILTER (WHERE metric = 'energy_valid') = 1 AS energy_valid
        FROM telemetry
        WHERE telemetry.run_id = measurements.run_id AND telemetry.cell_id = measurements.cell_id
            AND source LIKE 'gpu%'
        GROUP BY source
    ) AS each
"""

# A new column of a view can only be its last.
_VIEWS = f"""
-- Series in words, which several may share: ones of other weights, say.
CREATE VIEW case_words AS
SELECT
    cases.*,
    concat_ws(' ', server, nullif(launcher, 'process'), model, format, precision, 'b' || batch, protocol, CASE load_kind
        WHEN 'closed' THEN 'closed c' || concurrency
        WHEN 'open' THEN concat(arrival, ' ' || burstiness, ' ' || left(trace_sha256, 8), ' ', rate_rps, ' rps')
        WHEN 'peak_share' THEN concat(arrival, ' ' || burstiness, ' ', 100 * peak_share, ' % of peak')
        ELSE concat(search_goal, ' up to c', most_concurrent, ' with p99 <= ' || p99_ms || ' ms')
    END, (SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM jsonb_each_text(options))) AS words
FROM cases;

-- What a series is, in words and in columns: what dashboards choose by. ``label``: no two have the same.
CREATE OR REPLACE VIEW case_facts AS
SELECT
    fingerprint,
    words || CASE WHEN EXISTS (
        SELECT FROM case_words AS others
        WHERE others.server = case_words.server AND others.model = case_words.model
            AND others.protocol = case_words.protocol AND others.batch = case_words.batch
            AND others.load_kind = case_words.load_kind AND others.words = case_words.words
            AND others.fingerprint <> case_words.fingerprint
    ) THEN ' #' || left(fingerprint, 8) ELSE '' END AS label,
    server, model, model_version, format, precision, options, protocol, batch, load_kind, concurrency, rate_rps,
    arrival, burstiness, trace_sha256, peak_share, search_goal, p99_ms, most_concurrent, threads, hardware, version,
    coalesce(launcher, 'process') AS launcher
FROM case_words;

-- One row a timed cell with the single figures of its telemetry. ``gpus``: those that did any work in its window, null
-- where nobody looked; their energy alone counts, and none of it where a GPU's own counter was too coarse for the
-- window.
CREATE OR REPLACE VIEW cell_facts AS
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
CROSS JOIN LATERAL ({_GPU}) AS gpu;

-- One row a series and night whose measurements are not rolled up: one that still runs, or that was added to since.
-- A night whose rounds are all doubted has no figure, so that a gap stays a gap. ``gpus``: the most that worked in any
-- round.
CREATE OR REPLACE VIEW unrolled_series AS
SELECT unrolled.*
FROM runs
CROSS JOIN LATERAL (
    SELECT
        fingerprint, measurements.run_id, count(*)::INTEGER AS rounds,
        (count(*) FILTER (WHERE doubted))::INTEGER AS doubted_rounds,
        sum(ok_count)::BIGINT AS ok_count, sum(failed_count)::BIGINT AS failed_count,
        {", ".join(_median(column) for column in _MEDIANS)},
        max(gpu.gpus) AS gpus,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY gpu.energy_j / nullif(ok_count, 0)) FILTER (WHERE NOT doubted)
            AS joules_per_request
    FROM measurements
    CROSS JOIN LATERAL ({_GPU}) AS gpu
    WHERE measurements.run_id = runs.run_id
    GROUP BY fingerprint, measurements.run_id
) AS unrolled
WHERE NOT EXISTS (SELECT FROM night_rollups WHERE night_rollups.run_id = runs.run_id);

-- One row a series and night, however old. Runs are joined on both sides of the union, or a range of nights would be
-- looked for in all of them.
CREATE OR REPLACE VIEW series_nights AS
SELECT
    nights.fingerprint, nights.run_id, nights.suite, nights.run_started_at,
    cases.server, cases.model, cases.format, cases.precision, cases.protocol, cases.batch, cases.load_kind,
    cases.concurrency, cases.rate_rps, cases.arrival, cases.burstiness, cases.trace_sha256, cases.peak_share,
    cases.search_goal, cases.p99_ms, cases.most_concurrent, cases.hardware, cases.version,
    nights.rounds, nights.doubted_rounds, nights.throughput_rps, nights.latency_p50_ns, nights.latency_p99_ns,
    nights.offered_rps, nights.answer_rps, nights.ttft_p50_ns, nights.ttft_p99_ns, nights.itl_p50_ns,
    nights.itl_p99_ns, nights.tokens_per_s, nights.goodput_rps,
    nights.latency_p90_ns, nights.latency_p95_ns, nights.ok_count, nights.failed_count,
    coalesce(cases.launcher, 'process') AS launcher,
    nights.gpus, nights.joules_per_request / cases.batch AS joules_per_inference
FROM (
    SELECT runs.suite, runs.started_at AS run_started_at, night_series.*
    FROM runs JOIN night_series ON night_series.run_id = runs.run_id
    UNION ALL
    SELECT runs.suite, runs.started_at, unrolled_series.*
    FROM runs JOIN unrolled_series ON unrolled_series.run_id = runs.run_id
) AS nights
JOIN cases ON cases.fingerprint = nights.fingerprint;

-- One row a timed cell and figure that is judged. ``doubted``: this figure is, by itself or with its whole cell.
CREATE VIEW round_figures AS
SELECT
    measurements.run_id, measurements.cell_id, measurements.round, measurements.started_at, runs.suite,
    measurements.fingerprint, figures.metric, figures.value, figures.doubted
FROM measurements
JOIN runs ON runs.run_id = measurements.run_id
CROSS JOIN LATERAL (VALUES
    {", ".join(f"('{column}', measurements.{column}, {_doubted(column)})" for column in _JUDGED)}
) AS figures (metric, value, doubted)
WHERE figures.value IS NOT NULL;
"""  # noqa: S608 - of names in this file

# Medians are taken anew wherever there are rounds to take them of: by the views at once, and for good by maintenance.
_ROLL_UPS = """
CREATE INDEX ix_cases_words ON cases (server, model, protocol, batch, load_kind);
ALTER TABLE night_series ADD COLUMN gpus INTEGER, ADD COLUMN joules_per_request DOUBLE PRECISION;
DELETE FROM night_rollups WHERE NOT raw_dropped;
UPDATE night_series SET gpus = 0 FROM runs WHERE runs.run_id = night_series.run_id AND runs.context ->> 'gpu' = 'none';
"""


def upgrade() -> None:
    op.execute(_ROLL_UPS)
    op.execute(_VIEWS)
