"""The dashboards' panels drawn with Grafana's own components: `python -m tests.e2e.panels`."""
