"""The explorer with a small untrained model on the shapes data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from explore.actions import Actions
from explore.page import build_page, launch, temporary_files
from mmdet.registry import DATASETS
from mmengine.config import Config
from support.helpers import SHAPES_CONFIG, build_model

COUNT = 5  # detections per image
# Untrained scores are below the config's threshold.
OPTIONS = {'test_cfg.score_thr': 0.0, 'test_cfg.max_per_img': COUNT}


def build_actions(shapes: Path, config: Path = SHAPES_CONFIG) -> Actions:
    """Build the page's actions, with five validation images as examples."""
    cfg = Config.fromfile(config)
    cfg.val_dataloader.dataset.data_root = str(shapes)
    model = build_model(config, **OPTIONS).eval()
    model.cfg = cfg
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    model.dataset_meta = dataset.metainfo
    return Actions(model, dataset, list(range(5)))


@contextmanager
def served(actions: Actions) -> Iterator[str]:
    """Serve a page while the context is open; yield its address."""
    with temporary_files():
        page = build_page(actions, 'a test')
        try:
            # Uvicorn's logging would close the log files of other tests.
            with patch('logging.config.dictConfig'):
                address = launch(page, '127.0.0.1', None)
            yield address
        finally:
            page.close()


def write_noise(path: Path, height: int, width: int) -> Path:
    """Write an image of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3))
    cv2.imwrite(str(path), noise.astype(np.uint8))
    return path
