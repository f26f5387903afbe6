"""The rules of class folders."""

from typing import Final

from tasks.rules._rule import Rule

RULES: Final[dict[str, Rule]] = {
    "class.empty_folder": Rule(
        "warning", "images in a class folder", "add images, or delete the folder; it is no class", leaves_out=True
    ),
    "class.nested": Rule(
        "warning", "the images of a class right in its folder", "nothing, if the uppermost folder is the class; else move it up"
    ),
    "class.outside": Rule(
        "warning",
        "each image in the folder of its class",
        "move it into the folder of its class; it is not used",
        leaves_out=True,
    ),
    "class.split_folder": Rule(
        "error", "split folders alone, or class folders alone", "move the class folders into split folders, all of them"
    ),
    "class.too_few": Rule("error", "at least two classes", "sort the images into one folder a class"),
}
