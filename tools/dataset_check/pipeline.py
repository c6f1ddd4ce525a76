"""Whether the training pipeline works, and keeps the masks with the image."""

from mmdet.registry import DATASETS
from mmengine.config import ConfigDict

from projects.sprnet.mask_targets import check_masks
from projects.sprnet.runtime.errors import InputError

SAMPLES = 8  # of the training set


def check_pipeline(dataset: ConfigDict) -> None:
    """Load some training images as the training does.

    Args:
        dataset: The training set's config, with its wrappers.

    Raises:
        InputError: The pipeline fails, or leaves masks behind.
    """
    built = DATASETS.build(dataset)
    for index in range(min(SAMPLES, len(built))):
        try:
            sample = built[index]['data_samples']
        except InputError:
            raise
        except Exception as error:  # of any type, from any step
            raise InputError(
                f'train_dataloader: the pipeline fails with {error!r}; a step '
                'may move boxes without their masks, as Mosaic and MixUp do'
            ) from error
        check_masks(sample.gt_instances, sample.metainfo)
