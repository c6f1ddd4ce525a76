_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(encoder=dict(kernels=(3, 3, 3, 3))))
