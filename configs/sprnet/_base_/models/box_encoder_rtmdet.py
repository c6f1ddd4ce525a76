# The same for RTMDet: three levels, and the backbone's map of stride 4, which
# its neck does not read
_base_ = './box_encoder.py'
with_fine_map = (1, 2, 3, 4)
read_at_the_box = dict(
    anchor_generator=None, encoder=dict(strides=[8, 16, 32])
)
