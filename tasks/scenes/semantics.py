"""What a pixel shows, where it shows no vehicle."""

from typing import Final

SCENERY: Final = ("sky", "building", "road", "sidewalk", "vegetation", "terrain", "object", "person")
SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, TERRAIN, OBJECT, PERSON = range(len(SCENERY))
