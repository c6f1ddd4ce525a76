"""The explorer on the shapes, with a small untrained model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from explore.actions import Actions
from explore.page import build_page, launch, temporary_files
from mmdet.registry import DATASETS
from mmengine.config import Config
from support.helpers import SHAPES_CONFIG, build_model

COUNT = 5  # detections
# Untrained, none would be above the config's score.
OPTIONS = {'test_cfg.score_thr': 0.0, 'test_cfg.max_per_img': COUNT}


def actions(
    shapes: Path, config: Path = SHAPES_CONFIG, **options: object
) -> Actions:
    """What a page does, on a config's model and five validation images."""
    cfg = Config.fromfile(config)
    cfg.val_dataloader.dataset.data_root = str(shapes)
    model = build_model(config, **{**OPTIONS, **options}).eval()
    model.cfg = cfg
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    model.dataset_meta = dataset.metainfo
    return Actions(model, dataset, list(range(5)))


@contextmanager
def served(acts: Actions) -> Iterator[str]:
    """The address of a page, while it is served."""
    with temporary_files():
        page = build_page(acts, 'a test')
        try:
            # Uvicorn's logging would close the log files of other tests.
            with patch('logging.config.dictConfig'):
                address = launch(page, '127.0.0.1', None)
            yield address
        finally:
            page.close()
