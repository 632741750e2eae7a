"""Prometheus and Grafana: what is scraped, recorded, alerted and drawn."""
