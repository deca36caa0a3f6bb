"""What judging left over the years beside its verdicts: steps, baselines, alerts with their nights and events."""

from sqlalchemy import Connection, text

from benchmarks.store.night import SUITE

__all__ = ["raise_some"]

_STATEMENTS = (
    """
INSERT INTO change_points (suite, fingerprint, metric, run_id, before, after, p_value)
SELECT suite, fingerprint, metric, run_id, value, value * 1.1, 0.001 FROM (
    SELECT *, row_number() OVER (PARTITION BY fingerprint, metric ORDER BY hashtext(run_id || fingerprint)) AS place
    FROM series_points WHERE hashtext(fingerprint || metric || run_id) % 500 = 0
) AS drawn WHERE place <= 3
""",
    """
INSERT INTO series_baselines (suite, fingerprint, metric, since_run_id, why, anchor)
SELECT :suite, fingerprint, metric, run_id, 'accepted', before FROM change_points WHERE hashtext(fingerprint) % 7 = 0
""",
    """
INSERT INTO alerts (suite, kind, subject, title, detail, members, changed, severity, state, opened_run_id, opened_at,
    last_run_id, closed_at, why)
SELECT :suite, 'regression', 'subject ' || place, 'a server is 10 % slower', 'in 3 of 12 series',
    '[{"label": "fastapi resnet18 b1"}]', '{"package torch": "2.11 -> 2.12"}', 0.1,
    CASE WHEN place % 40 = 0 THEN 'open' WHEN place % 10 = 0 THEN 'false' ELSE 'resolved' END,
    run_id, started_at, run_id, CASE WHEN place % 40 <> 0 THEN started_at + INTERVAL '3 days' END, ''
FROM (SELECT *, row_number() OVER (ORDER BY started_at) AS place FROM runs) AS numbered WHERE place % 3 = 0
""",
    """
INSERT INTO alert_nights (number, run_id)
SELECT number, near.run_id FROM alerts CROSS JOIN LATERAL (
    SELECT run_id FROM runs WHERE runs.started_at >= alerts.opened_at ORDER BY runs.started_at LIMIT 3
) AS near
""",
    """
INSERT INTO alert_events (number, at, to_state, who, by_person, run_id, why)
SELECT number, coalesce(closed_at, opened_at), state, 'judge', number % 2 = 0, last_run_id, '' FROM alerts
""",
)


def raise_some(connection: Connection) -> None:
    """Some hundreds of alerts, most of them closed; a few steps in every series."""
    for statement in _STATEMENTS:
        connection.execute(text(statement), {"suite": SUITE} if ":suite" in statement else {})
