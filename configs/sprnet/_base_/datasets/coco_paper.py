# "Without embellishments or any data augmentation" (section 4.1). The files
# coco_paper-*.py set the short side.
_base_ = ['./coco_instance.py', './steps.py']
train_dataloader = dict(batch_size=1)
