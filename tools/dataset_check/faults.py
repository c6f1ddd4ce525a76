"""What can be wrong with a data set in COCO's format, what MMDetection does
about it, and the remedy.

A fault is fatal if training or testing would stop, or would go on and be
wrong: learn or measure something that nobody annotated.
"""

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple

Finding = tuple[str, str]  # kind of fault, and what it is

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


class Kind(NamedTuple):
    """A kind of fault: what comes of it, and what to do."""

    fatal: bool
    effect: str
    remedy: str


class Fault(NamedTuple):
    """One fault; ``file`` is the image's, or the JSON where it is that's."""

    kind: str
    what: str
    file: str
    image: Any = None
    annotation: Any = None

    def __str__(self) -> str:
        place = [shown(self.file)]
        if self.image is not None:
            place.append(f'image {shown(self.image)}')
        if self.annotation is not None:
            place.append(f'annotation {shown(self.annotation)}')
        return f'{", ".join(place)}: {self.what}'


def shown(value: Any) -> str:
    """A value of a stranger's file as a short text without control codes."""
    if isinstance(value, str) and value.isprintable() and len(value) < 200:
        return value
    return _brief.repr(value)


KINDS: dict[str, Kind] = {
    # the JSON
    'broken JSON': Kind(
        True, 'nothing can be loaded', 'write or copy the file again'
    ),
    'wrong field': Kind(
        True,
        'loading, training or testing stops with a message about something '
        'else',
        'give the field the value that it must have',
    ),
    'duplicate image id': Kind(
        True,
        'only the last of the images is used, with the objects of all',
        'give every image an id of its own',
    ),
    'duplicate annotation id': Kind(
        True,
        'loading stops, or the last annotation takes the place of the others',
        'number the annotations anew',
    ),
    'annotation of no image': Kind(
        False, 'it is left out', 'list its image, or delete it'
    ),
    'annotation of no category': Kind(
        False, 'it is left out', 'list its category, or delete it'
    ),
    'duplicate category': Kind(
        True,
        'objects get labels of other classes',
        'keep one category of each id and each name',
    ),
    'missing class': Kind(
        True,
        'labels are numbered without it, and so mean other classes',
        "set metainfo.classes to the JSON's categories (and num_classes to "
        'their number), or add the category to the JSON',
    ),
    'order of classes': Kind(
        True,
        'objects bear the names of other classes',
        "list metainfo.classes in the order of the JSON's categories",
    ),
    'category of no class': Kind(
        False,
        'its objects are left out',
        'add it to metainfo.classes (and num_classes), if it is to be learnt',
    ),
    'num_classes': Kind(
        True,
        'training stops or learns the wrong classes',
        'set num_classes of the head to the number of metainfo.classes',
    ),
    'other evaluation file': Kind(
        True,
        "predictions are compared with another file's objects",
        "let the evaluator's ann_file be that of its data set",
    ),
    'no usable image': Kind(
        True,
        'loading stops',
        'see the faults above, ann_file and filter_cfg',
    ),
    'nothing to evaluate': Kind(
        False, 'every figure is -1', 'add annotations'
    ),
    # the images
    'path outside of the folder': Kind(
        True,
        'a JSON that names such files can read what is not its own; they '
        'were not opened',
        'name the images by paths inside of the data folder',
    ),
    'missing image': Kind(
        True,
        'training stops when its turn comes',
        'restore the file, or take the image out of the JSON',
    ),
    'unreadable image': Kind(
        True,
        'training stops when its turn comes',
        'write the file again, or take the image out of the JSON',
    ),
    'damaged image': Kind(
        True,
        'OpenCV fills up what is missing, or training stops',
        'restore the file, or take the image out of the JSON',
    ),
    'image too large': Kind(
        True,
        'decoding it takes gigabytes; it was not decoded',
        'cut it into tiles, or raise max_pixels of the data set',
    ),
    'wrong size': Kind(
        True,
        'objects are trained and evaluated in wrong places',
        'correct width and height, which are those of the image as it is '
        'shown (EXIF-rotated), and the annotations if they are of another '
        'size',
    ),
    'EXIF-rotated image': Kind(
        False,
        'it is turned as EXIF says before its annotations are used',
        'look at one with its annotations; store it upright if they are off',
    ),
    'grey image': Kind(
        False, 'its channel is taken three times', 'none is needed'
    ),
    'palette image': Kind(
        False, "it is given its palette's colours", 'none is needed'
    ),
    'CMYK image': Kind(
        False,
        'it is converted without its colour profile',
        'convert it to RGB if its colours matter',
    ),
    '16-bit image': Kind(
        False,
        'it is divided by 256 to 8 bits, which turns darker ranges black',
        'stretch its values to 8 bits yourself',
    ),
    'transparent image': Kind(
        False,
        'its transparency is dropped',
        'paint it on a background, if what is under it should not be seen',
    ),
    'small image': Kind(
        False,
        'filter_cfg.min_size leaves it out of training',
        'lower filter_cfg.min_size to train on it',
    ),
    'many objects': Kind(
        False,
        "all of its masks are in memory at once, in each of the loader's "
        'workers, and testing finds at most test_cfg.max_per_img objects',
        'cut the image into tiles, or lower num_workers',
    ),
    # the annotations
    'no mask': Kind(
        True,
        'loading it stops the training, or it trains an empty mask',
        'add a segmentation, or delete it; with a CheckedCocoDataset, an '
        'SPRHead and a CocoAPARMetric it trains its box only',
    ),
    'not a mask': Kind(
        True,
        'loading it stops the training, or reads something else from it',
        'write polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or an RLE',
    ),
    'mask of another size': Kind(
        True,
        'loading it stops the training, or scrambles the masks of its image',
        "encode it at the image's height and width",
    ),
    'endless polygon': Kind(
        True,
        'drawing it takes gigabytes; it was not drawn',
        'correct its coordinates, which are in pixels',
    ),
    'short polygon': Kind(
        False,
        'the polygon is left out, and without another the object is ignored '
        'like a crowd',
        'give it three points at least, or delete it',
    ),
    'unusable in evaluation': Kind(
        True,
        "COCO's evaluation stops, or takes it for something else",
        'give it polygons of three points at least, or an RLE, or delete it',
    ),
    'self-crossing polygon': Kind(
        False,
        'it is filled by the even-odd rule, so that a part may be missing',
        'draw it again, or split it where it crosses itself',
    ),
    'polygon out of the image': Kind(
        False, 'it is clipped', 'none is needed if it is only cut off'
    ),
    'empty mask': Kind(
        False,
        'the object trains with a mask of no pixel',
        'draw it again, or delete it',
    ),
    'box without area': Kind(
        False,
        "it is left out of training, and COCO's evaluation counts it as an "
        'object that is never found',
        'correct bbox (x, y, width, height: 1 pixel at least) and area, or '
        'delete it',
    ),
    'box not finite': Kind(
        True,
        'it is left out (NaN) or made as large as the image (infinity)',
        'correct or delete it',
    ),
    'box outside of the image': Kind(
        False,
        "it is left out of training, and COCO's evaluation counts it as an "
        'object that is never found',
        'correct bbox (x, y, width, height), or delete it',
    ),
    'box out of the image': Kind(
        False, 'it is clipped', 'none is needed if it is only cut off'
    ),
}


def report(faults: Sequence[Fault], first: int) -> list[str]:
    """Lines that tell faults kind by kind, fatal ones first, the ``first`` of
    each kind one by one."""
    lines = []
    of_kind = {kind: [f for f in faults if f.kind == kind] for kind in KINDS}
    for kind in sorted(KINDS, key=lambda k: not KINDS[k].fatal):
        found = of_kind[kind]
        if not found:
            continue
        fatal, effect, remedy = KINDS[kind]
        level = 'ERROR' if fatal else 'warning'
        lines.append(
            f'{level}: {kind} ({len(found)}): {effect}. Remedy: {remedy}.'
        )
        lines += [f'  {fault}' for fault in found[:first]]
        if len(found) > first:
            lines.append(f'  ... and {len(found) - first} more')
    return lines
