"""Write detections to one COCO JSON as they are made."""

import json
from collections.abc import Sequence
from pathlib import Path

from pycocotools import mask as coco_mask

from projects.sprnet.errors import InputError


class CocoResults:
    """A COCO JSON that grows on disk; no detection is kept in memory.

    ``COCO(path)`` reads it: images, categories, and annotations with a score.
    With ``ann_file``, the JSON is a list of annotations with the ids of that
    file, which ``COCO(ann_file).loadRes(path)`` reads.

    Args:
        path: The JSON to write.
        classes: Names of the labels 0, 1, ...
        ann_file: A COCO JSON whose ids are used.

    Raises:
        InputError: ``ann_file`` is not a COCO JSON, or lacks a class.
    """

    def __init__(
        self, path: Path, classes: Sequence[str], ann_file: Path | None
    ) -> None:
        self.path = path
        self.ann_file = ann_file
        self.images: list[dict] = []
        self.count = 0
        self.ids_by_name: dict[str, int] = {}
        self.categories = [
            dict(id=n, name=name) for n, name in enumerate(classes, start=1)
        ]
        if ann_file:
            try:
                coco = json.loads(ann_file.read_text())
                self.ids_by_name = {
                    image['file_name']: image['id'] for image in coco['images']
                }
                self.categories = coco['categories']
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f'--ann-file {ann_file} is not a COCO JSON: {error!r}'
                ) from error
        ids = {
            category['name']: category['id'] for category in self.categories
        }
        missing = [name for name in classes if name not in ids]
        if missing:
            raise InputError(
                f'--ann-file {ann_file} has no category {", ".join(missing)}, '
                'which the model detects'
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
        """End the JSON, also when a run is interrupted."""
        images = json.dumps(self.images)
        self.file.write(
            '\n]\n' if self.ann_file else f'\n],\n"images": {images}}}\n'
        )
        self.file.close()

    def ids_of(self, files: Sequence[Path]) -> dict[Path, int]:
        """Find the image id of each file.

        With ``ann_file``, it is the id of the image whose ``file_name`` ends
        the file's path; without, ids count from 1.

        Raises:
            InputError: A file is not in ``ann_file``, or two files are the
                same image there.
        """
        if not self.ann_file:
            return {file: n for n, file in enumerate(files, start=1)}
        ids: dict[Path, int] = {}
        owners: dict[int, Path] = {}
        for file in files:
            parts = file.absolute().parts
            names = ('/'.join(parts[i:]) for i in range(len(parts)))
            name = next((n for n in names if n in self.ids_by_name), None)
            if name is None:
                raise InputError(
                    f'--ann-file {self.ann_file} has no image {file}'
                )
            ids[file] = self.ids_by_name[name]
            other = owners.setdefault(ids[file], file)
            if other != file:
                raise InputError(
                    f'{other} and {file} are the same image of --ann-file '
                    f'{self.ann_file}, {name}'
                )
        return ids

    def add(self, image: dict, prediction: dict) -> None:
        """Write the detections of an image.

        Args:
            image: Its COCO entry: ``id``, ``file_name``, ``height``,
                ``width``.
            prediction: DetInferencer's dict: ``bboxes`` as (x1, y1, x2, y2),
                ``scores``, ``labels``, and ``masks`` if the model has them;
                ``polygons`` are written beside them.
        """
        self.images.append(image)
        masks = prediction.get('masks')
        for i, (x1, y1, x2, y2) in enumerate(prediction['bboxes']):
            annotation = dict(
                id=self.count + 1,
                image_id=image['id'],
                category_id=self.category_ids[prediction['labels'][i]],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=prediction['scores'][i],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if masks:
                annotation.update(
                    area=int(coco_mask.area(masks[i])), segmentation=masks[i]
                )
            if 'polygons' in prediction:
                annotation['polygons'] = prediction['polygons'][i]
            self.file.write(',\n' if self.count else '\n')
            self.file.write(json.dumps(annotation))
            self.count += 1
