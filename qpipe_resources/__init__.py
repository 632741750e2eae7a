"""The outside world: object store, lakehouse, simulation workers; primitives only, no table logic."""
