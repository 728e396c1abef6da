"""The version of lfgpods."""

__version__ = "0.1.0"
