"""The rules of Pascal VOC."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

RULES: Final[dict[str, Rule]] = {
    "xml.malformed": Rule("error", "well-formed XML", f"repair or export the annotation again; {SET_ASIDE}"),
    "xml.dtd": Rule(
        "error", "XML without DOCTYPE and entities", f"remove them: they can read files and never end; {SET_ASIDE}"
    ),
    "voc.part_missing": Rule("error", "every part of a VOC annotation", f"export the annotation again; {SET_ASIDE}"),
    "voc.not_a_number": Rule("error", "a finite number", f"correct the value; {SET_ASIDE}"),
    "voc.filename": Rule("warning", "the name of the image", "nothing: the image of the annotation's own name is taken"),
    "voc.instances": Rule(
        "warning",
        "one number for each object, in the order of the XML, where its box is",
        "nothing: the masks of this image's objects are left out, its boxes are kept; export SegmentationObject again",
        leaves_out=True,
    ),
    "voc.semantic": Rule(
        "info",
        "labels of objects, or masks of classes",
        "nothing, if objects are meant: SegmentationClass is not used; dataset.format=masks (--format masks) reads it instead",
        leaves_out=True,
    ),
    "voc.origin": Rule(
        "warning",
        "coordinates from 1, as the kit has them",
        "see whether the tool counts from 0: then set dataset.voc_origin=0 (--voc-origin 0), all boxes are a pixel off "
        "otherwise; if not, nothing: the copy is clipped",
    ),
    "voc.annotated_twice": Rule(
        "error", "one annotation for each image", f"delete one of the two files: only the first one is read; {SET_ASIDE}"
    ),
    "voc.polygon": Rule("error", "x and y of at least three points", f"correct or delete the polygon; {SET_ASIDE}"),
    "voc.orientation": Rule(
        "error", "the size of the upright image", f"turn the images upright and see that the boxes fit; {SET_ASIDE}"
    ),
}
