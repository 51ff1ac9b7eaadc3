"""What the self-test is made of: a signing key, stand-in servers, a WebSocket client, the machine under test.

Standard library and the openssl command alone, Python 3.9 or newer: it runs on machine images as they come.
"""
