"""Attribution: what a whole subset of documents is worth to a target, predicted from low-dimensional features.

This follows the abstract of GRASP. No equation of that paper is public, so R1 to R7, the protocol of choice and the
greedy selection here are a reconstruction. surrogate.py has the prediction, sketching.py the features, choice.py and
fidelity.py its choice and its measurement against retraining, and greedy.py and simplex.py what is selected by it.
Gradients are computed in training/, and the stages are in stages/attribution/.
"""
