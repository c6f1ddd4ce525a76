_base_ = '../sprnet_r50_gfpn_paper-500_coco.py'
model = dict(
    mask_head=dict(
        encoder=dict(
            channels=(256, 128, 128, 128),
            kernels=(3, 3, 3, 3),
            dilations=(1, 2, 4, 6),
        )
    )
)
