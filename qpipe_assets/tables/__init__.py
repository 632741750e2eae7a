"""Pure table logic: the declaration of every table, the kernels, the ledger and the ingest protocol."""
