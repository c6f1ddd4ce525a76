"""predict.py --label-images: detections as cell tools read them."""

import numpy as np
from prediction.label_images import label_image


def mask_of(rows, columns):
    mask = np.zeros((6, 8), bool)
    mask[rows, columns] = True
    return mask


def test_the_better_object_keeps_a_shared_pixel():
    masks = [
        mask_of(slice(0, 3), slice(0, 3)),
        mask_of(slice(2, 5), slice(2, 5)),
        mask_of(slice(5, 6), slice(0, 8)),
    ]
    numbers = label_image(np.array(masks), [0.4, 0.9, 0.2])
    assert numbers.dtype == np.uint16 and numbers.shape == (6, 8)
    assert numbers[2, 2] == 1 and (numbers == 1).sum() == 9
    assert (numbers == 2).sum() == 8 and numbers[0, 0] == 2
    assert (numbers[5] == 3).all()


def test_no_objects():
    assert not label_image(np.zeros((0, 2, 3), bool), []).any()


def test_an_object_that_others_cover_has_no_number():
    masks = [
        mask_of(slice(1, 2), slice(1, 2)),
        mask_of(slice(0, 4), slice(0, 4)),
        mask_of(slice(4, 6), slice(0, 4)),
    ]
    numbers = label_image(np.array(masks), [0.5, 0.9, 0.3])
    assert np.unique(numbers).tolist() == [0, 1, 3]
