"""Asks Spark for the rows of each table, as the environment says: `python -m deploy.smoke.spark_query`."""

from __future__ import annotations

import json
from contextlib import closing

from qpipe_assets.tables import schemas
from qpipe_resources.settings import load_settings
from qpipe_resources.spark.session import open_spark
from qpipe_resources.spark.settings import load_spark_settings


def main() -> None:
    """Print the number of rows by table."""
    names = (*schemas.NORMALIZED_NAMES, *schemas.ML_NAMES)
    query = " union all ".join(f"select '{name}' as name, count(experiment_id) as n from {name}" for name in names)
    with closing(open_spark(load_settings(), load_spark_settings(), schemas.NAMESPACE)) as driver:
        print(json.dumps({row["name"]: row["n"] for row in driver.session.sql(query).collect()}))


if __name__ == "__main__":
    main()
