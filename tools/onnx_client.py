"""Detect and segment the objects of an image with an exported SPRNet.

    python onnx_client.py MODEL.onnx IMAGE OUT_IMAGE

This file is all it takes, with onnxruntime, NumPy and OpenCV.
"""

import json
import os
import sys

import cv2
import numpy as np
import onnxruntime


def metadata(session):
    """What the file says of its input and its classes."""
    return json.loads(session.get_modelmeta().custom_metadata_map['sprnet'])


def weights(start, stop, length, cells):
    """The pixels with their centres in start..stop, of 0..length - 1, and the
    bilinear weights (pixels, cells) of cells that fill start..stop."""
    ends = np.ceil([start - 0.5, stop - 0.5]).clip(0, length).astype(int)
    centres = np.arange(*ends)[:, None] + 0.5
    places = (centres - start) / (stop - start) * cells - 0.5
    distances = abs(places.clip(0, cells - 1) - np.arange(cells))
    return slice(*ends), (1 - distances).clip(0)


def detect(session, image):
    """Boxes (n, 4), scores (n,), labels (n,) and masks (n, h, w) of an image
    (h, w, 3) uint8 BGR, in its pixels."""
    meta = metadata(session)
    sides, scale = np.array(image.shape[:2]), meta['scale']
    factor = min(max(scale) / max(sides), min(scale) / min(sides))
    shape = (sides * factor + 0.5).astype(int)
    x = cv2.resize(image, shape[::-1].tolist())
    x = x[..., ::-1] if meta['bgr_to_rgb'] else x
    x = (x - np.float32(meta['mean'])) / np.float32(meta['std'])
    padding = [(0, n) for n in -shape % meta['pad_size_divisor']] + [(0, 0)]
    x = np.pad(x, padding, constant_values=meta['pad_value'])
    inputs = dict(images=x.transpose(2, 0, 1)[None], image_shapes=shape[None])
    _, boxes, scores, labels, maps = session.run(None, inputs)
    boxes = boxes * np.tile((sides / shape)[::-1], 2)
    masks = np.zeros((len(boxes), *sides), bool)
    reach = (boxes[:, 2:] - boxes[:, :2]) * (meta['frame'] - 1) / 2
    frames = boxes + np.concatenate([-reach, reach], axis=1)
    for mask, (x1, y1, x2, y2), cells in zip(masks, frames, maps):
        rows, down = weights(y1, y2, sides[0], len(cells))
        columns, across = weights(x1, x2, sides[1], len(cells))
        probabilities = down @ cells @ across.T
        mask[rows, columns] = probabilities >= meta['mask_thr_binary']
    return boxes, scores, labels, masks


def draw(image, meta, boxes, scores, labels, masks, least=0.3):
    """Draw the objects of at least a score into an image, the best on top."""
    for n in reversed(np.flatnonzero(scores >= least)):
        colour = meta['palette'][labels[n]][::-1]
        image[masks[n]] = image[masks[n]] // 2 + np.uint8(colour) // 2
        x1, y1, x2, y2 = boxes[n].round().astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), colour)
        name = f'{meta["classes"][labels[n]]} {scores[n]:.2f}'
        cv2.putText(image, name, (x1, y1 + 10), 0, 0.4, (255,) * 3)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if not os.path.isfile(sys.argv[1]):
        sys.exit(f'{sys.argv[1]} is no file')
    session = onnxruntime.InferenceSession(sys.argv[1])
    image = cv2.imread(sys.argv[2])
    if image is None:
        sys.exit(f'{sys.argv[2]} is no image')
    draw(image, metadata(session), *detect(session, image))
    if not cv2.imwrite(sys.argv[3], image):
        sys.exit(f'{sys.argv[3]} cannot be written')


if __name__ == '__main__':
    main()
