"""The proxy tier's fixtures, for sequences that go through a real proxy."""

from tests.proxy.conftest import make_proxy, nginx_root

__all__ = ["make_proxy", "nginx_root"]
