"""GRIP: picks, out of a pool too large to train on, the documents a language model learns most from."""

import os

from grip_assets.runtime import caches

# Read when the libraries are imported: no progress bars between our log lines, nothing sent to a hub.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
caches.settle(os.environ)
