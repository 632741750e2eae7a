"""Which campaign is meant: a tier by its number or a campaign file, whole or a part, and what vqe_runs makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qpipe_assets.campaign import SINGLE, CampaignError, VQERunsConfig
from qpipe_assets.campaigns.campaign_file import Campaign, load_campaign, seed_list

TIERS = {number: Path(__file__).with_name(f"tier-{number}.yaml") for number in (1, 2, 3, 4)}
"""The tiers' campaign files."""

DEFAULT_TIER = 1
DEFAULT_TIER_TAG = "qpipe/default-tier"
"""Tag of a Dagster run with the tier that it computes where its configuration names none."""

_SELECTING = {"tier", "campaign_file", "seeds", "optimizers"}
_BESIDE = {"force", "report", "executor", "run_seconds", *SINGLE} - {"threshold", "max_iterations"}
"""What may be asked beside a tier or campaign file, because no experiment's identity depends on it."""


def select_campaign(
    tier: int | None = None,
    campaign_file: str | Path | None = None,
    *,
    molecules: str | None = None,
    seeds: str | None = None,
    optimizers: str | None = None,
) -> Campaign:
    """The campaign of a tier or of a file; without either, tier 1.

    Args:
        tier: Number of the tier.
        campaign_file: Path of a campaign file instead.
        molecules: Only these, joined by commas.
        seeds: Only these, like '1..3' or '1,5,7..9'.
        optimizers: Only these, joined by commas.

    Raises:
        CampaignError: both or an unknown one were asked for, the file is wrong, or a part is not in the campaign.
    """
    if tier is not None and campaign_file is not None:
        raise CampaignError(f"tier {tier} and campaign file {campaign_file} exclude each other: give one")
    if campaign_file is None:
        number = DEFAULT_TIER if tier is None else tier
        if number not in TIERS:
            raise CampaignError(f"tier is {number}, expected one of {', '.join(map(str, TIERS))}")
        campaign_file = TIERS[number]
    return _part(load_campaign(campaign_file), molecules=molecules, seeds=seeds, optimizers=optimizers)


def _part(
    whole: Campaign, *, molecules: str | None = None, seeds: str | None = None, optimizers: str | None = None
) -> Campaign:
    try:
        wanted = None if seeds is None else seed_list(seeds)
    except ValueError as error:
        raise CampaignError(f"seeds: {error}") from error
    return whole.narrowed(molecules=_names(molecules), seeds=wanted, optimizers=_names(optimizers))


def campaign_asked_by(config: VQERunsConfig, tags: Mapping[str, str]) -> Campaign | None:
    """The whole campaign that a configuration, or else a tag of the run, asks for all or a part of; None without one.

    Raises:
        CampaignError: the tier or file cannot be used.
    """
    if _given(config) & {"tier", "campaign_file"}:
        return select_campaign(config.tier, config.campaign_file)
    default = tags.get(DEFAULT_TIER_TAG)
    return None if default is None else select_campaign(_tier(default))


def asked_by(config: VQERunsConfig, whole: Campaign | None) -> VQERunsConfig:
    """The configuration itself, or what the part of a campaign that it names asks of vqe_runs.

    Args:
        config: What was asked for.
        whole: The campaign that is meant (see `campaign_asked_by`), None without one.

    Raises:
        CampaignError: the part is not in the campaign, or options are given beside it that it decides.
    """
    given = _given(config)
    if whole is None:
        if given & _SELECTING:
            raise CampaignError("seeds and optimizers are parts of a tier or campaign file: give one of these, too")
        return config
    if decided := sorted(given - _SELECTING - _BESIDE):
        raise CampaignError(f"a tier or campaign file decides on {', '.join(decided)}: leave them out, or the tier")
    part = _part(whole, seeds=config.seeds, optimizers=config.optimizers)
    return VQERunsConfig(**part.asked() | {name: getattr(config, name) for name in given & _BESIDE})


def _given(config: VQERunsConfig) -> set[str]:
    return {name for name in VQERunsConfig.model_fields if getattr(config, name) != getattr(_EMPTY, name)}


_EMPTY = VQERunsConfig()  # type: ignore[call-arg]


def _tier(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CampaignError(f"tag {DEFAULT_TIER_TAG} is {text!r}, expected the number of a tier") from None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
