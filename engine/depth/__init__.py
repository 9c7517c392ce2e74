"""Test-time depth adaptation (arXiv 2507.07996): a chain of a base's own layers, some skipped, some looped.

labelled rows --search--> chains --held-out rows--> what is true of them --export--> forms that others read
"""
