"""Detect and segment the objects in an image with an exported SPRNet.

    python onnx_client.py MODEL.onnx IMAGE OUT_IMAGE

This file needs only onnxruntime, NumPy and OpenCV.
"""

import json
import os
import sys

import cv2
import numpy as np
import onnxruntime


def metadata(session):
    """Read the model's classes, thresholds and preprocessing."""
    return json.loads(session.get_modelmeta().custom_metadata_map['sprnet'])


def bilinear_weights(start, stop, length, cells):
    """Weights that resize cells to the pixels between start and stop.

    Returns:
        The slice of pixels in 0..length - 1 whose centres are between start
        and stop, and their weights (pixels, cells).
    """
    ends = np.ceil([start - 0.5, stop - 0.5]).clip(0, length).astype(int)
    centres = np.arange(*ends)[:, None] + 0.5
    positions = (centres - start) / (stop - start) * cells - 0.5
    distances = abs(positions.clip(0, cells - 1) - np.arange(cells))
    return slice(*ends), (1 - distances).clip(0)


def preprocess(image, meta):
    """Resize, pad and normalise an image (h, w, 3) uint8 BGR.

    Returns:
        The input (3, H, W) float32, the height and width of the resized image
        in it, and those to which the model clips boxes.
    """
    sides, scale = np.array(image.shape[:2]), meta['scale']
    factor = min(max(scale) / max(sides), min(scale) / min(sides))
    resized = shape = (sides * factor + 0.5).astype(int)
    x = cv2.resize(image, shape[::-1].tolist())
    if meta[
        'pad_to'
    ]:  # MMDetection takes this padding for a part of the image
        shape = np.maximum(shape, meta['pad_to'])
        bottom, right = (shape - resized).tolist()
        value = meta['pad_pixel']
        x = cv2.copyMakeBorder(x, 0, bottom, 0, right, 0, value=value)
    x = x[..., ::-1] if meta['bgr_to_rgb'] else x
    x = (x - np.float32(meta['mean'])) / np.float32(meta['std'])
    padding = [(0, n) for n in -shape % meta['pad_size_divisor']] + [(0, 0)]
    x = np.pad(x, padding, constant_values=meta['pad_value'])
    return x.transpose(2, 0, 1), resized, shape


def detect(session, image):
    """Detect the objects in an image (h, w, 3) uint8 BGR.

    Returns:
        Boxes (n, 4) as (x1, y1, x2, y2) in pixels of the image, scores (n,),
        labels (n,) and masks (n, h, w) bool.
    """
    meta, sides = metadata(session), np.array(image.shape[:2])
    x, resized, shape = preprocess(image, meta)
    inputs = dict(images=x[None], image_shapes=shape[None])
    _, boxes, scores, labels, maps = session.run(None, inputs)
    boxes = boxes * np.tile((sides / resized)[::-1], 2)
    masks = np.zeros((len(boxes), *sides), bool)
    reach = (boxes[:, 2:] - boxes[:, :2]) * (meta['frame'] - 1) / 2
    frames = boxes + np.concatenate([-reach, reach], axis=1)
    for mask, (x1, y1, x2, y2), cells in zip(masks, frames, maps):
        rows, down = bilinear_weights(y1, y2, sides[0], len(cells))
        columns, across = bilinear_weights(x1, x2, sides[1], len(cells))
        probabilities = down @ cells @ across.T
        mask[rows, columns] = probabilities >= meta['mask_thr_binary']
    return boxes, scores, labels, masks


def draw(image, meta, boxes, scores, labels, masks, min_score=0.3):
    """Draw objects with at least a score into an image, the best on top."""
    for n in reversed(np.flatnonzero(scores >= min_score)):
        colour = meta['palette'][labels[n]][::-1]
        image[masks[n]] = image[masks[n]] // 2 + np.uint8(colour) // 2
        x1, y1, x2, y2 = boxes[n].round().astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), colour)
        text = f'{meta["classes"][labels[n]]} {scores[n]:.2f}'
        cv2.putText(image, text, (x1, y1 + 10), 0, 0.4, (255,) * 3)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    model, path, out = sys.argv[1:]
    if not os.path.isfile(model):
        sys.exit(f'MODEL.onnx: {model} is not a file')
    if not cv2.haveImageWriter(out):
        sys.exit(f'OUT_IMAGE: {out} must end in .png, .jpg or the like')
    session = onnxruntime.InferenceSession(model)
    image = cv2.imread(path)
    if image is None:
        sys.exit(f'IMAGE: {path} is not an image that OpenCV reads')
    draw(image, metadata(session), *detect(session, image))
    if not cv2.imwrite(out, image):
        sys.exit(f'OUT_IMAGE: {out} cannot be written')


if __name__ == '__main__':
    main()
