"""Tests of the handlers: each call to AWS stated exactly."""
