"""Write every dashboard's JSON beside this file: ``python -m dashboards.grafana``."""

from dashboards.grafana.files import write_all

if __name__ == "__main__":
    write_all()
