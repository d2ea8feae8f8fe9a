"""The signoff ledger: an append-only journal, what proves it, and the files rendered from it.

Everything in here needs the standard library alone (Python 3.10 or newer) and imports nothing of
``quantum_ops`` outside this folder, so that the command line tools run on a bare host.
"""
