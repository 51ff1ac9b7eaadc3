"""The AWS endpoint of the local target, which `cdk`, `deployment`, the functions and the workflow take for AWS.

moto answers what it answers as AWS does; each module here says what of moto it replaces and why.
"""
