"""Plain twin of `simulation.adapt_kernels`: gradients of a pool by applying every excitation to every determinant."""

import numpy as np


def pool_slopes(pool, space, state, image):
    """2 <image| T - T^+ |state> summed over the excitations of each operator."""
    slopes = []
    for operator in pool:
        slope = 0.0
        for excitation in operator:
            excited, returned, signs = excitation.applied(space.words)
            lowered = np.zeros_like(state)
            lowered[space.positions(returned)] = signs * state[excited]
            raised = np.zeros_like(state)
            raised[excited] = signs * state[space.positions(returned)]
            slope += 2 * image @ (lowered - raised)
        slopes.append(slope)
    return np.array(slopes)
