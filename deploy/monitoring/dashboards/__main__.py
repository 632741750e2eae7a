"""Write the dashboards that Grafana reads."""

from deploy.monitoring.dashboards import files

for path, text in files().items():
    path.write_text(text, encoding="utf-8")
    print(path)
