"""Tests of the commands for AWS: each request stated exactly, each bad input answered with what to do."""
