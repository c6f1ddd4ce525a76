"""Checks of an image file and of its annotated objects.

What each kind of fault means, and its remedy, stand in faults.py.
"""

import io
import os
import warnings
from functools import partial

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmengine.fileio import get
from PIL import Image

from projects.sprnet.runtime.image_guard import (
    find_damage,
    is_inside,
    open_image,
    pillow_limit,
)
from projects.sprnet.runtime.loading import load_image

from .agreement import check_agreement
from .faults import Fault, Finding
from .objects import check_box, check_mask
from .split import Record, Split

MANY = 1000  # objects in one image
ORIENTATION = 0x0112  # EXIF's tag
CONVERTED = {
    '1': 'grey image',
    'L': 'grey image',
    'LA': 'grey image',
    'P': 'palette image',
    'PA': 'palette image',
    'CMYK': 'CMYK image',
}
# MMDetection does not load annotations with these faults.
LEFT_OUT = ('box without area', 'box not finite', 'box outside of the image')
STILL_A_MASK = {'polygon out of the image', 'self-crossing polygon'}


def check_record(
    record: Record, split: Split, dataset: CocoDataset
) -> list[Fault]:
    """Find the faults of an image and of its annotations.

    Args:
        record: The image and its annotations.
        split: How the config uses them.
        dataset: The data set, which need not be initialised.
    """
    image, annotations = record
    fault = partial(Fault, file=image['file_name'], image=image['id'])
    findings, (height, width) = check_image(image, split, dataset)
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
    image: dict, split: Split, dataset: CocoDataset
) -> tuple[list[Finding], tuple[int, int]]:
    """Check an image's file, and load it as the data set does.

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
    info = dataset.parse_data_info(
        dict(raw_img_info=dict(image, img_id=image['id']), raw_ann_info=[])
    )
    path, missing, contents, headers = info['img_path'], '', [], []
    try:
        for file in [path] if isinstance(path, str) else path:
            contents.append(get(file))
            headers.append(read_header(contents[-1], split.max_pixels))
    except Image.DecompressionBombError as error:
        return [('image too large', str(error))], declared
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        # A step of the pipeline may still load the image from other files.
        missing = f'{error}{why_missing(image["file_name"], split.folder)}'
    loader = stock_loader(dataset)
    header = headers[0] if loader and headers else None
    if header and (
        damage := find_damage(io.BytesIO(contents[0]), split.max_pixels)
    ):
        return [('damaged image', damage)], declared
    try:
        with pillow_limit(split.max_pixels):
            array = load_image(dataset.pipeline.transforms, info)[0]['img']
    except Exception as error:  # loaders raise errors of any type
        if missing:
            return [('missing image', missing)], declared
        what = f'{type(error).__name__}: {" ".join(str(error).split())}'
        return [('unreadable image', what)], declared
    findings = check_conversion(header, array, loader) if header else []
    if array.shape[:2] != declared:
        what = (
            f'{declared[1]} x {declared[0]} in the JSON, '
            f'{array.shape[1]} x {array.shape[0]} as loaded'
        )
        findings.append(('wrong size', what))
    return findings, array.shape[:2]


def stock_loader(dataset: CocoDataset) -> LoadImageFromFile | None:
    """Return the pipeline's first step if it is mmcv's own loader, and decodes
    with OpenCV or Pillow."""
    for step in dataset.pipeline.transforms[:1]:
        transform = getattr(type(step), 'transform', None)
        if transform is LoadImageFromFile.transform:
            return step if step.imdecode_backend != 'tifffile' else None
    return None


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


def read_header(content: bytes, max_pixels: int) -> Image.Image | None:
    """Open an encoded image by its header; None if Pillow cannot.

    Raises:
        DecompressionBombError: The header claims more than ``max_pixels``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return open_image(io.BytesIO(content), max_pixels)
        except Image.DecompressionBombError:
            raise
        except Exception:  # Pillow raises errors of any type
            return None


def check_conversion(
    header: Image.Image, array: np.ndarray, loader: LoadImageFromFile
) -> list[Finding]:
    """Find what mmcv's loader changes when it loads an image.

    Args:
        header: The image as Pillow opens it.
        array: The image as loaded.
        loader: The step that loads it.
    """
    mode, backend = header.mode, loader.imdecode_backend
    reduced = array.dtype == np.uint8 or loader.color_type != 'unchanged'
    kind = None
    if reduced and backend == 'pillow' and mode[0] in 'IF':
        kind = 'cut-off values'
    elif any(';16' in str(tile.args) for tile in header.tile):
        kind = '16-bit image' if reduced else None
    elif mode == 'RGBA':
        kind = 'transparent image' if array.shape[2:] != (4,) else None
    elif array.shape[2:] == (3,):
        kind = CONVERTED.get(mode)
    findings = [(kind, f'mode {mode}')] if kind else []
    turned = orientation_of(header)
    rotates = loader.color_type in ('color', 'grayscale')
    if turned in range(2, 9) and rotates and backend != 'turbojpeg':
        findings.append(('EXIF-rotated image', f'orientation {turned}'))
    return findings


def orientation_of(header: Image.Image) -> int:
    """Read EXIF's orientation; 1 stands for upright, and for broken EXIF."""
    try:
        return header.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises errors of any type
        return 1
