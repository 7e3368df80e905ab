"""Attribution: what a subset of documents is worth to a target, predicted from sketches and checked by retraining.

The method, GRASP, is public only as an abstract. What is here is a reconstruction.
"""
