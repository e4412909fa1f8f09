"""Clients of OpenAI-compatible endpoints: one layer for the lab, evaluations, annotation and judging.

Everything here takes a plain `EndpointSpec` with its key decrypted and knows no database. `client.py` loads the openai SDK, so it is
imported where it is used.
"""
