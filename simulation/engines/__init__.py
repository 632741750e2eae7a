"""Energies and gradients of an ansatz: one engine a module, one interface."""
