from __future__ import annotations

from bench.profiles import PROFILES, announcement


def test_each_profile_says_what_it_can_and_can_not_decide() -> None:
    quick, standard = (" ".join(announcement(PROFILES[name], 2)) for name in ("quick", "standard"))
    assert "intervals of the batch consumer need 4 nights, this has 1" in quick
    assert "a comparison needs 4 replicates a side, this has 1" in quick
    assert "4 v 4 replicates can decide" in standard
    assert "p50, p90, p95, p99" in standard
