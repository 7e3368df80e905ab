"""The report: one HTML file that needs no server and no network. One module per section; build.py joins them."""
