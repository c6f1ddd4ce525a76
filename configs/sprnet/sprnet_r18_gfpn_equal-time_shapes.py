# Takes the training time of mask_rcnn/mask-rcnn_r18_fpn_shapes.py
_base_ = './sprnet_r18_gfpn_shapes.py'
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
