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
FEW_IMAGES: Final = 5  # of a split
IMBALANCE: Final = 20.0  # objects of the most frequent class for one of the rarest; classes with FEW are told apart
SIDE_PX: Final = 16  # of an image
DARK: Final = 32.0  # no cell of a dark image is brighter, grey level
BRIGHT: Final = 235.0  # no cell of a bright image is darker
EVEN: Final = 2.0  # levels between the darkest and the lightest pixel of an image that shows nothing
# Beside the rest of the dataset, which must have so many images; a value is odd where it is further from the median than
# SPREADS times the distance between the quartiles (Tukey, Exploratory Data Analysis, 1977), and than the factor given.
ENOUGH: Final = 20
SPREADS: Final = 3.0
BLURRED: Final = 20.0
ODD_ASPECT: Final = 3.0
ODD_AREA: Final = 64.0
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
    "image.deep": Rule(
        "error", "values from 0 to 255", f"save it with 8 bits a channel: what is above 255 would turn white; or {SET_ASIDE}"
    ),
    "image.foreign": Rule("warning", "JPEG, PNG, WebP, BMP, TIFF or GIF", "save it as one of them; it is not used"),
    "image.suffix": Rule("warning", "the suffix of the file's format", "nothing: the bytes are what counts; rename the file"),
    "image.ambiguous": Rule("error", "one image of this name", "rename one: the name without its suffix must be unique"),
    "image.duplicate": Rule("warning", "each image once", "delete one of them; copies are kept in one split"),
    "image.copy": Rule("warning", "each picture once", "delete one of them; copies are kept in one split"),
    "image.near": Rule("info", "pictures that differ", "nothing: they are kept in one split"),
    "image.oriented": Rule("info", "upright pixels", "nothing: the copy is turned upright"),
    "image.animated": Rule("warning", "one picture", "save the pictures that are meant as files: only the first one is used"),
    "image.cmyk": Rule("warning", "RGB or grey", "save it as RGB: without its profile the colours are only nearly right"),
    "image.alpha": Rule("warning", "opaque pixels", "put it on a ground: what is behind the transparent pixels is shown"),
    "image.bits": Rule("info", "8 bits a channel", "nothing: the upper 8 bits are used"),
    "image.blank": Rule("warning", "a picture of something", "delete it, or label it as background if that is meant"),
    "image.dark": Rule("warning", "a picture that shows something", "delete it, or brighten it if that is how cameras see it"),
    "image.bright": Rule("warning", "a picture that shows something", "delete it, or darken it if that is how cameras see it"),
    "image.blurred": Rule("warning", "about as sharp as the others", "look at it; delete it if nobody could label it"),
    "image.tiny": Rule("warning", f"at least {SIDE_PX} pixels on each side", "look at it; take a larger picture or delete it"),
    "image.odd_size": Rule("warning", "about the size of the others", "look at it: it may be a thumbnail or another dataset's"),
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
    "class.imbalance": Rule(
        "warning",
        f"at most {IMBALANCE:g} times as many objects of one class as of another",
        "collect more of the rare class: a model hardly learns it",
    ),
    "class.similar": Rule("warning", "names that differ", "rename one, or merge them if one class is meant"),
    "class.empty_folder": Rule("warning", "images in a class folder", "add images, or delete the folder; it is no class"),
    "class.nested": Rule(
        "warning", "the images of a class right in its folder", "nothing, if the uppermost folder is the class; else move it up"
    ),
    "class.split_folder": Rule(
        "error", "split folders alone, or class folders alone", "move the class folders into split folders, all of them"
    ),
    "class.too_few": Rule("error", "at least two classes", "sort the images into one folder a class"),
    "class.conflict": Rule("error", "one class for one image", f"keep one: the same pixels lie in two folders; or {SET_ASIDE}"),
    "class.not_in_train": Rule("error", "each class in train", "move some of its images to train, or leave the class out"),
    "class.not_in_split": Rule("warning", "each class in each split", "move some of its images there: it is not measured"),
    "split.unknown_image": Rule("warning", "the name of an image", "correct the split file; the entry is not used"),
    "split.twice": Rule("error", "each image in one split", f"correct the split files, or {SET_ASIDE}"),
    "split.unlisted": Rule("info", "every image in a split", "nothing: with the dataset's own splits it is not used"),
    "split.leak": Rule("error", "the same image in one split", f"delete the copy, or {SET_ASIDE}"),
    "split.copy": Rule("error", "the same picture in one split", f"delete the copy that was saved again, or {SET_ASIDE}"),
    "split.near": Rule(
        "warning", "near duplicates in one split", "nothing: the copy keeps them in one, the first of test, val, train"
    ),
    "split.empty": Rule("info", "images in each split", "nothing: with transform.splits=auto the copy cuts it out of train"),
    "split.few": Rule("warning", f"at least {FEW_IMAGES} images in a split", "add images: what so few measure says little"),
    # YOLO
    "yolo.columns": Rule(
        "error", "class x y width height, or class and at least three points", f"export the label again, or {SET_ASIDE}"
    ),
    "yolo.polygon_odd": Rule("error", "an x and a y for each point", f"export the label again, or {SET_ASIDE}"),
    "yolo.class_id": Rule("error", "the id of a class", f"correct the label or the list of names, or {SET_ASIDE}"),
    "yolo.not_a_number": Rule("error", "a finite number", f"correct the value, or {SET_ASIDE}"),
    "yolo.not_normalised": Rule(
        "error", "a share of the image's side, 0..1", f"divide pixels by the image's width and height, or {SET_ASIDE}"
    ),
    "yolo.unreadable": Rule("error", "a label in UTF-8 text of at most 4 MiB", f"save it as UTF-8 again, or {SET_ASIDE}"),
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
    "yolo.keypoints": Rule("warning", "boxes or polygons", "nothing, if keypoints are not needed: their boxes alone are read"),
    # Masks
    "mask.unreadable": Rule("error", "a whole PNG", f"export the mask again, or {SET_ASIDE}"),
    "mask.lossy": Rule(
        "error", "a PNG", f"export the masks as PNG: JPEG changes values, and to convert it brings none back; or {SET_ASIDE}"
    ),
    "mask.size": Rule(
        "error", "the image's own size", f"the mask is of another image or scale: export it again, or {SET_ASIDE}"
    ),
    "mask.kind": Rule(
        "error",
        "indices of 8 bits in all masks, or in all of them colours that a class file names",
        "add the class file (classes.txt, label_colors.txt, class_dict.csv or labelmap.txt), export the mask again, or "
        + SET_ASIDE,
    ),
    "mask.undeclared": Rule(
        "error",
        "values of the class file, and 255 for void",
        f"add the class to the class file, correct the mask, or {SET_ASIDE}",
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
    "voc.instances": Rule(
        "warning",
        "one number for each object, in the order of the XML, where its box is",
        "nothing: the masks of this image's objects are left out, its boxes are kept; export SegmentationObject again",
    ),
    # COCO
    "json.malformed": Rule("error", "well-formed JSON in UTF-8", f"repair or export the file again, or {SET_ASIDE}"),
    "json.too_large": Rule("error", "a file that memory holds", f"split the dataset into several files, or {SET_ASIDE}"),
    "json.too_deep": Rule("error", "brackets that nest a few levels", f"export the file again, or {SET_ASIDE}"),
    "json.duplicate_key": Rule("error", "each key of an object once", f"delete one of the two values, or {SET_ASIDE}"),
    "json.not_finite": Rule("warning", "finite numbers: JSON has no others", "export again; in a label it is an error too"),
    "coco.part_missing": Rule("error", "every part of a COCO annotation", f"export the file again, or {SET_ASIDE}"),
    "coco.type": Rule("error", "a value of COCO's type: iscrowd 0 or 1, polygons or RLE", f"correct the value, or {SET_ASIDE}"),
    "coco.duplicate_id": Rule("error", "each id once", f"give each its own id, or {SET_ASIDE}"),
    "coco.duplicate_file": Rule(
        "error", "each image file once", f"join the two entries, and give the annotations their id; or {SET_ASIDE}"
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
        "error", "the id of an image", f"add the image to images or delete the annotation, or {SET_ASIDE}"
    ),
    "coco.dangling_category": Rule(
        "error", "the id of a category", f"add the category or correct the annotation, or {SET_ASIDE}"
    ),
    "coco.box": Rule("error", "[x, y, width, height], four finite numbers", f"correct the box, or {SET_ASIDE}"),
    "coco.polygon": Rule(
        "error", "x, y of at least three points, finite numbers", f"correct or delete the polygon, or {SET_ASIDE}"
    ),
    "coco.rle_size": Rule(
        "error", "the image's [height, width]", f"the mask is of another image or scale: export again, or {SET_ASIDE}"
    ),
    "coco.rle": Rule("error", "a run-length code of all the image's pixels", f"export the mask again, or {SET_ASIDE}"),
    "coco.area": Rule(
        "warning", "the area of the segmentation, or of the box without one", "nothing: the area is not used; export again"
    ),
    "coco.filename": Rule(
        "error", "a path inside the dataset, with /", f"write it relative to the images' folder, or {SET_ASIDE}"
    ),
    "coco.orientation": Rule(
        "error", "the size of the upright image", f"turn the images upright and see that the boxes fit, or {SET_ASIDE}"
    ),
    # VOC
    "voc.origin": Rule(
        "warning",
        "coordinates from 1, as the kit has them",
        "see whether the tool counts from 0: then set dataset.voc_origin=0 (--voc-origin 0), all boxes are a pixel off "
        "otherwise; if not, nothing: the copy is clipped",
    ),
    "voc.annotated_twice": Rule(
        "error", "one annotation for each image", f"delete one of the two files: only the first one is read; or {SET_ASIDE}"
    ),
    "voc.polygon": Rule("error", "x and y of at least three points", f"correct or delete the polygon, or {SET_ASIDE}"),
}
