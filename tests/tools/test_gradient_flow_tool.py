"""tools/gradient_flow.py on two small detectors."""

import gradient_flow
from support.helpers import CONFIGS, SHAPES_CONFIG
from support.in_process import complaint, is_picture, run_command

RETINANET_CONFIG = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'


def test_draws_configs_side_by_side(shapes, tmp_path):
    configs = [RETINANET_CONFIG, SHAPES_CONFIG]
    run_command(
        gradient_flow,
        *configs,
        *('--iters', 2, '--interval', 1, '--out-dir', tmp_path),
        *('--cfg-options', f'data_root={shapes}'),
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=2',
        'model.backbone.base_channels=8',
        'model.neck.in_channels=[8,16,32,64]',
    )
    assert is_picture(tmp_path / 'gradient_flow.png', 600)
    for config in configs:
        assert is_picture(tmp_path / config.stem / 'gradient_flow.png', 600)
        (log,) = (tmp_path / config.stem).glob('*/*.log')
        assert log.read_text().count('gradient/P4-C5: ') == 2
        assert not list((tmp_path / config.stem).glob('*.pth'))


def test_wrong_options_end_in_one_sentence():
    sentence = complaint(
        gradient_flow, SHAPES_CONFIG, '--iters', 2, '--interval', 3
    )
    assert '--interval 3' in sentence and '--iters 2' in sentence
    sentence = complaint(gradient_flow, SHAPES_CONFIG, SHAPES_CONFIG)
    assert SHAPES_CONFIG.stem in sentence
