_base_ = ['./sprnet_r50_fpn.py', './paper.py']
model = _base_.paper_parts
