"""Reads every kind of pool as a stream of documents."""
