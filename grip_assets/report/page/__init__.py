"""The report: one HTML file that opens with no server and no network. One module a section; build.py puts them together."""
