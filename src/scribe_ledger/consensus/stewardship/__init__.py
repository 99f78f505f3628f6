"""Changes of membership: ``actions`` are the words, ``duties`` what a leader does unasked, ``wishes`` what it is asked.

``consensus/steward.py`` joins them. All of it is sans-IO.
"""
