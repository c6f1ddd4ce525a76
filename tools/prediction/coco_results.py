"""Detections as one COCO JSON, written as they come."""

import json
from collections.abc import Sequence
from pathlib import Path

from pycocotools import mask as coco_mask


class CocoResults:
    """A COCO JSON that is open for detections, of which memory holds none.

    ``COCO(path)`` reads it: images, categories, and annotations that have a
    score. With ``ann_file`` it has the ids of that file and is the list of the
    annotations alone, for ``COCO(ann_file).loadRes(path)``.

    Args:
        path: of the JSON to write.
        classes: names of the labels 0, 1, ...
        ann_file: a COCO JSON.

    Raises:
        ValueError: ``ann_file`` is no COCO JSON, or lacks a class.
    """

    def __init__(
        self, path: Path, classes: Sequence[str], ann_file: Path | None
    ) -> None:
        self.path = path
        self.ann_file = ann_file
        self.images: list[dict] = []
        self.count = 0
        self.known: dict[str, int] = {}
        self.categories = [
            dict(id=n, name=name) for n, name in enumerate(classes, start=1)
        ]
        if ann_file:
            try:
                coco = json.loads(ann_file.read_text())
                self.known = {i['file_name']: i['id'] for i in coco['images']}
                self.categories = coco['categories']
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{ann_file} is no COCO JSON: {error!r}'
                ) from error
        ids = {one['name']: one['id'] for one in self.categories}
        missing = [name for name in classes if name not in ids]
        if missing:
            raise ValueError(
                f'{ann_file} has no category {", ".join(missing)}, which the '
                'model detects'
            )
        self.category_ids = [ids[name] for name in classes]

    def __enter__(self) -> 'CocoResults':
        self.file = self.path.open('w')
        categories = json.dumps(self.categories)
        self.file.write(
            '['
            if self.ann_file
            else f'{{"categories": {categories},\n"annotations": ['
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the JSON, that of an interrupted run too."""
        images = json.dumps(self.images)
        self.file.write(
            '\n]\n' if self.ann_file else f'\n],\n"images": {images}}}\n'
        )
        self.file.close()

    def ids_of(self, files: Sequence[Path]) -> dict[Path, int]:
        """The image id of each file: that of ``ann_file``'s image whose name
        its path ends in, without one a number.

        Raises:
            ValueError: A file that is no image there, or two that are one.
        """
        if not self.ann_file:
            return {file: n for n, file in enumerate(files, start=1)}
        ids: dict[Path, int] = {}
        owners: dict[int, Path] = {}
        for file in files:
            parts = file.absolute().parts
            ends = ('/'.join(parts[i:]) for i in range(len(parts)))
            name = next((end for end in ends if end in self.known), None)
            if name is None:
                raise ValueError(f'{self.ann_file} has no image {file}')
            other = owners.setdefault(self.known[name], file)
            if other != file:
                raise ValueError(
                    f'{other} and {file} are the same image, {name}, of '
                    f'{self.ann_file}'
                )
            ids[file] = self.known[name]
        return ids

    def add(self, image: dict, prediction: dict) -> None:
        """Write an image's detections.

        Args:
            image: COCO's, of ``id``, ``file_name``, ``height``, ``width``.
            prediction: DetInferencer's, of ``bboxes`` as (x1, y1, x2, y2),
                ``scores``, ``labels`` and, if the model has them, ``masks``.
        """
        self.images.append(image)
        masks = prediction.get('masks')
        for i, (x1, y1, x2, y2) in enumerate(prediction['bboxes']):
            one = dict(
                id=self.count + 1,
                image_id=image['id'],
                category_id=self.category_ids[prediction['labels'][i]],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=prediction['scores'][i],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if masks:
                one.update(
                    area=int(coco_mask.area(masks[i])), segmentation=masks[i]
                )
            self.file.write(',\n' if self.count else '\n')
            self.file.write(json.dumps(one))
            self.count += 1
