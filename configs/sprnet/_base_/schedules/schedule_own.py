# Starts from ImageNet's weights, on a few hundred pictures
_base_ = './schedule_shapes.py'
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
