# The same for EfficientNet-Lite0
_base_ = './box_encoder.py'
read_at_the_box = dict(encoder=dict(fine_channels=24, out_channels=256))
