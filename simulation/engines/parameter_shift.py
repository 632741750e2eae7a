r"""Gradients from energies at shifted parameters: exact formulas, so sampled energies give unbiased gradients.

As a function of the angle of one instruction an energy is a trigonometric polynomial with the frequencies 1 to R:
R = 1 for a rotation :math:`e^{-i x P / 2}` of a Pauli operator, R = 2 for an excitation :math:`e^{x (T - T^\dagger)}`,
whose generator has the eigenvalues 0 and +-i. Then (Wierichs, Izaac, Wang and Lin, Quantum 6, 677 (2022), eq. 22)

.. math:: E'(x) = \sum_{\mu=1}^{2R} E(x + x_\mu) \frac{(-1)^{\mu-1}}{4 R \sin^2(x_\mu / 2)},
          \qquad x_\mu = \frac{2\mu - 1}{2R} \pi

two terms for a rotation, four for an excitation (Kottmann, Anand and Aspuru-Guzik, Chem. Sci. 12, 3497 (2021)).
A parameter that drives several instructions, each with a factor, collects their slopes by the chain rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulation.circuits import ParametrisedCircuit


def shift_rule(frequencies: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(shifts, weights), each of shape `(2 * frequencies,)`: the slope is the weighted sum of shifted values."""
    terms = np.arange(2 * frequencies)
    shifts = (2 * terms + 1) * np.pi / (2 * frequencies)
    return shifts, (1.0 - 2.0 * (terms % 2)) / (4 * frequencies * np.sin(shifts / 2) ** 2)


class ParameterShift:
    """The shifted points of a circuit and the gradient from their energies.

    Args:
        program: A circuit; one parameter may drive several instructions. `circuit` is the same with one parameter an
            instruction, its angle.
    """

    def __init__(self, program: ParametrisedCircuit) -> None:
        self.circuit, self._parameter, self._factor = program.unshared()
        self._num_parameters = program.num_parameters
        rules = [shift_rule(frequencies) for frequencies in self.circuit.frequencies]
        self._angle = np.repeat(np.arange(len(rules)), [len(shifts) for shifts, _ in rules])
        self._shifts = np.concatenate([np.zeros(0), *(shifts for shifts, _ in rules)])
        self._weights = np.concatenate([np.zeros(0), *(weights for _, weights in rules)])

    def angles(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angles (radian) of the instructions, shape `(instructions,)`, for parameters of the program."""
        return self._factor * np.asarray(parameters, dtype=np.float64)[self._parameter]

    def points(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angles of every shifted point, shape `(points, instructions)`."""
        angles = np.tile(self.angles(parameters), (len(self._angle), 1))
        angles[np.arange(len(angles)), self._angle] += self._shifts
        return angles

    def gradient(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """The gradient (Hartree per radian), shape `(num_parameters,)`, from the energies of `points`."""
        weights = self._weights * energies * self._factor[self._angle]
        collected = np.bincount(self._parameter[self._angle], weights=weights, minlength=self._num_parameters)
        return collected.astype(np.float64)
