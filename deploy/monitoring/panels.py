"""The parts of a Grafana dashboard, and the JSON that Grafana reads; no dashboard in particular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

COLUMNS = 24
"""Width of Grafana's grid."""
HEIGHT = 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """One expression of PromQL and the text of its legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """What one panel shows; `unit` is Grafana's name of it, `limit` a line that should not be crossed."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "gauge", "table", "bargauge"] = "timeseries"
    width: int = 8
    about: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top: the values of a label among the series of a metric."""

    name: str
    metric: str

    @property
    def query(self) -> str:
        """Grafana's query for the values."""
        return f"label_values({self.metric}, {self.name})"


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; `uid` is its address and the name of its file."""

    uid: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]

    @property
    def panels(self) -> list[Panel]:
        """All its panels."""
        return [panel for row in self.rows for panel in row.panels]

    def document(self) -> dict[str, Any]:
        """What Grafana reads."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["qpipe"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [_datasource_choice(), *map(_choice, self.variables)]},
            "panels": _laid_out(self.rows),
        }


def _datasource_choice() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The panels at their places: rows under each other, panels from left to right."""
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        at = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": row.title, "gridPos": at, "panels": []})
        top, left = top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left = top + HEIGHT, 0
            at = {"x": left, "y": top, "w": panel.width, "h": HEIGHT}
            placed.append({"id": len(placed) + 1, "gridPos": at, **_drawn(panel)})
            left += panel.width
        top += HEIGHT
    return placed


def _drawn(panel: Panel) -> dict[str, Any]:
    table = panel.kind == "table"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries" and panel.limit is not None:
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": table,
                "range": not table,
                "format": "table" if table else "time_series",
            }
            for number, query in enumerate(panel.queries)
        ],
    }
