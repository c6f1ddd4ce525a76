# Beyond the paper: each mask is read where its box is
read_at_the_box = dict(
    sampler=dict(_delete_=True, type='JitteredBoxSampler'),
    encoder=dict(_delete_=True, type='BoxGrid'),
)
