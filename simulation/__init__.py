"""The quantum side: from a geometry to a validated VQE result; no orchestration, no storage."""
