"""The largest active space that an engine can hold: what a refusal offers instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulation.problem import OrbitalWindow


def largest_fit(window: OrbitalWindow, fits: Callable[[OrbitalWindow], bool]) -> OrbitalWindow | None:
    """The largest part of a window that fits: frontier orbitals, about as full as the window, every unpaired electron.

    Args:
        window: Orbitals and electrons that do not fit.
        fits: Whether a smaller window does.

    Returns:
        None when no part with an electron and an empty orbital fits.
    """
    return next((part for part in _parts(window) if fits(part)), None)


def offer(window: OrbitalWindow, fits: Callable[[OrbitalWindow], bool]) -> str:
    """What to ask for instead, for the end of a refusal."""
    part = largest_fit(window, fits)
    if part is None:
        return "no active_space of it fits"
    return f"an active_space of {sum(part.num_particles)} electrons in {part.active} orbitals fits"


def _parts(window: OrbitalWindow) -> Iterator[OrbitalWindow]:
    alpha, beta = window.num_particles
    for active in range(window.active - 1, 0, -1):
        kept = min(alpha, max(alpha - beta, 1, round(alpha * active / window.active)))
        frozen = alpha - kept
        if kept <= active and active - kept <= window.active - alpha and (kept < active or alpha == window.active):
            yield OrbitalWindow(window.frozen + frozen, active, (kept, beta - frozen))
