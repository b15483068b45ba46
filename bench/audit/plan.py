"""What ``lkbench audit`` plants, and what has to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.audit import own_cost
from bench.audit.evidence import CheckFails, Detector, RuleFires
from bench.audit.false_alarms import REPLICATES, RealPair, VirtualPairs
from bench.audit.own_cost import OwnCost
from bench.audit.slowdown import SlowerBy
from bench.audit.tail import TailOfStop
from bench.selftest import defects
from bench.selftest.reference import SingleServerArm
from signals.architecture import Pipeline
from signals.ledger import Stage

RATE_PER_SECOND = 40.0
DAY_SECONDS = 3.0
SLOW_IMAGE_SECONDS, SLOW_NIGHT_SECONDS = 0.02, 0.4
# Half way between two arrivals: the server is idle when it stops.
STOP = {"after_seconds": 20.5 / RATE_PER_SECOND, "stopped_seconds": 2.0}


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One defect, and the detectors that must find it.

    ``is_planted`` False: there is nothing to find, and the detectors must stay silent. An item that is
    planted and has no ``defect`` is one whose defect was taken out: its detectors must fail.
    """

    name: str
    defect: Callable[[], Pipeline] | None
    detectors: tuple[Detector, ...]
    paired: bool = False  # beside the reference arm, where only a comparison can tell
    days: int = 1
    day_seconds: float = DAY_SECONDS
    rate_per_second: float = RATE_PER_SECOND
    replicates: int = 1
    is_planted: bool = True

    @property
    def description(self) -> str:
        """What the defect does."""
        planted = self.defect.func if isinstance(self.defect, partial) else self.defect
        text = planted.__doc__ if planted is not None else None
        return text.strip().splitlines()[0].rstrip(".") if text else "Nothing is wrong"


CONTROL = PlanItem("control", None, (), paired=True, days=2, is_planted=False)
PLAN: tuple[PlanItem, ...] = (
    PlanItem(
        "null",
        None,
        (OwnCost(),),
        day_seconds=own_cost.DAY_SECONDS,
        rate_per_second=own_cost.RATE_PER_SECOND,
        is_planted=False,
    ),
    PlanItem(
        "a_a",
        None,
        (RealPair(), VirtualPairs()),
        paired=True,
        day_seconds=2.5,  # 100 arrivals: carries a 95th percentile
        replicates=REPLICATES,
        is_planted=False,
    ),
    PlanItem("drops_one", defects.DropsOne, (RuleFires("no_lost_arrivals"), CheckFails("completeness"))),
    PlanItem("loses_one_key", defects.LosesOneKeyAtNight, (RuleFires("no_lost_keys"),)),
    PlanItem(
        "duplicates_one", defects.DuplicatesOne, (RuleFires("no_duplicates"), CheckFails("table planted"))
    ),
    PlanItem("invents_one", defects.InventsOne, (RuleFires("no_phantoms"),)),
    PlanItem(
        "half_a_partition",
        defects.ShowsHalfAPartition,
        (RuleFires("no_lost_keys"), CheckFails("table and ledger")),
    ),
    PlanItem("announces_early", defects.AnnouncesBeforeTheWrite, (RuleFires("announced_is_readable"),)),
    PlanItem("blocks_generator", defects.BlocksTheGenerator, (RuleFires("generator_on_time"),)),
    PlanItem("stamps_backwards", defects.StampsBackwards, (RuleFires("clocks_run_forward"),)),
    PlanItem("cannot_keep_up", defects.CannotKeepUp, (RuleFires("load_was_sustained"),)),
    PlanItem(
        "stops_2s",
        partial(defects.Stops, **STOP),
        (TailOfStop(SingleServerArm.service_seconds, **STOP),),
        day_seconds=6.0,
    ),
    PlanItem(
        "stale_vector",
        defects.ServesAStaleVector,
        (RuleFires("arms_agree"), CheckFails("agreement")),
        paired=True,
    ),
    PlanItem("dead_letter_in_one", defects.DeadLettersOne, (RuleFires("same_verdicts"),), paired=True),
    PlanItem(
        "slow_inference",
        partial(defects.Slowed, Stage.INFERENCE, SLOW_IMAGE_SECONDS),
        (SlowerBy(Stage.INFERENCE, SLOW_IMAGE_SECONDS),),
        paired=True,
    ),
    PlanItem(
        "slow_write",
        partial(defects.Slowed, Stage.WRITE, SLOW_IMAGE_SECONDS),
        (SlowerBy(Stage.WRITE, SLOW_IMAGE_SECONDS),),
        paired=True,
    ),
    PlanItem(
        "slow_transform",
        partial(defects.Slowed, "reference.transform", SLOW_NIGHT_SECONDS),
        (SlowerBy("reference.transform", SLOW_NIGHT_SECONDS),),
        paired=True,
        days=6,
        day_seconds=0.5,
    ),
)
