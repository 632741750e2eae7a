"""Splits by molecule: a whole molecule is in one split, seeded, and stays there when others come later."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from pydantic import BaseModel, ConfigDict

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ROUNDING = 1e-6


class SplitsRefusedError(ValueError):
    """Splits that cannot be made; says why and what is expected."""


class SplitRule(BaseModel):
    """How molecules are divided.

    Attributes:
        shares: share of the molecules by split; their sum is 1.
        molecules: split of the molecules that were put there by name.
        seed: of the division of all others.
    """

    model_config = ConfigDict(frozen=True)

    shares: dict[str, float]
    molecules: dict[str, str] = {}
    seed: int = 0


def parse_rule(shares: str, named: Sequence[str] = (), seed: int = 0) -> SplitRule:
    """The rule that a command line writes as `train=0.8,validation=0.1,test=0.1` and `test=H2,LiH`.

    Raises:
        SplitsRefusedError: it cannot be understood, or contradicts itself.
    """
    found: dict[str, float] = {}
    for part in shares.split(","):
        name, _, text = part.strip().partition("=")
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not _NAME.fullmatch(name) or not 0 <= share <= 1:
            raise SplitsRefusedError(
                f"splits {shares!r}: {part.strip()!r} is no split; expected NAME=SHARE with a share from 0 to 1, "
                "as in train=0.8,validation=0.1,test=0.1"
            )
        if name in found:
            raise SplitsRefusedError(f"splits {shares!r} name {name!r} twice: name each once")
        found[name] = share
    if abs(sum(found.values()) - 1) > _ROUNDING:
        raise SplitsRefusedError(f"splits {shares!r}: the shares sum to {sum(found.values()):g}, expected 1")
    return SplitRule(shares=found, molecules=_by_name(found, named), seed=seed)


def _by_name(shares: Mapping[str, float], named: Sequence[str]) -> dict[str, str]:
    where: dict[str, str] = {}
    for text in named:
        split, _, molecules = text.partition("=")
        if split not in shares or not molecules:
            raise SplitsRefusedError(
                f"split molecules {text!r}: expected SPLIT=MOLECULE,MOLECULE with one of {', '.join(shares)}"
            )
        for molecule in molecules.split(","):
            if where.setdefault(molecule.strip(), split) != split:
                raise SplitsRefusedError(
                    f"molecule {molecule.strip()!r} is named for {where[molecule.strip()]} and for {split}: choose one"
                )
    return where


def divide(rule: SplitRule, molecules: Iterable[str], before: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """The molecules of each split.

    Each molecule that nobody has named goes, in an order that the seed gives, to the split that lacks most of its
    share; a split with a share stays empty only where there are not enough molecules.

    Args:
        rule: the rule.
        molecules: all that there are.
        before: molecule -> split of an earlier division by the same rule, which is kept.

    Raises:
        SplitsRefusedError: a named molecule is not there, or there are fewer molecules than splits.
    """
    there = sorted(set(molecules))
    if unknown := sorted(set(rule.molecules) - set(there)):
        raise SplitsRefusedError(f"there are no rows of {', '.join(unknown)}; molecules with rows: {', '.join(there)}")
    kept = {m: split for m, split in (before or {}).items() if m in there and split in rule.shares} | rule.molecules
    divided: dict[str, list[str]] = {split: [m for m in there if kept.get(m) == split] for split in rule.shares}
    free = sorted((m for m in there if m not in kept), key=lambda m: sha256(f"{rule.seed}:{m}".encode()).digest())
    for position, molecule in enumerate(free):
        empty = [split for split, share in rule.shares.items() if share and not divided[split]]
        choice = empty if len(empty) >= len(free) - position else list(rule.shares)
        chosen = max(choice, key=lambda split: rule.shares[split] * len(there) - len(divided[split]))
        divided[chosen].append(molecule)
    if without := [split for split, share in rule.shares.items() if share and not divided[split]]:
        raise SplitsRefusedError(
            f"no molecule is left for {', '.join(without)}: there are {len(there)} ({', '.join(there)}) for "
            f"{len(rule.shares)} splits; {_remedy(without, there, before or {})}"
        )
    return {split: sorted(members) for split, members in divided.items()}


def _remedy(without: Sequence[str], there: Sequence[str], before: Mapping[str, str]) -> str:
    """What to do about splits without molecules."""
    if away := sorted(m for m, split in before.items() if split in without and m not in there):
        return f"{', '.join(away)} belonged there and have no rows now: export again when they have"
    return "ask for fewer splits, or name molecules for each"


def with_absent(splits: Mapping[str, Sequence[str]], before: Mapping[str, str]) -> dict[str, list[str]]:
    """The molecules of each split, and those that were in it before and are not there now."""
    there = {molecule for members in splits.values() for molecule in members}
    absent = {molecule: split for molecule, split in before.items() if molecule not in there}
    return {split: sorted([*members, *(m for m in absent if absent[m] == split)]) for split, members in splits.items()}
