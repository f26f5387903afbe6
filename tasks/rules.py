"""What a dataset must hold to: each rule with its severity, what it expects, and the remedy.

An `error` means that labels or measurements cannot be trusted as they are. What `transform` repairs in its copy is a
`warning`: published datasets are full of it.
"""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Rule:
    """One rule."""

    severity: Literal["error", "warning", "info"]
    expected: str
    remedy: str


EDGE_PX: Final = 2.0  # a box may leave the image by so much, or by EDGE_SHARE of the image's side, and is clipped
EDGE_SHARE: Final = 0.02
TINY_PX: Final = 2.0  # an object with a shorter side is left out
FEW: Final = 10  # objects of a class
SET_ASIDE: Final = "set it aside with validate.on_error=quarantine"
RULES: Final[dict[str, Rule]] = {
    # Files
    "image.missing": Rule("error", "the image of this annotation", f"add the image or delete the annotation, or {SET_ASIDE}"),
    "image.empty": Rule("error", "an image", f"copy the file again, or {SET_ASIDE}"),
    "image.unreadable": Rule(
        "error", "a whole image (JPEG, PNG, WebP, BMP, TIFF, GIF)", f"copy the file again, or {SET_ASIDE}"
    ),
    "image.too_large": Rule(
        "error", "at most validate.max_pixels", f"reduce the image, raise validate.max_pixels, or {SET_ASIDE}"
    ),
    "image.ambiguous": Rule("error", "one image of this name", "rename one: the name without its suffix must be unique"),
    "image.duplicate": Rule("warning", "each image once", "delete one of them; copies are kept in one split"),
    "image.oriented": Rule("info", "upright pixels", "nothing: the copy is turned upright"),
    "annotation.missing": Rule(
        "warning", "an annotation for each image", "annotate the image (an empty annotation is one); it is not used"
    ),
    "xml.malformed": Rule("error", "well-formed XML", f"repair or export the annotation again, or {SET_ASIDE}"),
    "xml.dtd": Rule(
        "error", "XML without DOCTYPE and entities", f"remove them: they can read files and never end; or {SET_ASIDE}"
    ),
    "voc.part_missing": Rule("error", "every part of a VOC annotation", f"export the annotation again, or {SET_ASIDE}"),
    "voc.not_a_number": Rule("error", "a finite number", f"correct the value, or {SET_ASIDE}"),
    "voc.filename": Rule("warning", "the name of the image", "nothing: the image of the annotation's own name is taken"),
    "size.mismatch": Rule(
        "error", "the image's own size", f"the boxes are of another image or scale: export again, or {SET_ASIDE}"
    ),
    "size.missing": Rule("warning", "the image's size", "nothing: the image's own size is taken"),
    # Boxes
    "box.inverted": Rule("error", "a box of positive width and height", f"swap or correct its corners, or {SET_ASIDE}"),
    "box.out_of_bounds": Rule(
        "error", "a box inside the image", f"the box is of another image or scale: correct it, or {SET_ASIDE}"
    ),
    "box.edge": Rule("warning", "a box inside the image", "nothing: the copy is clipped to the image"),
    "box.tiny": Rule(
        "warning",
        f"at least {TINY_PX:g} pixels on each side",
        "nothing: it is left out of the copy; correct or delete it",
    ),
    "object.duplicate": Rule("warning", "each object once", "nothing: one is left out of the copy"),
    "object.none": Rule("info", "an object", "nothing, if the image is meant to show only background"),
    # The dataset
    "dataset.empty": Rule("error", "labelled images", "give the dataset images with annotations"),
    "class.few": Rule("warning", f"at least {FEW} objects", "collect more of this class, or leave it out"),
    "class.too_few": Rule("error", "at least two classes", "sort the images into one folder a class"),
    "class.conflict": Rule("error", "one class for one image", f"keep one: the same pixels lie in two folders; or {SET_ASIDE}"),
    "split.unknown_image": Rule("warning", "the name of an image", "correct the split file; the entry is not used"),
    "split.twice": Rule("error", "each image in one split", f"correct the split files, or {SET_ASIDE}"),
    "split.unlisted": Rule("info", "every image in a split", "nothing: with the dataset's own splits it is not used"),
    "split.leak": Rule("error", "the same image in one split", f"delete the copy, or {SET_ASIDE}"),
}
