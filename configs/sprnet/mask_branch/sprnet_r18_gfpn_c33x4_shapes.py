_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(
    mask_head=dict(
        encoder=dict(_delete_=True, type='ConsecutiveConvs', channels=64)
    )
)
