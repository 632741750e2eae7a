"""From Kafka into the raw object store: the built-in sink and its dead letters; jobs and `qpipe sink` run it."""
