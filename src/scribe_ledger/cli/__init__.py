"""The ``scribe`` command: it reads arguments, calls the library and prints. It decides nothing.

``main`` is the entry and turns errors into exit codes; ``catalogue`` names the commands; the modules that hold them are
imported when one of them is called. ``session`` carries what every command shares, ``target`` what a ledger must offer
to be commanded, ``output`` and ``progress`` what a person or a program sees.
"""
