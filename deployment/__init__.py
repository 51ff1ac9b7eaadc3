"""Deploys the stack into an AWS account, finds it there, and removes it: what the commands at the top of the tree run.

It speaks to AWS through boto3 and the CDK CLI alone, wherever the environment says that AWS is.
"""
