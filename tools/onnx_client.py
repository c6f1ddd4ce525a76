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


def prepare(image, meta):
    """(h, w, 3) uint8 BGR to the input (1, 3, H, W), and its size unpadded."""
    long, short = max(meta['scale']), min(meta['scale'])
    sides = np.array(image.shape[:2])
    factor = min(long / max(sides), short / min(sides))
    height, width = (int(side * factor + 0.5) for side in sides)
    x = cv2.resize(image, (width, height))
    x = x[..., ::-1] if meta['bgr_to_rgb'] else x
    x = (x - np.float32(meta['mean'])) / np.float32(meta['std'])
    down, right = (-side % meta['pad_size_divisor'] for side in x.shape[:2])
    padding = (0, down), (0, right), (0, 0)
    x = np.pad(x, padding, constant_values=meta['pad_value'])
    return x.transpose(2, 0, 1)[None], np.array([[height, width]])


def weights(start, stop, length, cells):
    """The pixels with their centres in start..stop, of 0..length - 1, and the
    bilinear weights (pixels, cells) of cells that fill start..stop."""
    ends = np.ceil([start - 0.5, stop - 0.5]).clip(0, length).astype(int)
    centres = np.arange(*ends)[:, None] + 0.5
    places = (centres - start) / (stop - start) * cells - 0.5
    distances = abs(places.clip(0, cells - 1) - np.arange(cells))
    return slice(*ends), (1 - distances).clip(0)


def detect(session, image):
    """Boxes (n, 4) in pixels, scores (n,), labels (n,), masks (n, h, w)."""
    meta = metadata(session)
    x, shape = prepare(image, meta)
    inputs = dict(images=x, image_shapes=shape)
    _, boxes, scores, labels, maps = session.run(None, inputs)
    h, w = image.shape[:2]
    boxes = boxes * ([w, h, w, h] / shape[0, [1, 0, 1, 0]])
    masks = np.zeros((len(boxes), h, w), bool)
    for mask, (x1, y1, x2, y2), cells in zip(masks, boxes, maps):
        rows, down = weights(y1, y2, h, len(cells))
        columns, across = weights(x1, x2, w, len(cells))
        probabilities = down @ cells @ across.T
        mask[rows, columns] = probabilities >= meta['mask_thr_binary']
    return boxes, scores, labels, masks


def draw(image, meta, boxes, scores, labels, masks, least=0.3):
    """A copy of the image with the objects of at least this score."""
    image = image.copy()
    found = list(zip(boxes, scores, labels, masks))
    for box, score, label, mask in reversed(found):  # the best on top
        if score >= least:
            colour = meta['palette'][label][::-1]
            image[mask] = image[mask] // 2 + np.array(colour, np.uint8) // 2
            x1, y1, x2, y2 = box.round().astype(int).tolist()
            cv2.rectangle(image, (x1, y1), (x2, y2), colour)
            text = f'{meta["classes"][label]} {score:.2f}'
            width = cv2.getTextSize(text, 0, 0.4, 1)[0][0]
            left = max(min(x1, image.shape[1] - width), 0)
            cv2.putText(image, text, (left, y1 + 10), 0, 0.4, (255,) * 3)
    return image


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    model, source, out = sys.argv[1:]
    if not os.path.isfile(model):
        sys.exit(f'{model} is no file')
    session = onnxruntime.InferenceSession(model)
    image = cv2.imread(source)
    if image is None:
        sys.exit(f'{source} is no image')
    drawn = draw(image, metadata(session), *detect(session, image))
    if not cv2.imwrite(out, drawn):
        sys.exit(f'{out} cannot be written')


if __name__ == '__main__':
    main()
