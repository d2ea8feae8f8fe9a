"""Operator tools: ``python -m ops VERB`` and the owner's scripts by their names."""
