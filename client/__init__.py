"""The end-to-end client: verifies a deployed Secure Proxy from outside, exactly as its users reach it.

Run it as `python -m client`; `docs/clients.md` describes the commands, the exit codes and the JSON report.
Nothing here knows how the proxy was deployed: a host, two ports and a CA file are all that it is given.
"""
