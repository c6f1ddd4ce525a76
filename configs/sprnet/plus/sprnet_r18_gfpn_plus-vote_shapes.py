# Several pixels reconstruct a mask; a checkpoint of the config below fits
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(type='VotingSPRHead'))
