"""The jobs: which assets run together."""

from __future__ import annotations

import dagster as dg

from jobs.run_limits import ML_RUN, NORMALIZED_RUN, WHOLE_RUN
from jobs.timeliness import WITHIN
from qpipe_assets.table_metadata import RAW_VQE_OBJECTS
from qpipe_assets.tables import schemas

# They are about what no run has done, and a listing of the store: a sensor's, not each run's.
_NOT_IN_RUNS = dg.AssetSelection.checks(*WITHIN)
_FEATURES = (
    dg.AssetSelection.assets(RAW_VQE_OBJECTS, *schemas.NORMALIZED_NAMES, schemas.PROCESSING_METADATA.name)
    - _NOT_IN_RUNS
)
_ML = dg.AssetSelection.assets(*schemas.ML_NAMES) - _NOT_IN_RUNS
EXPERIMENT = dg.AssetSelection.assets("vqe_runs") | _FEATURES | _ML
"""From a molecule's geometry to its rows in the ML tables."""

quantum_feature_processing = dg.define_asset_job(
    "quantum_feature_processing",
    selection=_FEATURES,
    tags=NORMALIZED_RUN,
    description="Raw objects of a molecule into the nine normalized tables.",
)
quantum_ml_feature_processing = dg.define_asset_job(
    "quantum_ml_feature_processing",
    selection=_ML,
    tags=ML_RUN,
    description="The ML tables of a molecule, for every finished batch that they lack.",
)
molecule_processing = dg.define_asset_job(
    "molecule_processing",
    selection=_FEATURES | _ML,
    tags=WHOLE_RUN,
    description="Raw objects of a molecule through to the ML tables; what the sensor asks for.",
)
vqe_experiment = dg.define_asset_job(
    "vqe_experiment",
    selection=EXPERIMENT,
    description="A molecule from its geometry to the ML tables: simulate, land, ingest, build features.",
)
maintenance = dg.define_asset_job(
    "maintenance",
    selection=dg.AssetSelection.assets("table_maintenance"),
    tags=NORMALIZED_RUN,
    description="Small files, old snapshots and orphan files of all tables.",
)

JOBS = [quantum_feature_processing, quantum_ml_feature_processing, molecule_processing, vqe_experiment]
"""Those of a molecule."""
