# The paper's anchors (section 3.3), which choose locations for a box head with
# others or none
paper_anchors = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=[8, 16, 32, 64, 128],
)
