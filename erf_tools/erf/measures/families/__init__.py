"""Measures that are found together, a family to a module: what is here is measured.

:mod:`erf_tools.erf.measures.registry` finds each.
"""
