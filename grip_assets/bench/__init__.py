"""Measurements that anyone can repeat: ours against what a user would pick instead, same data, same run."""
