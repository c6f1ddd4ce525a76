# The same for a ResNet-18 with half the channels
_base_ = './box_encoder.py'
read_at_the_box = dict(encoder=dict(fine_channels=32))
