"""Checks of an image file and of its annotated objects.

What each kind of fault means, and its remedy, stand in faults.py.
"""

import io
import os
import warnings
from functools import partial

import cv2
import mmcv
from mmengine.fileio import get
from PIL import Image, UnidentifiedImageError

from projects.sprnet.runtime.image_guard import is_inside, open_image

from .agreement import check_agreement
from .faults import KINDS, Fault, Finding
from .objects import check_box, check_mask
from .split import Record, Split

MANY = 1000  # objects in one image
ORIENTATION = 0x0112  # EXIF's tag
MODES = {
    '1': 'grey image',
    'L': 'grey image',
    'LA': 'grey image',
    'P': 'palette image',
    'PA': 'palette image',
    'CMYK': 'CMYK image',
    'RGBA': 'transparent image',
}
# MMDetection does not load annotations with these faults.
LEFT_OUT = ('box without area', 'box not finite', 'box outside of the image')
STILL_A_MASK = {'polygon out of the image', 'self-crossing polygon'}


def check_record(record: Record, split: Split) -> list[Fault]:
    """Find the faults of an image and of its annotations."""
    image, annotations = record
    fault = partial(Fault, file=image['file_name'], image=image['id'])
    findings, (height, width) = check_image(image, split)
    faults = [fault(*finding) for finding in findings]
    if len(annotations) > MANY:
        memory = len(annotations) * height * width / 2**30
        what = f'{len(annotations)} objects'
        if split.masks:
            what += f', whose masks take {memory:.1f} GiB'
        faults.append(fault('many objects', what))
    for one in annotations:
        findings = check_object(one, image, (height, width), split)
        faults += [fault(*f, annotation=one['id']) for f in findings]
    return faults


def check_object(
    annotation: dict, image: dict, size: tuple[int, int], split: Split
) -> list[Finding]:
    """Check an object's box and mask; ``size`` is the loaded image's."""
    findings = check_box(annotation, image['height'], image['width'])
    mask, evaluated = annotation.get('segmentation'), 'segm' in split.metrics
    if not (evaluated or split.masks) or (not mask and split.masks_optional):
        return findings
    flaws = check_mask(mask, *size, evaluated)
    left_out = any(kind in LEFT_OUT for kind, _ in findings)
    if evaluated or not (left_out or annotation.get('ignore')):
        findings += flaws
    if annotation.get('iscrowd') or {k for k, _ in flaws} - STILL_A_MASK:
        return findings
    return findings + check_agreement(annotation, *size)


def check_image(
    image: dict, split: Split
) -> tuple[list[Finding], tuple[int, int]]:
    """Check an image's file.

    Returns:
        Its faults, and its height and width: as loaded, or as in the JSON if
        it cannot be loaded.
    """
    declared = image['height'], image['width']
    if not is_inside(image['file_name'], split.folder):
        what = f'it is not in {split.folder}'
        if os.path.isabs(image['file_name']):
            what += '; file_name must be relative to data_prefix'
        return [('path outside of the folder', what)], declared
    try:
        content = get(os.path.join(split.folder, image['file_name']))
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        what = f'{error}{why_missing(image["file_name"], split.folder)}'
        return [('missing image', what)], declared
    findings = check_content(content, split.max_pixels)
    if any(KINDS[kind].level == 'error' for kind, _ in findings):
        return findings, declared
    try:
        array = mmcv.imfrombytes(content, **split.loading)
    except (OSError, cv2.error):
        array = None
    if array is None:
        return [('unreadable image', 'MMDetection cannot read it')], declared
    loaded = array.shape[:2]
    if loaded != declared:
        what = (
            f'{declared[1]} x {declared[0]} in the JSON, '
            f'{loaded[1]} x {loaded[0]} as loaded'
        )
        findings.append(('wrong size', what))
    return findings, loaded


def why_missing(name: str, folder: str) -> str:
    """Guess why a file name leads nowhere; '' without a guess."""
    path = os.path.join(folder, name.replace('\\', '/'))
    if '\\' in name and os.path.isfile(path):
        return '; file_name has backslashes, write / instead'
    parts = name.split('/')
    for start in range(1, len(parts)):
        if os.path.isfile(os.path.join(folder, *parts[start:])):
            return (
                f'; {"/".join(parts[start:])} is there: file_name repeats the '
                'folder of data_prefix'
            )
    parent, base = os.path.split(path)
    stem = os.path.splitext(base)[0].lower()
    if os.path.isdir(parent):
        for other in sorted(os.listdir(parent)):
            if os.path.splitext(other)[0].lower() == stem:
                return f'; there is {other}'
    return ''


def check_content(content: bytes, max_pixels: int) -> list[Finding]:
    """Check an encoded image's header, then whether it decodes.

    An image whose header claims more than ``max_pixels`` is not decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        # Some formats hold images larger than their header says. Pillow's own
        # limit catches these when they are decoded.
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = max_pixels
        # Pillow raises exceptions of any type for broken files.
        try:
            picture = open_image(io.BytesIO(content), max_pixels)
            findings = check_mode(picture)
        except (
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            return [('image too large', str(error))]
        except UnidentifiedImageError:
            return [('unreadable image', 'Pillow does not know its format')]
        except Exception as error:
            return [('unreadable image', str(error))]
        try:
            picture.draft(None, (1, 1))  # decodes a JPEG at 1/8 of its size
            picture.load()
        except Exception as error:
            return [('damaged image', str(error))]
    return findings


def check_mode(picture: Image.Image) -> list[Finding]:
    """Find what MMDetection converts when it loads an image."""
    findings = []
    if any(';16' in str(tile.args) for tile in picture.tile):
        findings.append(('16-bit image', f'mode {picture.mode}'))
    elif picture.mode in MODES:
        findings.append((MODES[picture.mode], f'mode {picture.mode}'))
    orientation = picture.getexif().get(ORIENTATION, 1)
    if orientation in range(2, 9):
        findings.append(('EXIF-rotated image', f'orientation {orientation}'))
    return findings
