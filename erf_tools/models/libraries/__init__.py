"""Libraries that build networks by name: a module for each, imported when it is needed.

Each has a subclass of :class:`~erf_tools.models.libraries.library.Library` named ``LIBRARY``.
"""
