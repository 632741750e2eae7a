"""The four dashboards; `python -m deploy.monitoring.dashboards` writes what Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.monitoring.dashboards.campaign import CAMPAIGN
from deploy.monitoring.dashboards.platform import PLATFORM
from deploy.monitoring.dashboards.quality import QUALITY
from deploy.monitoring.dashboards.vqe import VQE

FOLDER = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"
DASHBOARDS = (VQE, QUALITY, CAMPAIGN, PLATFORM)


def files() -> dict[Path, str]:
    """Text of each dashboard's file."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(dashboard.document(), indent=1) + "\n" for dashboard in DASHBOARDS
    }
