"""The four architectures a projection compares, as the parts they have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Architecture(StrEnum):
    """What can be built."""

    LAMBDA = "lambda"
    LAMBDA_NIGHTLY = "lambda-nightly-only"
    LAMBDA_ONLINE = "lambda-online-only"
    KAPPA = "kappa"

    @property
    def parts(self) -> Parts:
        """Which paths it has."""
        return _PARTS[self]


@dataclass(frozen=True, slots=True)
class Parts:
    """Paths of an architecture; each path with devices has its own pool."""

    label: str
    live_pool: str  # pool that serves live traffic: online, stream, or none
    nightly: bool  # recomputes the day's delta on a pool that is spun up
    dump: bool  # a table from the store, without devices

    @property
    def table(self) -> bool:
        """Whether batch consumers get a Hive table."""
        return self.nightly or self.dump


_PARTS = {
    Architecture.LAMBDA: Parts("Lambda, both paths", "online", nightly=True, dump=False),
    Architecture.LAMBDA_NIGHTLY: Parts("Lambda, nightly only", "", nightly=True, dump=False),
    Architecture.LAMBDA_ONLINE: Parts("Lambda, online only", "online", nightly=False, dump=False),
    Architecture.KAPPA: Parts("Kappa", "stream", nightly=False, dump=True),
}
