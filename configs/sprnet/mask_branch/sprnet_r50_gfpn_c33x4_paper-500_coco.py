_base_ = '../sprnet_r50_gfpn_paper-500_coco.py'
model = dict(
    mask_head=dict(
        encoder=dict(_delete_=True, type='ConsecutiveConvs', channels=256)
    )
)
