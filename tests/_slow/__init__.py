"""Plain twins of the compiled kernels: slow, obvious, and used only as oracles."""
