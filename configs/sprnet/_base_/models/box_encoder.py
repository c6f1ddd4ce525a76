# Beyond the paper: each mask is read at its box
read_at_the_box = dict(
    sampler=dict(_delete_=True, type='JitteredBoxSampler'),
    # Channels of a ResNet-50's first feature map
    encoder=dict(_delete_=True, type='BoxGrid', fine_channels=256),
)
