"""Deploys: one program brought to one commit, proven, recorded, and taken back if it fails."""
