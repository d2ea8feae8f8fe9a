"""The archive: what stood in the streams, kept after Redis has forgotten it.

docs/archive.md says how the files look and how to read them without this code.
"""
