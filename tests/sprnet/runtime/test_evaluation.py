"""Hooks that look at a run before its first image."""

from types import SimpleNamespace
from unittest import mock

import pytest
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import EpochBasedTrainLoop

from projects.sprnet.errors import InputError
from projects.sprnet.runtime import EvaluationFileHook, ScheduleEndHook
from projects.sprnet.runtime.evaluation_file import check_loop


def run_with(dataset_file, metric_file):
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(
            dataset=SimpleNamespace(ann_file=dataset_file)
        ),
        evaluator=SimpleNamespace(
            metrics=[SimpleNamespace(ann_file=metric_file)]
        ),
    )
    return SimpleNamespace(val_loop=loop, test_loop=loop)


@pytest.mark.parametrize(
    'moment', ['before_train', 'before_val', 'before_test']
)
def test_a_metric_of_another_file_is_refused(moment, tmp_path):
    check = getattr(EvaluationFileHook(), moment)
    (tmp_path / 'link.json').symlink_to(tmp_path / 'a.json')
    own = str(tmp_path / 'a.json')
    for file in (own, str(tmp_path / 'link.json'), None):
        check(run_with(own, file))
    with pytest.raises(ValueError, match='evaluator.ann_file=.*b.json must'):
        check(run_with(own, str(tmp_path / 'b.json')))


class CosineAnnealingLR(SimpleNamespace):
    pass


class LinearLR(SimpleNamespace):
    pass


def resumed(epoch, iteration, length, schedule):
    """What is said when a run of four epochs resumes."""
    loop = mock.Mock(spec=EpochBasedTrainLoop)
    runner = SimpleNamespace(
        epoch=epoch,
        iter=iteration,
        max_iters=4 * length,
        train_loop=loop,
        train_dataloader=range(length),
        param_schedulers=[LinearLR(end=5, by_epoch=False), schedule],
        logger=mock.Mock(),
    )
    ScheduleEndHook().before_train(runner)
    return ' '.join(c.args[0] for c in runner.logger.warning.call_args_list)


@pytest.mark.parametrize(
    'epoch,iteration,length,end,words',
    [
        (2, 20, 10, 20, 'iteration 20, the training at 40. The rest'),
        (0, 0, 10, 20, ''),
        (2, 20, 10, 40, ''),
        (2, 25, 10, 40, ''),  # within an epoch
        (2, 20, 20, 40, 'iteration 40, the training at 60. The rest'),
        (2, 20, 5, 40, 'iteration 40, the training at 30. The training ends'),
        (2, 20, 10, INF, ''),
    ],
)
def test_a_resumed_run_of_another_length_than_its_schedule(
    epoch, iteration, length, end, words
):
    cosine = CosineAnnealingLR(end=end, by_epoch=False)
    said = resumed(epoch, iteration, length, cosine)
    assert words in said and bool(said) == bool(words)
    cosine = CosineAnnealingLR(end=4, by_epoch=True)
    assert not resumed(epoch, iteration, length, cosine)


def several_sets(paths, metrics, **evaluator):
    """A loop of a wrapper of data sets, each a dict of paths by image ids."""

    class Inner(list):
        ann_file = ''

        def get_data_info(self, index):
            return self[index]

    inner = [
        Inner(dict(img_id=i, img_path=path) for i, path in one.items())
        for one in paths
    ]
    return SimpleNamespace(
        dataloader=SimpleNamespace(dataset=SimpleNamespace(datasets=inner)),
        evaluator=SimpleNamespace(metrics=metrics, **evaluator),
    )


def metric_of(names):
    """A metric whose file has images by their ids."""
    imgs = {i: dict(file_name=name) for i, name in names.items()}
    api = SimpleNamespace(imgs=imgs)
    return SimpleNamespace(ann_file='one.json', _coco_api=api)


NO_FILE = SimpleNamespace(ann_file=None, _coco_api=None)


@pytest.mark.parametrize('metric', [NO_FILE, metric_of({1: 'x.png'})])
def test_wrapped_sets_with_the_same_ids_are_refused(metric):
    loop = several_sets([{1: 'a/x.png'}, {1: 'b/x.png'}], [metric])
    words = 'a/x.png and b/x.png of two data sets have the image id 1'
    with pytest.raises(InputError, match=words):
        check_loop('val', loop)
    # It slices the results, so that each metric gets those of its data set.
    loop.evaluator.dataset_prefixes = 'ab'
    check_loop('val', loop)


def test_wrapped_sets_need_a_metric_that_has_all_their_images():
    sets = [{1: 'a/x.png'}, {2: ['b/y_0.tif', 'b/y_1.tif']}]
    check_loop('val', several_sets(sets, [NO_FILE]))
    whole = metric_of({1: 'a/x.png', 2: 'b/y_0.tif', 3: 'z.png'})
    check_loop('val', several_sets(sets, [whole]))
    for names in ({1: 'x.png'}, {1: 'x.png', 2: 'other.png'}):
        loop = several_sets(sets, [metric_of(names)])
        with pytest.raises(InputError, match='one.json does not have the ima'):
            check_loop('val', loop)
