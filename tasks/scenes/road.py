"""A road and its own coordinates."""

import math
from dataclasses import dataclass

from tasks.scenes.camera import Colour, Point


@dataclass(frozen=True)
class Road:
    """A straight road on the ground.

    Attributes:
        origin: A point of its middle line, world x and y, metres.
        heading: Direction of its middle line, radians from the world's x axis.
        lanes: Number of lanes, the first half of which runs against the heading, on the left.
        lane_m: Width of a lane.
        pavement_m: Width of the pavements beside it.
        marks: Colour of the middle line.
    """

    origin: tuple[float, float]
    heading: float
    lanes: int
    lane_m: float
    pavement_m: float
    marks: Colour

    @property
    def half(self) -> float:
        """Half its width without the pavements, metres."""
        return self.lanes * self.lane_m / 2

    def at(self, along: float, across: float, height: float = 0.0) -> Point:
        """The world point at this distance along the middle line and to the left of it."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return (self.origin[0] + along * cos - across * sin, self.origin[1] + along * sin + across * cos, height)

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """A world point's distance along the middle line and to the left of it."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        dx, dy = x - self.origin[0], y - self.origin[1]
        return (dx * cos + dy * sin, -dx * sin + dy * cos)

    def strip(self, start: float, end: float, right: float, left: float) -> list[Point]:
        """A rectangle of the ground, in road coordinates."""
        return [self.at(start, right), self.at(end, right), self.at(end, left), self.at(start, left)]
