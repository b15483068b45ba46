"""A comparison in words: the same ones in the terminal, in Markdown and in JUnit."""

from __future__ import annotations

from bench.compare.comparison import Comparison, MetricComparison, Verdict
from bench.durations import duration_text
from bench.metrics import Unit
from bench.money import usd_text

HEADLINES = (
    "online.p50_seconds",
    "online.p95_seconds",
    "online.p99_seconds",
    "batch.p50_seconds",
    "batch.max_seconds",
    "allocated_hours",
    "busy_hours",
    "sustained_per_second",
    "inferences",
    "agreement",
)  # shown even where there is nothing to say about them
INSIGNIFICANT = "~"


def value_text(value: float | None, unit: Unit) -> str:
    """A value with its unit: ``12.3 ms``, ``0.0444 h (160 s)``, ``1,234``."""
    if value is None:
        return "not measured"
    if unit is Unit.SECONDS:
        return duration_text(value)
    if unit is Unit.HOURS:
        return f"{value:.3g} h ({duration_text(value * 3600)})"
    if unit is Unit.PER_SECOND:
        return f"{value:.4g} images/s"
    if unit is Unit.RATIO:
        return f"{value:.7g}"
    if unit is Unit.SECONDS_PER_IMAGE:
        return f"{duration_text(value)} per image"
    if unit is Unit.PER_IMAGE:
        return f"{value:.4g} per image"
    if unit is Unit.BYTES:
        return f"{value:,.0f} B"
    if unit is Unit.USD:
        return usd_text(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def change_text(metric: MetricComparison) -> str:
    """``+10.2 % [+8.1, +12.4]``: the change with its 95 % bootstrap interval, ``~`` where it may be none."""
    if metric.base is None or metric.head is None or metric.verdict is Verdict.NOT_MEASURED:
        return ""
    if metric.effect is None:
        if metric.base == metric.head:
            return "="
        return f"{metric.head - metric.base:+,.4g}"
    text = f"{100 * (metric.effect.ratio - 1):+.1f} %"
    if metric.effect.interval is not None:
        low, high = (100 * (bound - 1) for bound in metric.effect.interval)
        text += f" [{low:+.1f}, {high:+.1f}]"
    return text if metric.is_significant else f"{INSIGNIFICANT} {text}"


def confidence_text(metric: MetricComparison) -> str:
    """p value and noise floor."""
    if metric.effect is None or metric.effect.p_value is None:
        return ""
    floor = "" if metric.noise_floor is None else f", noise {100 * metric.noise_floor:.1f} %"
    return f"p {metric.effect.p_value:.2g}{floor}"


def verdict_text(metric: MetricComparison) -> str:
    """``worse``, ``same within 4 %``, ``not decidable: 3 more replicates a side``, with the reason."""
    if metric.verdict is Verdict.SAME and metric.within is not None:
        return f"same within {100 * metric.within:.2g} %" if metric.within else "same"
    if metric.verdict is Verdict.SAME:
        return "same: the ranges overlap"
    if metric.verdict is Verdict.NOT_DECIDABLE:
        text = "not decidable"
        if metric.more_replicates is not None:
            text += f": {metric.more_replicates} more replicates a side"
        return f"{text} ({metric.reason})" if metric.reason else text
    return f"{metric.verdict}: {metric.reason}" if metric.reason else str(metric.verdict)


def shown_metrics(comparison: Comparison, *, is_complete: bool) -> list[MetricComparison]:
    """The metrics to show: what changed and the headlines, or all that either side has."""
    metrics = comparison.metrics.values()
    if is_complete:
        return list(metrics)
    return [
        m for m in metrics if m.is_significant or (_is_headline(m) and m.verdict is not Verdict.NOT_MEASURED)
    ]


def hidden_text(comparison: Comparison, shown: list[MetricComparison]) -> str:
    """What is said of the metrics that are not shown."""
    names = {metric.id for metric in shown}
    counts: dict[str, int] = {}
    for metric in comparison.metrics.values():
        if metric.id not in names:
            counts[str(metric.verdict)] = counts.get(str(metric.verdict), 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def chance_text(comparison: Comparison) -> str:
    """How many of the metrics that were tested would differ by chance alone."""
    tested = sum(
        1 for m in comparison.metrics.values() if m.effect is not None and m.effect.p_value is not None
    )
    if not tested:
        return "No metric that varies was tested: that takes 4 replicates on each side."
    return (
        f"{tested} metrics were tested, each with a 5 % risk of a false alarm: up to {0.05 * tested:.0f} of "
        "them would differ by chance alone. Gate on the few that matter."
    )


def _is_headline(metric: MetricComparison) -> bool:
    of_arm = metric.id.partition(".")[2]
    return of_arm in HEADLINES or metric.id in HEADLINES
