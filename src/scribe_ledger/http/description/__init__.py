"""The HTTP API, described from the table of routes: ``/openapi.json``, ``/docs`` and ``docs/reference/http.md``.

What a route takes and answers is declared once, in ``routes``; here it gets words, schemas and examples. Nothing here
decides anything: a description that does not agree with the node is found by the tests, which ask a node.
"""
