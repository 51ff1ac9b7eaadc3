"""The tasks of the deployment workflow and the stack's custom resource, one handler a file.

They run on AWS Lambda with nothing but Python and boto3, so they depend on nothing else.
"""
