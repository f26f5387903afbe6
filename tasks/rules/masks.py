"""The rules of masks of classes."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

MOST_UNNAMED: Final = 64
"""Values that are taken for classes without a class file: Cityscapes has 34 and PASCAL-Context 60. Larger sets, as ADE20K with
150, come with a list of names to write one from; interpolation spreads the two values of binary masks over most of 0-255."""
_DECLARE_255: Final = "if 255 is a class, give every class its value in the class file, e.g. lines background,0 and object,255"
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
        "warning",
        "a class file",
        f"nothing: these are the classes; name them in classes.txt, one a line, index 0 first; {_DECLARE_255}",
    ),
    "mask.many_values": Rule(
        "error",
        f"a class file, or at most {MOST_UNNAMED} values in all masks",
        "if the masks were resized with interpolation or saved lossily, export them again with nearest neighbour as PNG; "
        "if these are the classes, write a class file",
    ),
    "mask.class_file": Rule("error", "a class a line, each name and value once, at most 255", "correct the class file"),
    "mask.class_absent": Rule(
        "warning", "every class in a mask", f"correct the class file, or add images of this class; {_DECLARE_255}"
    ),
    "mask.one_class": Rule(
        "error",
        "at least two classes in the masks",
        f"add the other classes, e.g. background, to masks and class file; {_DECLARE_255}",
    ),
}
