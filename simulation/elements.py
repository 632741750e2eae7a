"""The chemical elements: symbols by atomic number, and how many orbitals of an atom form its closed core."""

from __future__ import annotations

SYMBOLS: tuple[str, ...] = tuple(
    """
    H  He
    Li Be B  C  N  O  F  Ne
    Na Mg Al Si P  S  Cl Ar
    K  Ca Sc Ti V  Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y  Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I  Xe
    Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
          Hf Ta W  Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
    Fr Ra Ac Th Pa U  Np Pu Am Cm Bk Cf Es Fm Md No Lr
          Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
    """.split()
)
"""The 118 symbols in order of atomic number, hydrogen first."""

ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}

_NOBLE_GASES = (2, 10, 18, 36, 54, 86)


def core_orbitals(symbol: str) -> int:
    """Doubly occupied orbitals of the noble gas that precedes the element: 0 for H and He, 1 for Li to Ne, ..."""
    number = ATOMIC_NUMBERS[symbol]
    return max((gas for gas in _NOBLE_GASES if gas < number), default=0) // 2
