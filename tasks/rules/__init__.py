"""What a dataset must hold to: each rule with its severity, what it expects, and the remedy.

An `error` means that labels or measurements cannot be trusted as they are. What `transform` repairs in its copy is a
`warning`: published datasets are full of it. The rules of one format stand in a file of its name.
"""

import importlib
from typing import Final

from tasks import variants
from tasks.rules._rule import SET_ASIDE, Rule

EDGE_PX: Final = 2.0  # a box may leave the image by so much, or by EDGE_SHARE of the image's side, and is clipped
EDGE_SHARE: Final = 0.02
TINY_PX: Final = 2.0  # an object with a shorter side is left out
SHAPE_PX: Final = 4.0  # a side of an outline may lie so far from its box: tools round, and outlines are drawn by hand
SHAPE_IOU: Final = 0.5  # and where it lies further, they overlap by so much
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
_SHARED: Final[dict[str, Rule]] = {
    # Files
    "image.missing": Rule("error", "the image of this annotation", f"add the image or delete the annotation; {SET_ASIDE}"),
    "image.empty": Rule("error", "an image", f"copy the file again; {SET_ASIDE}"),
    "image.unreadable": Rule("error", "a whole image (JPEG, PNG, WebP, BMP, TIFF, GIF)", f"copy the file again; {SET_ASIDE}"),
    "image.too_large": Rule(
        "error",
        "at most 50 million pixels, or validate.max_pixels in the pipeline",
        "reduce the image; in the pipeline, raise validate.max_pixels, or validate.on_error=quarantine sets it aside",
    ),
    "image.deep": Rule(
        "error", "values from 0 to 255", f"save it with 8 bits a channel: what is above 255 would turn white; {SET_ASIDE}"
    ),
    "image.foreign": Rule(
        "warning", "JPEG, PNG, WebP, BMP, TIFF or GIF", "save it as one of them; it is not used", leaves_out=True
    ),
    "image.suffix": Rule("warning", "the suffix of the file's format", "nothing: the bytes are what counts; rename the file"),
    "image.ambiguous": Rule("error", "one image of this name", "rename one: the name without its suffix must be unique"),
    "image.duplicate": Rule("warning", "each image once", "delete one of them; copies are kept in one split"),
    "image.copy": Rule(
        "warning", "each picture once", "delete one of them; copies are kept in one split, unless transform.keep_together=false"
    ),
    "image.near": Rule(
        "info", "pictures that differ", "nothing: they are kept in one split, unless transform.keep_together=false"
    ),
    "image.not_compared": Rule(
        "info",
        "pictures of 32 pixels on each side that show something",
        "see that none was changed a little in another split: too small or too plain, they are compared for equal pixels alone",
    ),
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
    "folder.linked": Rule(
        "warning", "a folder", "copy or move the folder there: what is behind a link is not read", leaves_out=True
    ),
    "annotation.missing": Rule(
        "warning",
        "an annotation for each image",
        "annotate the image (an empty annotation is one); it is not used",
        leaves_out=True,
    ),
    "size.mismatch": Rule(
        "error", "the image's own size", f"the boxes are of another image or scale: export again; {SET_ASIDE}"
    ),
    "size.missing": Rule("warning", "the image's size", "nothing: the image's own size is taken"),
    # Boxes
    "box.inverted": Rule("error", "a box of positive width and height", f"swap or correct its corners; {SET_ASIDE}"),
    "box.out_of_bounds": Rule(
        "error", "a box inside the image", f"the box is of another image or scale: correct it; {SET_ASIDE}"
    ),
    "box.edge": Rule("warning", "a box inside the image", "nothing: the copy is clipped to the image"),
    "box.tiny": Rule(
        "warning",
        f"at least {TINY_PX:g} pixels on each side",
        "nothing: it is left out of the copy; correct or delete it",
    ),
    "shape.box": Rule(
        "warning",
        "an outline that fills its box",
        "look at both: one of them may be of another image or scale; both are used as they are",
    ),
    "object.duplicate": Rule("warning", "each object once", "nothing: one is left out of the copy"),
    "object.none": Rule("info", "an object", "nothing, if the image is meant to show only background"),
    # The dataset
    "dataset.empty": Rule("error", "labelled images", "give the dataset images with annotations"),
    "class.few": Rule(
        "warning",
        f"at least {FEW} objects",
        "collect more of this class, or leave it out; dataset.classes (--classes) finds the labels of a misspelt one",
    ),
    "class.imbalance": Rule(
        "warning",
        f"at most {IMBALANCE:g} times as many objects of one class as of another",
        "collect more of the rare class: a model hardly learns it",
    ),
    "class.similar": Rule("warning", "names that differ", "rename one, or merge them if one class is meant"),
    "class.unknown": Rule(
        "error",
        "a class of dataset.classes",
        f"correct the label, or add the class to dataset.classes (--classes); {SET_ASIDE}",
    ),
    "class.conflict": Rule("error", "one label for one picture", f"keep the copy that is right; {SET_ASIDE}"),
    "label.conflict": Rule(
        "warning",
        "the same labels on each copy of a picture",
        "look at both: delete one, or correct its labels; both are used as they are",
    ),
    "class.not_in_train": Rule("error", "each class in train", "move some of its images to train, or leave the class out"),
    "class.not_in_split": Rule("warning", "each class in each split", "move some of its images there: it is not measured"),
    "split.unknown_image": Rule(
        "warning", "the name of an image", "correct the split file; the entry is not used", leaves_out=True
    ),
    "split.twice": Rule("error", "each image in one split", f"correct the split files; {SET_ASIDE}"),
    "split.unlisted": Rule(
        "info",
        "every image in a split",
        "nothing: it is not used where the dataset has train and another split, and drawn into one otherwise",
    ),
    "split.leak": Rule("error", "the same image in one split", f"delete the copy; {SET_ASIDE}"),
    "split.copy": Rule("error", "the same picture in one split", f"delete the copy that was saved again; {SET_ASIDE}"),
    "split.near": Rule(
        "warning",
        "near duplicates in one split",
        "nothing: with the dataset's own splits the copy keeps them in one, the first of test, val, train; with "
        "transform.keep_together=false it leaves them where they are",
    ),
    "split.moved": Rule(
        "warning",
        "half of a split's images, at least, to stay in it",
        "set transform.keep_together=false in the pipeline, as frames of one camera need it; the copy moves them otherwise",
    ),
    "split.empty": Rule(
        "info",
        "images in each split",
        "nothing: with transform.splits=auto the copy draws it from train, or where that is empty from images in no split; "
        "where there are none, add some, or set transform.splits=hash",
    ),
    "split.few": Rule("warning", f"at least {FEW_IMAGES} images in a split", "add images: what so few measure says little"),
}
_OF_FORMATS: Final = [importlib.import_module(f"tasks.rules.{name}").RULES for name in variants.names("rules")]
RULES: Final[dict[str, Rule]] = {code: rule for rules in (_SHARED, *_OF_FORMATS) for code, rule in rules.items()}
"""Every rule by its code."""
