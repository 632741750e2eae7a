"""What exists: the software-defined assets, their checks and partitions."""
