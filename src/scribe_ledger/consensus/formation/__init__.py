"""How a node comes to belong to a cluster: who it is, whom it finds, and whether it founds or joins.

``identity`` is what the folder says; ``finding`` where others may be; ``forming`` decides; ``joining`` are both ends of
a join; ``messages`` are the words that travel. ``docs/design/0013-cluster.md`` has the rules.
"""
