"""The rules of masks of classes."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

RULES: Final[dict[str, Rule]] = {
    "mask.unreadable": Rule("error", "a whole PNG", f"export the mask again; {SET_ASIDE}"),
    "mask.lossy": Rule(
        "error", "a PNG", f"export the masks as PNG: JPEG changes values, and to convert it brings none back; {SET_ASIDE}"
    ),
    "mask.size": Rule("error", "the image's own size", f"the mask is of another image or scale: export it again; {SET_ASIDE}"),
    "mask.kind": Rule(
        "error",
        "indices of 8 bits in all masks, or in all of them colours that a class file names",
        "add the class file (classes.txt, label_colors.txt, class_dict.csv or labelmap.csv), or export the mask again; "
        + SET_ASIDE,
    ),
    "mask.undeclared": Rule(
        "error",
        "values of the class file, and 255 for void",
        f"add the class to the class file, or correct the mask; {SET_ASIDE}",
    ),
    "mask.uniform": Rule("info", "two classes in a mask", "nothing, if the image is meant to show one alone"),
    "mask.oriented": Rule(
        "warning", "an image without EXIF orientation", "look at it: it is turned with the image where it has the stored size"
    ),
    "mask.no_class_file": Rule(
        "warning", "a class file", "nothing: these are the classes; name them in classes.txt, one a line, index 0 first"
    ),
    "mask.class_file": Rule("error", "a class a line, each name and value once, at most 255", "correct the class file"),
    "mask.class_absent": Rule("warning", "every class in a mask", "correct the class file, or add images of this class"),
    "mask.one_class": Rule("error", "at least two classes", "add the other classes, e.g. background, to masks and class file"),
}
