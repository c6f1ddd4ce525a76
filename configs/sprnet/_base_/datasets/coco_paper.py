# "Without embellishments or any data augmentation" (4.1); the short sides are
# in coco_paper-*.py
_base_ = ['./coco_instance.py', './steps.py']
train_dataloader = dict(batch_size=1)
