"""The engine room of the losses: what becomes of a logit, from ``forward`` to one number.

1. ``options``: ``InputOptions.prepare`` checks input and target; ``target`` makes a mask of labels, maps or channels.
2. ``voxels``: ``Voxels`` know p, -log p and -log(1 - p) of a logit, a softmax or a probability, each named as a *map*.
3. ``batch``: ``Batch`` holds the voxels and the target as rows, a *block* each sample's channel, and sums whole rows.
4. ``reading``: on the CPU a volume of logits is read in one pass: sums of all, and the logits of the foreground.
5. ``overlap``: ``Overlap`` lays both sides' instances over each other and sums maps over *fragments*, their pieces.
6. ``region``: a ``RegionLoss`` makes one value of each region's ``RegionSums``; regions are unions of fragments.
7. ``overlap``: a ``Side`` gathers fragments to instances, and ``InstanceScores`` are the values of one side.
8. ``reduction``: ``Averaging`` makes one number of them, over instances, samples and classes.

Beside the trip: ``eager`` keeps ``torch.compile`` out of it, and ``cuda`` does steps 4 and 5 on a GPU, in tables of
fixed length (``TableOverlap``) where nothing is waited for.
"""
