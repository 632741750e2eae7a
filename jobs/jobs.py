"""The jobs: which assets run together."""

from __future__ import annotations

import dagster as dg

from qpipe_assets.table_metadata import RAW_VQE_OBJECTS
from qpipe_assets.tables import schemas

TABLE_RUN_HOURS = 4
"""Longer than all retries of a step; a run that was killed with its machine is given up after it."""
_TABLE_TAGS = {"dagster/max_runtime": str(TABLE_RUN_HOURS * 3600)}

_FEATURES = dg.AssetSelection.assets(RAW_VQE_OBJECTS, *schemas.NORMALIZED_NAMES, schemas.PROCESSING_METADATA.name)
_ML = dg.AssetSelection.assets(*schemas.ML_NAMES)
EXPERIMENT = dg.AssetSelection.assets("vqe_runs") | _FEATURES | _ML
"""From a molecule's geometry to its rows in the ML tables."""

quantum_feature_processing = dg.define_asset_job(
    "quantum_feature_processing",
    selection=_FEATURES,
    tags=_TABLE_TAGS,
    description="Raw objects of a molecule into the nine normalized tables.",
)
quantum_ml_feature_processing = dg.define_asset_job(
    "quantum_ml_feature_processing",
    selection=_ML,
    tags=_TABLE_TAGS,
    description="The ML tables of a molecule, for every finished batch that they lack.",
)
molecule_processing = dg.define_asset_job(
    "molecule_processing",
    selection=_FEATURES | _ML,
    tags=_TABLE_TAGS,
    description="Raw objects of a molecule through to the ML tables; what sensor and schedule ask for.",
)
vqe_experiment = dg.define_asset_job(
    "vqe_experiment",
    selection=EXPERIMENT,
    description="A molecule from its geometry to the ML tables: simulate, land, ingest, build features.",
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=dg.AssetSelection.assets("table_maintenance"),
    tags=_TABLE_TAGS,
    description="Small files, old snapshots and orphan files of all tables.",
)

JOBS = [quantum_feature_processing, quantum_ml_feature_processing, molecule_processing, vqe_experiment]
"""Those of a molecule."""
