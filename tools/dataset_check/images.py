"""Faults of an image of a COCO JSON, and of its objects."""

import io
import os
import warnings
from functools import partial

import cv2
import mmcv
from mmengine.fileio import get
from PIL import Image, UnidentifiedImageError

from projects.sprnet.runtime.datasets import is_inside

from .annotations import Record, Split
from .faults import KINDS, Fault, Finding
from .objects import check_box, check_mask

MANY = 1000  # objects of an image
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
# Annotations with these are left out when MMDetection loads them.
LEFT_OUT = ('box without area', 'box not finite', 'box outside of the image')


def check_record(record: Record, split: Split) -> list[Fault]:
    """Faults of one image and of its annotations."""
    image, annotations = record
    fault = partial(Fault, file=image['file_name'], image=image['id'])
    found, (height, width) = check_image(image, split)
    faults = [fault(*finding) for finding in found]
    if len(annotations) > MANY:
        memory = len(annotations) * height * width / 2**30
        what = f'{len(annotations)} objects'
        if split.masks:
            what += f', whose masks take {memory:.1f} GiB'
        faults.append(fault('many objects', what))
    evaluated = 'segm' in split.metrics
    for one in annotations:
        found = check_box(one, image['height'], image['width'])
        left_out = one.get('ignore') or any(k in LEFT_OUT for k, _ in found)
        if evaluated or (split.masks and not left_out):
            mask = one.get('segmentation')
            if mask or not split.masks_optional:
                found += check_mask(mask, height, width, evaluated)
        faults += [fault(*finding, annotation=one['id']) for finding in found]
    return faults


def check_image(
    image: dict, split: Split
) -> tuple[list[Finding], tuple[int, int]]:
    """Faults of an image's file, and its height and width: as loaded, or
    those of the JSON where it cannot be."""
    declared = image['height'], image['width']
    path = os.path.join(split.folder, image['file_name'])
    if '://' in image['file_name'] or not is_inside(path, split.folder):
        what = f'it is not in {split.folder}'
        return [('path outside of the folder', what)], declared
    try:
        content = get(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        return [('missing image', str(error))], declared
    found = look_at(content, split.max_pixels)
    if any(KINDS[kind].fatal for kind, _ in found):
        return found, declared
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
        found.append(('wrong size', what))
    return found, loaded


def look_at(content: bytes, max_pixels: int) -> list[Finding]:
    """Faults of an encoded image by its header, and of its decoding.

    Nothing is decoded of an image whose header says ``max_pixels`` are not
    enough.
    """
    # Pillow's readers raise whatever a broken file leads them to.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            picture = Image.open(io.BytesIO(content))
            found = kinds_of(picture)
        except (
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            return [('image too large', str(error))]
        except UnidentifiedImageError:
            return [('unreadable image', 'Pillow knows no such format')]
        except Exception as error:
            return [('unreadable image', str(error))]
        try:
            picture.draft(None, (1, 1))  # a JPEG at an eighth of its size
            picture.load()
        except Exception as error:
            return [('damaged image', str(error))]
    return found


def kinds_of(picture: Image.Image) -> list[Finding]:
    """What MMDetection converts when it loads a picture."""
    found = []
    if any(';16' in str(tile.args) for tile in picture.tile):
        found.append(('16-bit image', f'mode {picture.mode}'))
    elif picture.mode in MODES:
        found.append((MODES[picture.mode], f'mode {picture.mode}'))
    orientation = picture.getexif().get(ORIENTATION, 1)
    if orientation in range(2, 9):
        what = f'orientation {orientation}'
        found.append(('EXIF-rotated image', what))
    return found
