_base_ = './default_runtime.py'
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2),
    visualization=dict(score_thr=0.5),
    # EfficientNet's convolutions are a third faster so.
    channels_last=dict(type='ChannelsLastHook'),
)
