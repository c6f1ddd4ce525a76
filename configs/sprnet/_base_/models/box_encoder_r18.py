# The same on the first map of a ResNet-18 of half the channels
_base_ = './box_encoder.py'
read_at_the_box = dict(encoder=dict(fine_channels=32))
