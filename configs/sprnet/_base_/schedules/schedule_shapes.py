# Trains a small network from scratch in minutes on 2 CPU cores
max_epochs = 1
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    # Fused, a step takes a quarter of its time on a CPU.
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10),
)
warmup = dict(
    type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100
)
cosine = dict(
    type='CosineAnnealingLR',
    begin=0,
    eta_min=1e-5,
    by_epoch=True,
    convert_to_iter_based=True,
)
param_scheduler = [warmup, dict(end=max_epochs, **cosine)]
auto_scale_lr = dict(enable=False, base_batch_size=4)
