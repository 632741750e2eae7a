"""Spark: settings, jars, a session on our catalog, the project's code on its executors; pyspark is imported at use."""
