"""The rules of YOLO."""

from typing import Final

from tasks.rules._rule import SET_ASIDE, Rule

RULES: Final[dict[str, Rule]] = {
    "yolo.columns": Rule(
        "error", "class x y width height, or class and at least three points", f"export the label again; {SET_ASIDE}"
    ),
    "yolo.polygon_odd": Rule("error", "an x and a y for each point", f"export the label again; {SET_ASIDE}"),
    "yolo.class_id": Rule("error", "the id of a class", f"correct the label or the list of names; {SET_ASIDE}"),
    "yolo.not_a_number": Rule("error", "a finite number", f"correct the value; {SET_ASIDE}"),
    "yolo.not_normalised": Rule(
        "error", "a share of the image's side, 0..1", f"divide pixels by the image's width and height; {SET_ASIDE}"
    ),
    "yolo.unreadable": Rule("error", "a label in UTF-8 text of at most 4 MiB", f"save it as UTF-8 again; {SET_ASIDE}"),
    "yolo.mixed": Rule(
        "warning",
        "boxes alone or polygons alone",
        "nothing to detect: a polygon's bounds are its box; for masks, outline the objects that have only boxes",
    ),
    "yolo.label_missing": Rule(
        "warning",
        "a label file for each image, empty where there is nothing",
        "nothing, if they show only background, as which they are read; else label or delete them",
    ),
    "yolo.yaml": Rule(
        "error", "small, plain YAML without aliases and keys given twice", "correct it, or delete it and write classes.txt"
    ),
    "yolo.names": Rule(
        "error",
        "one name for each class id from 0, each once, and nc as many as names",
        "correct the names: ids stand for other classes otherwise",
    ),
    "yolo.no_names": Rule("warning", "the names of the classes", "write them into data.yaml or classes.txt; ids are names now"),
    "yolo.path_outside": Rule(
        "warning",
        "a path below the dataset's folder",
        "make it relative to data.yaml; nothing is read there, and folders' names tell the splits",
        leaves_out=True,
    ),
    "yolo.path_missing": Rule(
        "warning", "a folder of images or a list of them (*.txt)", "correct or remove the entry; folders' names tell the splits"
    ),
    "yolo.split_overlap": Rule(
        "warning",
        "other images in each split",
        "name different folders; the nearest folder's split is taken, the first of train, val, test for the same",
    ),
    "yolo.download": Rule("info", "no download", "nothing: it is never run"),
    "yolo.keypoints": Rule(
        "warning", "boxes or polygons", "nothing, if keypoints are not needed: their boxes alone are read", leaves_out=True
    ),
}
