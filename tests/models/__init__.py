"""Models for tests of the workers: each does one thing that a real model may do, well or badly.

They are models of the kind generate, named <pool>-<module>; models.toml beside this file lists them.
"""
