"""Kinds of faults of a data set in COCO format.

The docstring of check_dataset.py explains the levels.
"""

import reprlib
from typing import Any, Literal, NamedTuple

Finding = tuple[str, str]  # the kind of a fault, and its details

LABELS = dict(error='ERROR', warning='warning', note='note')

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


class Kind(NamedTuple):
    """A kind of fault: what MMDetection does about it, and the remedy."""

    level: Literal['error', 'warning', 'note']
    effect: str
    remedy: str = ''  # empty if none is needed


class Fault(NamedTuple):
    """A fault of an image, of an annotation, or of the whole JSON."""

    kind: str
    what: str
    file: str  # the image's, or the JSON's
    image: Any = None  # id
    annotation: Any = None  # id

    def __str__(self) -> str:
        place = [shown(self.file)]
        if self.image is not None:
            place.append(f'image {shown(self.image)}')
        if self.annotation is not None:
            place.append(f'annotation {shown(self.annotation)}')
        return f'{", ".join(place)}: {self.what}'


def shown(value: Any) -> str:
    """Format a value of an untrusted file: short, without control codes."""
    if isinstance(value, str) and value.isprintable() and len(value) < 200:
        return value
    return _brief.repr(value)


NEVER_FOUND = (
    "it is left out of training, but COCO's evaluation counts it as an object "
    'that is never found'
)
# The effect and the remedy of each kind, by level
ERRORS = {
    # the JSON
    'broken JSON': (
        'MMDetection cannot load the data set',
        'write or copy the file again',
    ),
    'wrong field': (
        'loading, training or testing stops with an error that does not name '
        'the field',
        'correct the field as described',
    ),
    'duplicate image id': (
        'only the last of these images is used, with the objects of all of '
        'them',
        'give every image its own id',
    ),
    'duplicate annotation id': (
        'loading stops, or the last of these annotations replaces the others',
        'give every annotation its own id',
    ),
    'duplicate category': (
        'objects get the labels of other classes',
        'keep one category per id and per name',
    ),
    'missing class': (
        'labels are numbered without this class, so they mean other classes',
        "set metainfo.classes to the JSON's categories (and num_classes to "
        'their number), or add the category to the JSON',
    ),
    'order of classes': (
        'objects get the names of other classes',
        "list metainfo.classes in the order of the JSON's categories",
    ),
    'num_classes': (
        'training stops or learns the wrong classes',
        'set num_classes of the head to the number of metainfo.classes',
    ),
    'other evaluation file': (
        'predictions are compared with the objects of another data set',
        "set the evaluator's ann_file to the ann_file of its data set",
    ),
    'nothing to learn': (
        'training runs, but its losses of boxes or of masks are 0',
        'correct iscrowd, area, bbox and segmentation of the objects',
    ),
    'image listed twice': (
        'each entry has only some of the objects, so the image teaches that '
        'the others are background',
        'give all annotations of the image to one entry, and delete the other',
    ),
    'box of another mask': (
        'boxes and masks contradict each other in training and evaluation',
        'write bbox as (x, y, width, height) in pixels, around its mask',
    ),
    'no usable image': (
        'loading stops',
        'correct the other faults; check ann_file and filter_cfg',
    ),
    # the images
    'path outside of the folder': (
        'such a JSON can make MMDetection read any file on this machine; '
        'these files were not opened',
        'move the images into the data folder, and name them by their paths '
        'in it',
    ),
    'missing image': (
        'training stops when it loads this image',
        'restore the file, or remove the image from the JSON',
    ),
    'unreadable image': (
        'training stops when it loads this image',
        'write the file again, remove the image from the JSON, or begin the '
        'pipeline with a step that loads it',
    ),
    'damaged image': (
        'OpenCV fills in the missing pixels, or training stops',
        'restore the file, or remove the image from the JSON',
    ),
    'image too large': (
        'decoding it takes gigabytes of memory, so it was not decoded',
        'cut it into tiles, or increase max_pixels of the data set',
    ),
    'wrong size': (
        'objects are trained and evaluated in the wrong places',
        'set width and height to those of the image as displayed (after EXIF '
        'rotation); rescale the annotations if they belong to another size',
    ),
    # the annotations
    'no mask': (
        'training stops when it loads this object, or learns an empty mask',
        'add a segmentation, or delete the annotation; to train and evaluate '
        'its box alone, use CheckedCocoDataset, SPRHead and CocoAPARMetric',
    ),
    'not a mask': (
        'training stops when it loads this object, or learns another mask',
        'write polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or an RLE',
    ),
    'mask of another size': (
        'training stops when it loads this object, or scrambles all masks of '
        'the image',
        "encode the mask at the image's height and width",
    ),
    'endless polygon': (
        'drawing it takes gigabytes of memory, so it was not drawn',
        'correct its coordinates, which are in pixels',
    ),
    'unusable in evaluation': (
        "COCO's evaluation stops, or reads the mask as something else",
        'write polygons of at least three points or an RLE, or delete the '
        'annotation',
    ),
    'box not finite': (
        'it is left out (NaN) or made as large as the image (infinity)',
        'correct or delete the annotation',
    ),
}
WARNINGS = {
    # the JSON
    'annotation of no image': (
        'it is ignored',
        'add its image to the JSON, or delete it',
    ),
    'annotation of no category': (
        'it is ignored',
        'add its category to the JSON, or delete it',
    ),
    'annotation id': (
        "COCO's evaluation takes the id 0, or one that is no number, for no "
        'match, so an object that is found counts as missed',
        'number annotations from 1, or evaluate with CocoAPARMetric, which '
        'does so',
    ),
    'category of no class': (
        'its objects are ignored',
        'to train it, add it to metainfo.classes and increase num_classes',
    ),
    'nothing to evaluate': (
        'the metrics of boxes or of masks are -1',
        'add annotations, or correct iscrowd, area, bbox and segmentation',
    ),
    'image of the training set': (
        'the model has learnt it, so the figures are better than those of '
        'new images',
        'take it out of one of the two sets',
    ),
    'area of something else': (
        "it moves the object to another size in COCO's evaluation",
        "let area be the mask's area in pixels",
    ),
    'object listed twice': (
        'it trains twice, and the evaluation expects it twice',
        'delete one of the two annotations',
    ),
    # the images
    'EXIF-rotated image': (
        'MMDetection rotates it as EXIF says before it uses the annotations',
        'view such an image with its annotations; if they do not match, '
        'store the image upright',
    ),
    'CMYK image': (
        'it is converted to RGB without its colour profile',
        'convert it to RGB yourself if its colours matter',
    ),
    '16-bit image': (
        'its values are divided by 256, so dark areas become black',
        'stretch its values to 8 bits yourself',
    ),
    'cut-off values': (
        'Pillow loads it with fractions dropped, and values above 255 as 255',
        'use imdecode_backend=cv2 and color_type=unchanged, or stretch its '
        'values to 8 bits yourself',
    ),
    'transparent image': (
        'its transparency is dropped, so hidden pixels become visible',
        'paint it on a background if hidden pixels matter',
    ),
    'small image': (
        'it is left out of training, because it is smaller than '
        'filter_cfg.min_size',
        'lower filter_cfg.min_size to train on it',
    ),
    'many objects': (
        "each of the loader's workers holds all of its masks in memory at "
        'once, and testing finds at most test_cfg.max_per_img objects',
        'cut the image into tiles, or lower num_workers',
    ),
    # the annotations
    'short polygon': (
        'the polygon is ignored; an object without any other polygon is '
        'treated as a crowd',
        'give it at least three points, or delete it',
    ),
    'empty mask': (
        'the object is trained with a mask of no pixel',
        'draw it again, or delete the annotation',
    ),
    'box without area': (
        NEVER_FOUND,
        'correct area and bbox (x, y, width, height; at least 1 pixel wide '
        'and high), or delete the annotation',
    ),
    'box outside of the image': (
        NEVER_FOUND,
        'correct bbox (x, y, width, height), or delete the annotation',
    ),
}
NOTES = {
    'self-crossing polygon': (
        'it is filled by the even-odd rule, so parts of the object may be '
        'missing',
        'draw it again, or split it where it crosses itself',
    ),
    'class without objects': (
        'the class is not learnt, or its AP is not measured',
        'annotate objects of it, or take it out of metainfo.classes',
    ),
    'more objects than detections': (
        'AP and AR stay below 1 even with perfect detections',
        'cut the image into tiles, or raise test_cfg.max_per_img of the model '
        '(detections, in a config that new_config.py wrote) and proposal_nums '
        'of val_evaluator and test_evaluator',
    ),
    'ids of another type': ('they work as they are',),
    'grey image': ('its single channel serves as red, green and blue',),
    'palette image': ("it gets its palette's colours",),
    'polygon out of the image': (
        'it is clipped to the image',
        'correct its coordinates, unless the image edge cuts off the object',
    ),
    'box out of the image': (
        'it is clipped to the image',
        'correct its coordinates, unless the image edge cuts off the object',
    ),
}
KINDS = {
    name: Kind(level, *texts)
    for level, group in zip(LABELS, (ERRORS, WARNINGS, NOTES))
    for name, texts in group.items()
}
