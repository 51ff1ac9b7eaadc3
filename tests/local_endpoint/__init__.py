"""The local AWS endpoint as a server of its own, and the CDK CLI before it. No machines, no images."""
