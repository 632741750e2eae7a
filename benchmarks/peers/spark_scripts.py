"""The reference's two Spark scripts as they are, one after the other in one process, which is kinder than two.

Run as: python spark_scripts.py FOLDER, which has their scripts/ and common/. As where they belong, the session's
options come from spark-defaults.conf (SPARK_CONF_DIR) and the place of the objects from S3_BUCKET_URL.
"""

import runpy
import sys
from pathlib import Path

from answers import answer_when_asked, take_stdout

SCRIPTS = ("quantum_incremental_processing.py", "quantum_ml_feature_processing.py")


def main(folder):
    answer = take_stdout()
    sys.path.insert(0, str(folder))
    from pyspark.sql import SparkSession

    # The scripts' own getOrCreate takes it, so that its start can be told apart.
    SparkSession.builder.getOrCreate()

    def work():
        for script in SCRIPTS:
            runpy.run_path(str(folder / "scripts" / script), run_name="__main__")
        return {}

    answer_when_asked(answer, work)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
