# Several pixels reconstruct a mask; a checkpoint of the config below fits
_base_ = '../sprnet_r50_gfpn_1x_coco.py'
model = dict(mask_head=dict(type='VotingSPRHead'))
