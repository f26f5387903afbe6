"""The rules of COCO JSON."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

RULES: Final[dict[str, Rule]] = {
    "json.malformed": Rule("error", "well-formed JSON in UTF-8", "repair or export the file again"),
    "json.too_large": Rule("error", "a file that memory holds", "split the dataset into several files"),
    "json.too_deep": Rule("error", "brackets that nest a few levels", "export the file again"),
    "json.duplicate_key": Rule("error", "each key of an object once", f"delete one of the two values; {SET_ASIDE}"),
    "json.not_finite": Rule("warning", "finite numbers: JSON has no others", "export again; in a label it is an error too"),
    "coco.part_missing": Rule("error", "every part of a COCO annotation", f"export the file again; {SET_ASIDE}"),
    "coco.type": Rule("error", "a value of COCO's type: iscrowd 0 or 1, polygons or RLE", f"correct the value; {SET_ASIDE}"),
    "coco.duplicate_id": Rule("error", "each id once", f"give each its own id; {SET_ASIDE}"),
    "coco.duplicate_file": Rule(
        "error", "each image file once", f"join the two entries, and give the annotations their id; {SET_ASIDE}"
    ),
    "coco.duplicate_category": Rule("error", "each name once", "join the categories, or give each its own name"),
    "coco.category_order": Rule(
        "warning", "the same category ids in all files", "nothing: names are taken; export all splits together"
    ),
    "coco.category_unused": Rule(
        "info", "annotations of each category", "nothing, if none is meant; a group of other categories is left out"
    ),
    "coco.id_gap": Rule("info", "category ids without gaps", "nothing: classes are numbered anew in the order of their ids"),
    "coco.annotation_id": Rule(
        "warning", "each annotation id once", "nothing: both are read; if files were joined, number the annotations anew"
    ),
    "coco.dangling_image": Rule(
        "error", "the id of an image", f"add the image to images or delete the annotation; {SET_ASIDE}"
    ),
    "coco.dangling_category": Rule("error", "the id of a category", f"add the category or correct the annotation; {SET_ASIDE}"),
    "coco.box": Rule("error", "[x, y, width, height], four finite numbers", f"correct the box; {SET_ASIDE}"),
    "coco.polygon": Rule(
        "error", "x, y of at least three points, finite numbers", f"correct or delete the polygon; {SET_ASIDE}"
    ),
    "coco.rle_size": Rule(
        "error", "the image's [height, width]", f"the mask is of another image or scale: export again; {SET_ASIDE}"
    ),
    "coco.rle": Rule("error", "a run-length code of all the image's pixels", f"export the mask again; {SET_ASIDE}"),
    "coco.area": Rule(
        "warning", "the area of the segmentation, or of the box without one", "nothing: the area is not used; export again"
    ),
    "coco.filename": Rule(
        "error", "a path inside the dataset, with /", f"write it relative to the images' folder; {SET_ASIDE}"
    ),
    "coco.orientation": Rule(
        "error", "the size of the upright image", f"turn the images upright and see that the boxes fit; {SET_ASIDE}"
    ),
}
