"""The scalar metrics of a result: what each means, and its value in a run and in every replicate.

Everything that prints, exports, compares or gates figures reads them from here, so that a metric has one
name, one unit and one definition.
"""

from bench.metrics.definition import Definition, Direction, Noise, Unit
from bench.metrics.measure import Measurement, measure
from bench.metrics.readers import Reading
from bench.metrics.registry import DEFINITIONS

__all__ = ["DEFINITIONS", "Definition", "Direction", "Measurement", "Noise", "Reading", "Unit", "measure"]
