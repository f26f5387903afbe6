"""Colours, RGB 0-255."""

from collections.abc import Sequence

from numpy.random import Generator

from tasks.scenes.camera import Colour

DARK: Colour = (40, 41, 45)
METAL: Colour = (150, 152, 156)
GLASS: Colour = (38, 48, 58)
RUBBER: Colour = (24, 24, 26)
LAMP: Colour = (255, 250, 225)
TAIL: Colour = (190, 20, 18)
PLATE: Colour = (236, 234, 215)
SKIN: Colour = (196, 148, 118)

PAINTS: tuple[Colour, ...] = (
    (226, 227, 229), (196, 199, 203), (120, 124, 130), (58, 62, 68), (34, 36, 42), (168, 28, 30), (122, 20, 28), (36, 72, 148),
    (60, 112, 176), (24, 52, 92), (40, 92, 62), (196, 168, 120), (214, 138, 36), (86, 64, 48), (150, 170, 160), (230, 200, 60),
)  # fmt: skip
BUS_PAINTS: tuple[Colour, ...] = (
    (206, 36, 34), (236, 176, 30), (34, 104, 182), (46, 140, 84), (232, 232, 226), (224, 110, 34), (120, 66, 140),
    (40, 150, 160),
)  # fmt: skip
CARGO_PAINTS: tuple[Colour, ...] = (
    (238, 238, 236), (224, 226, 228), (206, 210, 214), (44, 84, 150), (176, 44, 40), (60, 120, 84), (226, 186, 60),
    (120, 126, 132),
)  # fmt: skip
FACADES: tuple[Colour, ...] = (
    (196, 172, 142), (160, 92, 72), (204, 200, 190), (142, 146, 152), (184, 150, 110), (120, 112, 108), (214, 206, 178),
    (150, 124, 104), (110, 126, 140), (178, 120, 96),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = ((70, 108, 48), (54, 92, 44), (92, 120, 54), (110, 112, 50), (60, 100, 66), (150, 110, 44))
SIGNS: tuple[Colour, ...] = ((200, 30, 34), (30, 84, 176), (236, 190, 30), (40, 130, 70), (236, 236, 232))


def pick(rng: Generator, colours: Sequence[Colour]) -> Colour:
    """One of the colours, a little changed."""
    colour, gain = colours[int(rng.integers(len(colours)))], rng.uniform(0.88, 1.1)
    return tuple(min(255.0, max(0.0, c * gain + rng.uniform(-6, 6))) for c in colour)  # type: ignore[return-value]


def darker(colour: Colour, share: float) -> Colour:
    """This share of a colour's light."""
    return (colour[0] * share, colour[1] * share, colour[2] * share)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """A colour between two, at this share of the way from the first."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)
