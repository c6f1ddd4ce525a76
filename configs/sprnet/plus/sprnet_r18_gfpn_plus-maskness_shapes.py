# Masks ranked by how sure they are; a checkpoint of the config below fits
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(type='MasknessSPRHead'))
