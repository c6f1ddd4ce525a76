# Beyond the paper: each mask is read where its box is
read_at_the_box = dict(
    sampler=dict(_delete_=True, type='JitteredBoxSampler'),
    # 256 channels has the first map of a ResNet-50
    encoder=dict(_delete_=True, type='BoxGrid', fine_channels=256),
)
