"""The classes of vehicles."""

from collections.abc import Callable

from numpy.random import Generator

from tasks.scenes.buses import bus
from tasks.scenes.cars import car
from tasks.scenes.trucks import truck
from tasks.scenes.two_wheelers import two_wheeler
from tasks.scenes.vehicle import Vehicle

KINDS: dict[str, Callable[[Generator, bool], Vehicle]] = {"car": car, "truck": truck, "bus": bus, "two_wheeler": two_wheeler}
"""How each class is drawn, from a random generator and whether its lamps are lit."""
