"""Two-wheelers: motorcycle, scooter and bicycle, with their riders."""

import math

from numpy.random import Generator

from tasks.scenes.camera import Hull, Point, Shape, Stroke
from tasks.scenes.palette import BUS_PAINTS, DARK, GLASS, LAMP, METAL, PAINTS, RUBBER, SKIN, darker, pick
from tasks.scenes.solids import ANGLES, Solid, ball, block
from tasks.scenes.vehicle import Vehicle, Wheel, tail_lamps


def two_wheeler(rng: Generator, lit: bool) -> Vehicle:
    """A motorcycle, a scooter or a bicycle, with its rider."""
    kind = ("motorcycle", "scooter", "bicycle")[int(rng.integers(3))]
    length = {"motorcycle": 2.1, "scooter": 1.8, "bicycle": 1.75}[kind] * rng.uniform(0.95, 1.05)
    radius = {"motorcycle": 0.33, "scooter": 0.25, "bicycle": 0.35}[kind]
    paint, jacket = pick(rng, PAINTS), pick(rng, [*PAINTS, *BUS_PAINTS])
    trousers = pick(rng, [(40, 44, 60), (30, 30, 34), (92, 84, 70)])
    helmet = (
        pick(rng, [*BUS_PAINTS, (30, 30, 34), (236, 236, 236)])
        if kind != "bicycle" or rng.random() < 0.6
        else (60.0, 44.0, 34.0)
    )
    axle = length / 2 - radius
    seat = {"motorcycle": 0.82, "scooter": 0.78, "bicycle": 0.95}[kind]
    tall = rng.uniform(0.94, 1.06)
    parts: list[Solid] = []
    if kind == "motorcycle":
        outline = [(-0.45 * length, 0.62), (-0.46 * length, 0.88), (-0.1, 0.80), (0.0, 1.0), (0.32, 1.02), (0.55, 0.8),
                   (0.3, 0.30), (-0.3, 0.30)]  # fmt: skip
        parts.append(Solid(outline, [paint] * 7, paint, 0.17, panels=[
            ([(-0.28, 0.32), (-0.2, 0.66), (0.25, 0.66), (0.3, 0.34)], DARK, 0.0),
            ([(-0.7, 0.36), (-0.7, 0.48), (0.05, 0.44), (0.05, 0.36)], METAL, 0.0)],
            decals=[*tail_lamps(0, lit, (0.4, 1.0))]))  # fmt: skip
    elif kind == "scooter":
        outline = [(-0.48 * length, 0.45), (-0.47 * length, 0.76), (0.02, 0.76), (0.06, 0.34), (-0.3, 0.30)]
        parts.append(Solid(outline, [paint] * 4, paint, 0.2, decals=tail_lamps(0, lit, (0.4, 0.9))))
        parts.append(block(0.0, 0.5, 0.26, 0.36, 0.2, darker(paint, 0.8)))
        parts.append(Solid([(0.42, 0.34), (0.50, 1.0), (0.60, 0.98), (0.66, 0.34)], [DARK, paint, paint], paint, 0.21))

    def rider(eye: Point) -> list[Shape]:
        near = math.copysign(1.0, eye[1])
        hip, shoulder = (-0.22, seat + 0.08), (0.08 if kind != "scooter" else -0.1, seat + 0.62 * tall)
        bar = (0.46 if kind != "scooter" else 0.44, 1.08)
        shapes: list[Shape] = []
        frame = paint if kind == "bicycle" else METAL
        thick = 0.05 if kind == "bicycle" else 0.09
        shapes.append(Stroke([(axle, 0, radius), (bar[0], 0, bar[1])], frame, thick))
        shapes.append(Stroke([(bar[0], -0.33, bar[1]), (bar[0], 0.33, bar[1])], DARK, 0.05))
        if kind == "bicycle":
            crank = (-0.05, 0.30)
            for chain in (
                [(-axle, radius), crank, (bar[0] - 0.06, 0.9), (-0.22, 0.86), crank],
                [(-axle, radius), (-0.22, 0.86), (-0.24, seat)],
            ):
                shapes.append(Stroke([(x, 0, z) for x, z in chain], frame, thick))
        elif eye[0] > 0:
            lamp = [(axle + 0.02, 0.11 * math.cos(a), 0.92 + 0.1 * math.sin(a)) for a in ANGLES]
            shapes.append(Hull(lamp, LAMP, 1.0 if lit else 0.4))
        foot = (0.05, 0.32)
        knee = (0.22, seat - 0.18)

        def limb(side: float) -> list[Shape]:
            leg = Stroke(
                [(hip[0], side * 0.12, hip[1]), (knee[0], side * 0.2, knee[1]), (foot[0], side * 0.18, foot[1])], trousers, 0.17
            )
            shoe = Stroke([(foot[0] - 0.04, side * 0.18, foot[1]), (foot[0] + 0.16, side * 0.18, foot[1] - 0.03)], RUBBER, 0.1)
            elbow = ((shoulder[0] + bar[0]) / 2 - 0.05, side * 0.32, (shoulder[1] + bar[1]) / 2 - 0.1)
            arm = Stroke([(shoulder[0], side * 0.22, shoulder[1] - 0.05), elbow, (bar[0], side * 0.31, bar[1])], jacket, 0.12)
            return [leg, shoe, arm]

        shapes += limb(-near)
        torso = [(x, y * w, z) for x, z, w in ((hip[0] - 0.12, hip[1], 0.17), (hip[0] + 0.14, hip[1], 0.17),
                 (shoulder[0] + 0.1, shoulder[1] - 0.1, 0.22), (shoulder[0] + 0.02, shoulder[1] + 0.03, 0.16),
                 (shoulder[0] - 0.16, shoulder[1] - 0.1, 0.22)) for y in (-1, 1)]  # fmt: skip
        shapes.append(Hull(torso, jacket))
        if has_pack:
            pack = [(shoulder[0] - 0.3, y, z) for y in (-0.15, 0.15) for z in (hip[1] + 0.1, shoulder[1])]
            pack += [(shoulder[0] - 0.12, y, shoulder[1]) for y in (-0.15, 0.15)]
            shapes.append(Hull(pack, darker(trousers, 0.8)))
        head = (shoulder[0] + 0.06, shoulder[1] + 0.18)
        shapes.append(Hull(ball(head[0], head[1] - 0.02, 0.105), SKIN))
        shapes.append(Hull([point for point in ball(head[0], head[1] + 0.02, 0.14) if point[2] > head[1] - 0.05], helmet))
        if kind != "bicycle" and eye[0] > 0:
            visor = [(head[0] + 0.135, y, z) for y in (-0.09, 0.09) for z in (head[1] - 0.02, head[1] + 0.06)]
            shapes.append(Hull(visor, GLASS))
        shapes += limb(near)
        return shapes

    has_pack = bool(rng.random() < 0.35)
    width = 0.16 if kind != "bicycle" else 0.06
    wheels = [Wheel(x, width / 2, radius, width, METAL if kind != "bicycle" else (120, 122, 126)) for x in (-axle, axle)]
    height = seat + 0.62 * tall + 0.32
    return Vehicle("two_wheeler", length, 0.7, height, parts, wheels, rider, [(axle, 0.0, 0.92)])
