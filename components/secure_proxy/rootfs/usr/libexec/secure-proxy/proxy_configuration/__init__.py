"""Turning what an instance was told at boot into NGINX's configuration; used by the `configure` program alone.

Standard library alone, Python 3.9 or newer: it runs on machine images as they come.
"""
