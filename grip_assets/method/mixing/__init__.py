"""Mixing: from the losses of small models that were trained on mixtures to the weights of the domains.

The models are trained in training/, and the stages are in stages/mixing/. Mixers that need no training are budgets:
method/budget/.
"""
