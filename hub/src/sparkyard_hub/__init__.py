"""Sparkyard's JupyterHub: sign-on, roles, pages and, for one machine, what starts it all.

`configure(c)` in `sparkyard_hub.configuration` is the whole of the hub's configuration.
"""
