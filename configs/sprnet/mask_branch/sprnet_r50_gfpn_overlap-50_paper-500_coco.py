_base_ = '../sprnet_r50_gfpn_paper-500_coco.py'
model = dict(mask_head=dict(sampler=dict(threshold=0.5)))
